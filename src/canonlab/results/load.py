"""Run folders as they lie on disk -> `Run` objects. Reads only.

A run folder holds `config.json` from its first moment, `metrics.jsonl` as it trains, and `result.json` once it is done.
"""

import json
import math
import os
import reprlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from canonlab.errors import InputError
from canonlab.files import read_json
from canonlab.training.metrics_log import read_metrics
from canonlab.training.run import DIVERGED

KINDS: dict[type, str] = {str: "a string", int: "an integer", float: "a number", dict: "an object", list: "a list"}
REQUIRED: dict[str, type] = {
    "config.task.name": str,
    "config.task.parameters": dict,
    "config.task.context": int,
    "config.model.canon.points": str,
    "config.training.steps": int,
    "config.training.seed": int,
    "config.training.lr": float,
    "config.backend": dict,
    "asked.model.model": str,
    "asked.model.size": str,
    "identity": str,
    "name": str,
}
"""What a report needs of `config.json`."""

T = TypeVar("T", str, int, float, dict, list)


@dataclass(frozen=True)
class Measure:
    """One metric of one evaluation. [low, high] is its interval over so many independent clusters.

    Only a share, right out of count, has counts.
    """

    value: float
    low: float | None = None
    high: float | None = None
    right: int | None = None
    count: int | None = None
    clusters: int | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """(low, high); None where there is none, or no value."""
        if self.low is None or self.high is None or math.isnan(self.value):
            return None
        return self.low, self.high


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a model at one step; `headline` names those to quote, the main one first."""

    metrics: dict[str, Measure]
    headline: tuple[str, ...]
    notes: dict[str, Any]


@dataclass(frozen=True)
class Curves:
    """What was logged during training: `loss` at `loss_steps`, and evaluations with their steps."""

    loss_steps: tuple[int, ...] = ()
    loss: tuple[float, ...] = ()
    evaluations: tuple[tuple[int, Evaluation], ...] = ()

    @property
    def last_step(self) -> int:
        """The last step that was logged, 0 when there is none."""
        return max([0, *self.loss_steps[-1:], *(step for step, _ in self.evaluations[-1:])])


@dataclass(frozen=True)
class Result:
    """What a finished run came to. `cost` and `provenance` are kept as they were written."""

    evaluation: Evaluation
    cost: dict[str, Any]
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One training run; `result` is None while it is unfinished.

    `config` is what determines the result, everything resolved: task, model, training, backend. `asked` is the same in
    the user's words, a model's preset and size for example.
    """

    folder: Path
    name: str
    identity: str
    config: dict[str, Any]
    asked: dict[str, Any]
    curves: Curves
    result: Result | None
    diverged: int | None = None
    """The step at which the last attempt diverged, if it did."""

    @property
    def seed(self) -> int:
        """The seed that initialised the model and chose the data."""
        return int(self.config["training"]["seed"])

    @property
    def steps(self) -> int:
        """How many training steps the run is to take."""
        return int(self.config["training"]["steps"])

    @property
    def evaluated_step(self) -> int:
        """The step of `evaluation`; 0 when there is none."""
        if self.result:
            return self.steps
        return self.curves.evaluations[-1][0] if self.curves.evaluations else 0

    @property
    def state(self) -> str:
        """Which seed, and how far an unfinished run is: "seed 0", "seed 1, unfinished (400 of 1,000)"."""
        progress = "" if self.result else f", unfinished ({self.curves.last_step:,} of {self.steps:,})"
        if self.diverged is not None:
            progress = f", diverged at step {self.diverged:,}"
        return f"seed {self.seed}{progress}"

    @property
    def evaluation(self) -> Evaluation | None:
        """The final evaluation, or the latest one so far of an unfinished run."""
        if self.result:
            return self.result.evaluation
        return self.curves.evaluations[-1][1] if self.curves.evaluations else None


def load_runs(paths: Iterable[str | os.PathLike[str]]) -> list[Run]:
    """All runs in `paths`, each a run folder or a folder that holds some at any depth, in order of their folders.

    Of folders of one run, from two machines for example, the finished one counts; the first if several or none is
    finished. InputError when a path does not exist, none holds a run, a file is damaged or newer, or two folders have
    different results of one run.
    """
    given = [Path(path) for path in paths]
    folders = {folder.resolve(): folder for path in given for folder in _run_folders(path)}
    if not folders:
        raise InputError(f"no run found in {', '.join(map(str, given)) or 'an empty list'}: a run has a config.json")
    runs = [load_run(folder) for _, folder in sorted(folders.items())]
    kept: dict[str, Run] = {}
    for run in runs:
        other = kept.setdefault(run.identity, run)
        if run.result and other.result and _weights(run.result) != _weights(other.result):
            raise InputError(
                f"{other.folder} and {run.folder} are the same run {run.name}, but their weights_sha256 differ: "
                "give only one of them"
            )
        if run.result and not other.result:
            kept[run.identity] = run
    return [run for run in runs if kept[run.identity] is run]


