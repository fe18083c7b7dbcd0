"""Run folders as they lie on disk -> `Run` objects. Reads only.

A run folder holds `config.json` from its first moment, `metrics.jsonl` as it trains, and `result.json` once it is done.
Nothing else in reports and claims reads these files.
"""

import dataclasses
import itertools
import math
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from canonlab.errors import InputError, Unreadable
from canonlab.files import entry, exists, read_json, unreadable
from canonlab.tasks.base import Evaluation
from canonlab.tasks.metrics import AREA, Metric
from canonlab.training.metrics_log import read_metrics
from canonlab.training.parts import DIVERGED
from canonlab.training.record import Record, is_run, read_evaluation, read_record, read_result


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

    def area(self, metric: str) -> Metric | None:
        """The mean height of a metric's curve between its first evaluation and its last, by the trapezoidal rule.

        Its interval is as wide as theirs, on average. None with fewer than two evaluations.
        """
        known = [(step, evaluation.metrics.get(metric)) for step, evaluation in self.evaluations]
        found = [(step, each) for step, each in known if each and math.isfinite(each.value)]
        if len(found) < 2:
            return None
        parts = [(after - before, a, b) for (before, a), (after, b) in itertools.pairwise(found)]

        def height(side: Literal["value", "low", "high"]) -> float:
            heights = (width * (getattr(a, side) + getattr(b, side)) / 2 for width, a, b in parts)
            return math.fsum(heights) / (found[-1][0] - found[0][0])

        last = found[-1][1]
        return Metric(height("value"), None, last.count, height("low"), height("high"), last.clusters)


