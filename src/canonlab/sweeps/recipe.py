"""Recipes: a YAML file that says which runs to make.

    name: copy
    about: one line for people
    task: {name: copy, set: {N: 64, context: 130}}
    model: {size: 1L32D2H}
    training: {steps: 600, batch: 32, lr: 0.005}
    backend: {threads: 2}
    grid:
      model.canon: [none, ABCD]
      training.seed: [0, 1, 2]

Every field of training.config.RunConfig may be set; `grid` names fields whose values are combined, all with all, the
last one varying fastest. What is not said comes from the task's published model and hyper-parameters, then from the
defaults.

Fields that go together are named together, and take rows. Where not everything is to be combined with everything,
`variants` lists further grids: each of them is combined with `grid`, and replaces what that has for the same fields.

    grid:
      task.set.N, training.steps: [[225, 87500], [300, 100000]]
      model.size: [8L512D, 12L768D]
    variants:
      - {model.model: [llama-rope], model.canon: [none, ABCD]}
      - {model.model: [gla, gdn], model.canon: [none, b, AbCD], model.size: [8L512D]}

That is 2 x 2 x 2 runs of llama-rope and 2 x 2 x 3 runs of gla and gdn.
"""

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from canonlab.errors import InputError, unknown
from canonlab.training.config import RunConfig
from canonlab.training.published import MODEL, TRAINING

Axes = dict[tuple[str, ...], list[list[Any]]]
"""Dotted fields that vary together -> rows of one value for each of them."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A name, a line for people, and the runs."""

    name: str
    about: str
    runs: list[RunConfig]


def load_recipe(reference: str) -> Recipe:
    """The recipe in a file, or a shipped one by name, such as laptop/copy. InputError for whatever is wrong in it."""
    path = Path(reference)
    text = _read(path) if path.is_file() else _read_shipped(reference)
    return parse_recipe(_parse(text, reference), default_name=path.stem)


def read_run_config(path: Path) -> dict[str, Any]:
    """The mapping that describes one run: a recipe file without a grid, for `run_config`."""
    content = _parse(_read(path), str(path))
    for key in ("grid", "variants"):
        if key in content:
            raise InputError(f"{path} has {key}, so many runs; use canonlab sweep, or take it out")
    parts = {key: value for key, value in content.items() if key not in ("name", "about")}
    _check_keys(RunConfig, parts, "")
    return {part: _as_mapping(part, value) for part, value in parts.items()}


def shipped_recipes() -> list[str]:
    """The names of the recipes that come with the package."""
    root = files("canonlab.recipes")
    folders = [folder for folder in root.iterdir() if folder.is_dir()]
    return sorted(
        f"{folder.name}/{file.name.removesuffix('.yaml')}"
        for folder in folders
        for file in folder.iterdir()
        if file.name.endswith(".yaml")
    )


def parse_recipe(content: Mapping[str, Any], default_name: str = "recipe") -> Recipe:
    """The recipe that a mapping (parsed YAML) describes."""
    parts = [field.name for field in dataclasses.fields(RunConfig)]
    allowed = [*parts, "name", "about", "grid", "variants"]
    for key in content:
        if key not in allowed:
            raise unknown("recipe field", key, allowed)
    base = {part: content.get(part) for part in parts}
    runs = []
    for assignments in _combinations(content):
        merged = {part: _as_mapping(part, value) for part, value in base.items()}
        for path, value in assignments:
            _assign(merged, path, value)
        if "name" not in merged["task"]:
            raise InputError("task: missing; name one, such as task: copy")
        runs.append(run_config(merged))
    return Recipe(str(content.get("name", default_name)), str(content.get("about", "")), runs)


def _combinations(content: Mapping[str, Any]) -> Iterator[list[tuple[str, Any]]]:
    """For each run, the fields that the grid sets, by dotted path, with their values."""
    common = _axes("grid", content.get("grid") or {})
    variants = content.get("variants") or [{}]
    if not isinstance(variants, list):
        raise InputError("variants: must be a list of grids")
    for variant in variants:
        axes = common | _axes("variants", variant)
        paths = [path for fields in axes for path in fields]
        if twice := next((path for path in paths if paths.count(path) > 1), None):
            raise InputError(f"grid: {twice!r} varies twice, alone and together with other fields")
        for rows in itertools.product(*axes.values()):
            yield list(zip(paths, itertools.chain(*rows), strict=True))