def load_run(folder: Path) -> Run:
    """The run in `folder`; InputError as for `load_runs`."""
    path = folder / "config.json"
    head = read_json(path)
    for key, kind in REQUIRED.items():
        value = _field(head, key, kind, str(path))
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{path}: {key} = {value}: must be a finite number")
    identity = head["identity"]
    curves = _read_curves(folder / "metrics.jsonl") if (folder / "metrics.jsonl").exists() else Curves()
    result = _read_result(folder / "result.json", identity) if (folder / "result.json").exists() else None
    diverged = _read_diverged(folder / DIVERGED) if (folder / DIVERGED).exists() else None
    return Run(folder, head["name"], identity, head["config"], head["asked"], curves, result, diverged)


def _run_folders(path: Path) -> Iterator[Path]:
    """`path` itself or the run folders below it. Hidden folders and what lies inside a run are not searched."""
    if not path.is_dir():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        close = get_close_matches(path.name, siblings, n=1)
        hint = f"; did you mean {str(path.parent / close[0])!r}?" if close else ""
        raise InputError(f"run {str(path)!r}: there is no such folder{hint}")
    for parent, children, files in os.walk(path):
        folder = Path(parent)
        if "config.json" in files and (folder == path or _is_run(folder / "config.json")):
            yield folder
            children.clear()
        children[:] = sorted(child for child in children if not child.startswith("."))


def _is_run(config: Path) -> bool:
    """Whether a `config.json` is a run's, or damaged. Other tools' folders have one too, an exported model for one."""
    try:
        content = json.loads(config.read_bytes())
    except (OSError, ValueError):
        return True  # loading it will say what is wrong
    return isinstance(content, dict) and "identity" in content


def _read_curves(path: Path) -> Curves:
    steps, losses, evaluations = [], [], []
    for number, record in enumerate(read_metrics(path), start=1):
        where = f"{path}, line {number}"
        match record.get("kind"):
            case "train":
                steps.append(record["step"])
                losses.append(_field(record, "loss", float, where))
            case "eval":
                evaluations.append((record["step"], _evaluation(record, where)))
    return Curves(tuple(steps), tuple(losses), tuple(evaluations))


def _read_result(path: Path, identity: str) -> Result:
    where = str(path)
    record = read_json(path)
    if _field(record, "identity", str, where) != identity:
        raise InputError(f"{where}: identity = {record['identity']!r}: is another run's than config.json beside it")
    cost = _field(record, "cost", dict, where)
    for key in ("parameters", "flops_per_token", "tokens", "seconds"):
        _field(cost, key, float, where)
    apart = ("format", "identity", "name", "evaluation", "cost")
    provenance = {key: value for key, value in record.items() if key not in apart}
    return Result(_evaluation(_field(record, "evaluation", dict, where), where), cost, provenance)


def _read_diverged(path: Path) -> int:
    """The step at which the run diverged."""
    return _field(read_json(path), "step", int, str(path))


def _weights(result: Result) -> Any:
    """The hash of the weights that training came to."""
    return result.provenance.get("weights_sha256")


def _evaluation(record: dict[str, Any], where: str) -> Evaluation:
    metrics = {}
    for name, entry in _field(record, "metrics", dict, where).items():
        value = _field(entry, "value", float, f"{where}: metric {name!r}")
        metrics[name] = Measure(value, *(entry.get(key) for key in ("low", "high", "right", "count", "clusters")))
    return Evaluation(metrics, tuple(_field(record, "headline", list, where)), record.get("notes") or {})


def _field(record: object, path: str, kind: type[T], where: str) -> T:
    """The entry at the dotted `path`; InputError when it is missing or of another kind. A null number reads NaN."""
    value: Any = record
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            raise InputError(f"{where}: {path} is missing")
        value = value[key]
    if kind is float and (value is None or (isinstance(value, int) and not isinstance(value, bool))):
        value = math.nan if value is None else float(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InputError(f"{where}: {path} = {reprlib.repr(value)}: must be {KINDS[kind]}")
    return value