@dataclass(frozen=True)
class Result:
    """What a finished run came to. `cost` and `provenance` are kept as they were written."""

    evaluation: Evaluation
    cost: dict[str, Any]
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One training run; `result` is None while it is unfinished.

    `twins` are the same run in other folders, where its weights came out otherwise.
    """

    folder: Path
    record: Record
    curves: Curves
    result: Result | None
    diverged: int | None = None
    """The step at which the last attempt diverged, if it did."""
    twins: tuple["Run", ...] = ()

    @property
    def seed(self) -> int:
        """The seed that initialised the model and chose the data."""
        return int(self.record.config["training"]["seed"])

    @property
    def steps(self) -> int:
        """How many training steps the run is to take."""
        return int(self.record.config["training"]["steps"])

    @property
    def data(self) -> str | None:
        """The SHA-256 of the data that a finished run saw; None where it is not known."""
        return self.result.provenance.get("data_sha256") if self.result else None

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


def load_runs(paths: Iterable[str | os.PathLike[str]], left_out: list[str] | None = None) -> list[Run]:
    """All runs in `paths`, each a run folder or a folder that holds some at any depth, in order of their folders.

    Of folders of one run the finished one counts; the first if several or none is finished. Where weights came out
    otherwise, as they do on another machine, it has the others as its `twins`. InputError when a path does not exist,
    none holds a run, or a file is damaged or newer.

    What the system does not let us read is an InputError too or, where there is a list `left_out`, is left out and said
    there, a line each.
    """
    given = [Path(path) for path in paths]
    closed: list[InputError] = []
    folders: dict[Path, Path] = {}
    for folder in (folder for path in given for folder in _run_folders(path, closed)):
        folders.setdefault(folder.resolve(), folder)
    runs = []
    for _, folder in sorted(folders.items()):
        try:
            runs.append(load_run(folder))
        except Unreadable as error:
            closed.append(error)
    if closed and (left_out is None or not runs):
        raise closed[0]
    if not runs:
        raise InputError(f"no run found in {', '.join(map(str, given)) or 'an empty list'}: a run has a config.json")
    if left_out is not None:
        left_out += [f"left out: {error}" for error in closed]
    made: dict[str, list[Run]] = {}
    for run in runs:
        made.setdefault(run.record.identity, []).append(run)
    counted = {run.folder: run for run in map(_counted, made.values())}
    return [counted[run.folder] for run in runs if run.folder in counted]


def _counted(made: Sequence[Run]) -> Run:
    """The one that counts of runs of one identity."""
    first = next((run for run in made if run.result), made[0])
    known = _weights(first)
    twins = tuple(run for run in made if known and _weights(run) not in (None, known))
    return dataclasses.replace(first, twins=twins)


def _weights(run: Run) -> Any:
    """The hash of the weights that training came to; None where it is not known."""
    return run.result.provenance.get("weights_sha256") if run.result else None


def load_run(folder: Path) -> Run:
    """The run in `folder`; InputError as for `load_runs`."""
    record = read_record(folder)
    log, path = folder / "metrics.jsonl", folder / "result.json"
    result = _read_result(path, record.written_identity) if exists(path) else None
    extent = result.provenance.get("log") if result else None
    curves = _read_curves(log, extent) if extent or exists(log) else Curves()
    metric = record.asked["training"]["metric"]
    if result and metric.startswith(AREA) and (area := curves.area(metric.removeprefix(AREA))):
        result = dataclasses.replace(result, evaluation=_led_by(result.evaluation, metric, area))
    diverged = _read_diverged(folder / DIVERGED) if exists(folder / DIVERGED) else None
    return Run(folder, record, curves, result, diverged)


def _led_by(evaluation: Evaluation, name: str, metric: Metric) -> Evaluation:
    """The evaluation with one more metric, its main one."""
    return dataclasses.replace(
        evaluation, metrics={**evaluation.metrics, name: metric}, headline=(name, *evaluation.headline)
    )


def _run_folders(path: Path, closed: list[InputError]) -> Iterator[Path]:
    """`path` itself, if it is a run, and all run folders below it, inside of runs too. Hidden folders are not searched.

    Links are followed last, and each folder is searched once, so that a link counts where there is no other way. What
    can't be read is added to `closed`.
    """
    if not exists(path) or not path.is_dir():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        close = get_close_matches(path.name, siblings, n=1)
        hint = f"; did you mean {str(path.parent / close[0])!r}?" if close else ""
        raise InputError(f"run {str(path)!r}: there is no such folder{hint}")
    seen: set[str] = set()
    waiting = deque([path])
    while waiting:
        folder = waiting.pop()
        try:
            real = os.path.realpath(folder, strict=True)
            if real in seen:
                continue
            seen.add(real)
            children = sorted(os.scandir(folder), key=lambda child: child.name, reverse=True)
        except OSError as error:  # a link that leads nowhere or in circles, a folder that is closed to us
            closed.append(Unreadable(str(unreadable(folder, error))))
            continue
        if any(child.name == "config.json" for child in children) and (folder == path or is_run(folder)):
            yield folder
        for child in children:
            if not child.name.startswith(".") and _may_be_folder(child):
                (waiting.appendleft if child.is_symlink() else waiting.append)(Path(child))


def _may_be_folder(child: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to what may be one, were it there or open to us."""
    return child.is_dir(follow_symlinks=False) or (child.is_symlink() and not os.path.isfile(child))


def _read_curves(path: Path, extent: dict[str, Any] | None) -> Curves:
    steps, losses, evaluations = [], [], []
    for number, record in enumerate(read_metrics(path, extent), start=1):
        where = f"{path}, line {number}"
        match record.get("kind"):
            case "train":
                steps.append(record["step"])
                losses.append(entry(record, "loss", float, where))
            case "eval":
                evaluations.append((record["step"], read_evaluation(record, where)))
    return Curves(tuple(steps), tuple(losses), tuple(evaluations))


def _read_result(path: Path, identity: str) -> Result:
    record = read_result(path, identity)
    apart = ("format", "identity", "name", "evaluation", "cost")
    provenance = {key: value for key, value in record.items() if key not in apart}
    return Result(read_evaluation(record["evaluation"], path), record["cost"], provenance)


def _read_diverged(path: Path) -> int:
    """The step at which the run diverged."""
    return entry(read_json(path), "step", int, path, least=0)
