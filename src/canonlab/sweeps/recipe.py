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

A recipe may be laid over another one, a shipped one or a file beside it:

    extends: laptop/copy
    training: {steps: 300}
    grid: {training.seed: [0, 1, 2, 3, 4]}

What it says of a field, in a part or in its grid, replaces all that the other says of that field, there and in grid and
variants; its `variants`, if it has some, replace the other's. `canonlab sweep RECIPE --set training.seed=[0,1]
training.steps=300` lays such values over a recipe too: a list is an axis of the grid, anything else is fixed.

Laid over several, `extends: [mini/depo, mini/brevo]`, it makes the runs of all of them.
"""

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from canonlab import typed
from canonlab.errors import InputError, shown, unknown
from canonlab.files import exists, read_bytes, require_safe_name, safe_name
from canonlab.results.groups import is_baseline
from canonlab.training.config import RunConfig, as_parts, overlay, run_config
from canonlab.training.start import with_parent
from canonlab.typed import user_path
from canonlab.yaml_text import parse_mapping, read_mapping

Axes = dict[tuple[str, ...], list[list[Any]]]
"""Dotted fields that vary together -> rows of one value for each of them."""

MOST_RUNS = 100_000
PARTS = [field.name for field in fields(RunConfig)]


@dataclass(frozen=True)
class Recipe:
    """A name, which its folder of runs has, a line for people, and the runs."""

    name: str
    about: str
    runs: list[RunConfig]
    baseline: str = ""
    """The architecture that others are compared with, see `results.groups.is_baseline`; "" for all with all."""


class Layer(NamedTuple):
    """What one recipe says by itself."""

    parts: dict[str, dict[str, Any]]
    grid: Axes
    variants: list[Axes]


def load_recipe(reference: str, changes: Mapping[str, Any] = MappingProxyType({})) -> Recipe:
    """The recipe in a file, or a shipped one by name, such as laptop/copy. InputError for whatever is wrong in it.

    `changes` maps dotted fields to values that are laid over it: a list makes an axis, anything else is one value.
    """
    return parse_recipe(*_read(reference, Path()), changes)


def parse_recipe(
    content: Mapping[str, Any], file: Path = Path("recipe"), changes: Mapping[str, Any] = MappingProxyType({})
) -> Recipe:
    """The recipe that a mapping describes, as parsed from YAML that lies, or could lie, in `file`."""
    chains = list(_chains(content, file, ()))
    grid = {field: value if isinstance(value, list) else [value] for field, value in changes.items()}
    above = Layer({}, _axes("--set", grid), [])
    wholes = [functools.reduce(_lay, reversed([above, *map(_layer, chain)])) for chain in chains]
    name = content.get("name")
    name = safe_name(file.stem) if name is None else require_safe_name("name", str(name))
    about = typed.coerce(content.get("about") or "", str, "about")
    baselines = (each["baseline"] for chain in chains for each in chain if each.get("baseline") is not None)
    return Recipe(name, about, _runs(wholes), typed.coerce(next(baselines, ""), str, "baseline"))


def require_baseline(recipe: Recipe) -> None:
    """InputError when no run of a recipe is of its baseline."""
    models = [{"model.model": run.model.model, "model.canon": run.model.canon} for run in recipe.runs]
    if recipe.baseline and not any(is_baseline(model, recipe.baseline) for model in models):
        raise unknown("baseline", recipe.baseline, ("/".join(model.values()) for model in models))


def shipped_recipes() -> list[str]:
    """The names of the recipes that come with the package; not of those that only others extend."""
    return [name for name in _shipped() if "/_" not in name]


def _shipped() -> list[str]:
    folders = [folder for folder in files("canonlab.recipes").iterdir() if folder.is_dir()]
    return sorted(
        f"{folder.name}/{file.name.removesuffix('.yaml')}"
        for folder in folders
        for file in folder.iterdir()
        if file.name.endswith(".yaml")
    )


def _read(reference: str, folder: Path) -> tuple[dict[str, Any], Path]:
    """What a recipe says that is a file, seen from `folder`, or else a shipped one; and its path."""
    path = folder / user_path(reference)
    if exists(path) and path.is_file():
        return read_mapping(path), path
    name = _shipped_name(reference)
    return parse_mapping(_shipped_text(name), name), Path(name)


def recipe_text(reference: str) -> str:
    """What stands in a recipe's file. InputError where there is none, or it can't be read."""
    path = user_path(reference)
    if exists(path) and path.is_file():
        return read_bytes(path).decode("utf-8", "backslashreplace")
    return _shipped_text(_shipped_name(reference))


def _shipped_name(reference: str) -> str:
    name = reference.removeprefix("recipes/").removesuffix(".yaml")
    if name not in _shipped():
        raise unknown("recipe (no such file either)", reference, shipped_recipes())
    return name


def _shipped_text(name: str) -> str:
    return files("canonlab.recipes").joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def _chains(content: Mapping[str, Any], file: Path, above: tuple[Path, ...]) -> Iterator[tuple[Mapping[str, Any], ...]]:
    """A recipe, one that it extends, one that this extends, and so on: each way down; `above` led here."""
    extended = content.get("extends")
    above = (*above, file.resolve())
    if extended is None:
        yield (content,)
        return
    references = extended if isinstance(extended, list) else [extended]
    if not references or not all(isinstance(reference, str) for reference in references):
        raise InputError(f"extends = {shown(extended)}: must be a recipe, a shipped one or a file, or a list of some")
    for reference in references:
        below, path = _read(reference, file.parent)
        if path.resolve() in above:
            raise InputError(f"extends = {shown(reference)}: {path} extends itself, if by way of others")
        yield from ((content, *chain) for chain in _chains(below, path, above))


def _layer(content: Mapping[str, Any]) -> Layer:
    for key in content:
        if key not in (allowed := [*PARTS, "name", "about", "baseline", "extends", "grid", "variants"]):
            raise unknown("recipe field", key, allowed)
    variants = content.get("variants") or []
    if not isinstance(variants, list):
        raise InputError("variants: must be a list of grids")
    parts = as_parts({part: content[part] for part in PARTS if part in content})
    return Layer(parts, _axes("grid", content.get("grid") or {}), [_axes("variants", each) for each in variants])


def _axes(where: str, grid: Any) -> Axes:
    if not isinstance(grid, dict):
        raise InputError(f"{where} = {shown(grid)}: must map fields, such as training.lr, to lists of values")
    axes: Axes = {}
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise InputError(
                f"{where}: {key} = {shown(values)}: must be a list of values, such as [{shown(values or 1)}]"
            )
        names = tuple(name.strip() for name in str(key).split(","))
        rows = [[value] for value in values] if len(names) == 1 else values
        for row in rows:
            if not isinstance(row, list) or len(row) != len(names):
                raise InputError(f"{where}: {key!r} takes rows of {len(names)} values, not {shown(row)}")
        axes[names] = rows
    return axes


def _lay(below: Layer, above: Layer) -> Layer:
    """`above` laid over `below`."""
    said = {*_paths(above.parts), *itertools.chain(*above.grid)}
    variants = above.variants or [_without(said, axes) for axes in below.variants]
    return Layer(overlay(below.parts, above.parts), _without(said, below.grid) | above.grid, variants)


def _paths(parts: Mapping[str, Any]) -> Iterator[str]:
    """The dotted paths of all fields in nested mappings."""
    for name, value in parts.items():
        if isinstance(value, Mapping):
            yield from (f"{name}.{path}" for path in _paths(value))
        else:
            yield name


def _without(said: set[str], axes: Axes) -> Axes:
    """Axes without some fields; rows that are then alike are one."""
    left: Axes = {}
    for names, rows in axes.items():
        kept = [column for column, name in enumerate(names) if name not in said]
        if len(kept) == len(names):
            left[names] = rows
        elif kept:
            cut = [[row[column] for column in kept] for row in rows]
            left[tuple(names[column] for column in kept)] = list({repr(row): row for row in cut}.values())
    return left


def _runs(recipes: Sequence[Layer]) -> list[RunConfig]:
    """The runs of some recipes, each once."""
    grids = [(recipe.parts, recipe.grid | variant) for recipe in recipes for variant in recipe.variants or [{}]]
    count = sum(math.prod(map(len, axes.values())) for _, axes in grids)
    if count > MOST_RUNS:
        raise InputError(f"the recipe has {count:,} runs: at most {MOST_RUNS:,} are made of one")
    runs = {}
    for parts, axes in grids:
        paths = [path for names in axes for path in names]
        if twice := next((path for path in paths if paths.count(path) > 1), None):
            raise InputError(f"grid: {twice!r} varies twice, alone and together with other fields")
        for rows in itertools.product(*axes.values()):
            run = _run(parts, zip(paths, itertools.chain(*rows), strict=True))
            runs[repr(run)] = run
    return list(runs.values())


def _run(parts: Mapping[str, Any], values: Iterable[tuple[str, Any]]) -> RunConfig:
    """The run in which fields, by dotted path, have these values."""
    content = dict(parts)
    for path, value in sorted(values, key=lambda each: each[0].count(".")):  # task.set before task.set.N
        _assign(content, path, value)
    return run_config(with_parent(content))


def _assign(content: dict[str, Any], path: str, value: Any) -> None:
    """Set the field at a dotted path, such as task.set.N, in copies of the mappings that lead there."""
    *parents, leaf = path.split(".")
    if not parents:
        raise InputError(f"{path!r}: must be a field inside a part, such as training.lr or task.set.N")
    node = content
    for parent in parents:
        below = node.get(parent) or {}
        if not isinstance(below, Mapping):
            raise InputError(f"{path!r}: goes through {parent!r}, which is no mapping")
        node[parent] = dict(below)
        node = node[parent]
    node[leaf] = value