def _axes(where: str, grid: Any) -> Axes:
    if not isinstance(grid, dict):
        raise InputError(f"{where} = {grid!r}: must map fields, such as training.lr, to lists of values")
    axes: Axes = {}
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"{where}: {key} = {values!r}: must be a list of values, such as [{values or 1}]")
        fields = tuple(field.strip() for field in str(key).split(","))
        rows = [[value] for value in values] if len(fields) == 1 else values
        for row in rows:
            if not isinstance(row, list) or len(row) != len(fields):
                raise InputError(f"{where}: {key!r} takes rows of {len(fields)} values, not {row!r}")
        axes[fields] = rows
    return axes


def run_config(content: Mapping[str, Any]) -> RunConfig:
    """The typed configuration of one run, over the published hyper-parameters of its task."""
    parts = {"task": {}, "model": {}, "training": {}, **content}
    task = {"name": "", **parts["task"]}
    model = {**MODEL.get(task["name"], {}), **parts["model"]}
    training = {**TRAINING.get(task["name"], {}), **parts["training"]}
    merged = {**parts, "task": task, "model": model, "training": training}
    _check_keys(RunConfig, merged, "")
    try:
        return _adapter().validate_python(merged)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{field} = {first['input']!r}: {first['msg'].lower()}") from None


@functools.cache
def _adapter() -> TypeAdapter[RunConfig]:
    return TypeAdapter(RunConfig)


class _Loader(yaml.SafeLoader):
    """YAML in which on and off are words, as in `compile: off`, not other names of true and false; 1e-3 is a number."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: list(rules)
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
        if first not in ("o", "O")
    }


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_yaml(text: str) -> Any:
    """What `text` says; yaml.YAMLError where it isn't YAML."""
    return yaml.load(text, _Loader)


def _parse(text: str, reference: str) -> dict[str, Any]:
    try:
        content = read_yaml(text)
    except yaml.YAMLError as error:
        raise InputError(f"{reference} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"{reference} is empty, or not a mapping of fields")
    return content


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} cannot be read as UTF-8 text") from None


def _read_shipped(reference: str) -> str:
    name = reference.removeprefix("recipes/").removesuffix(".yaml")
    if name not in shipped_recipes():
        raise unknown("recipe (no such file either)", reference, shipped_recipes())
    return files("canonlab.recipes").joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def _as_mapping(part: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if part == "task" and isinstance(value, str):
        return {"name": value}
    if not isinstance(value, dict):
        raise InputError(f"{part} = {value!r}: must be a mapping of fields")
    return {key: dict(inner) if isinstance(inner, dict) else inner for key, inner in value.items()}


def _assign(content: dict[str, Any], path: str, value: Any) -> None:
    """Set the field at a dotted path, such as task.set.N."""
    *parents, leaf = path.split(".")
    node = content
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise InputError(f"grid: {path!r} goes through {parent!r}, which is no mapping")
    if not parents:
        raise InputError(f"grid: {path!r} must be a field inside a part, such as training.lr or task.set.N")
    node[leaf] = value


def _check_keys(cls: type, content: Mapping[str, Any], where: str) -> None:
    """Every key is a field; pydantic would say so too, but without the nearest right word."""
    types = {field.name: field.type for field in dataclasses.fields(cls)}
    for key, value in content.items():
        if key not in types:
            raise unknown(f"field of {where.rstrip('.')}" if where else "field", key, types)
        inner = types[key]
        if isinstance(inner, type) and dataclasses.is_dataclass(inner) and isinstance(value, Mapping):
            _check_keys(inner, value, f"{where}{key}.")
        elif isinstance(value, bool) and inner in (int, float):  # which pydantic would take for 1 or 0
            raise InputError(f"{where}{key} = {value!r}: must be a number")
