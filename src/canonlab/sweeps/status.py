"""How far a folder of runs is: read from the runs' own folders, in moments. Loads nothing heavy."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from canonlab.errors import InputError
from canonlab.files import entry, exists, read_bytes, read_json
from canonlab.sweeps.places import SWEEP
from canonlab.tasks.metrics import lower_is_better
from canonlab.training.parts import DIVERGED, DONE, FAILED, INTERRUPTED, RUNNING, TO_DO, state

LOG_END = 1 << 14
"""Bytes at the end of a log that its last records are looked for in."""


class Task(NamedTuple):
    """A run as a worklist has it: `flops` is 0 where no list tells."""

    folder: str
    cell: str
    flops: int


@dataclass(frozen=True)
class RunStatus:
    """What has become of a run: how far it is, its main metric once it has been evaluated, why it isn't done."""

    task: Task
    state: str
    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    metric: str = ""
    value: float | None = None
    share: bool = False
    """Whether the metric is a share, to be shown in percent."""
    reason: str = ""
    said: tuple[str, ...] = ()
    """The last lines that its worker said, of one that failed."""


class Best(NamedTuple):
    """The run of a cell with the largest value so far, and how many of the cell's runs are done."""

    cell: str
    done: int
    runs: int
    best: RunStatus | None


@dataclass(frozen=True)
class Survey:
    """All runs of a folder."""

    folder: Path
    runs: list[RunStatus]
    left: float | None
    """Seconds until all is done, as far as the runs that are done tell; None where nothing does."""

    @property
    def states(self) -> dict[str, int]:
        """How many runs there are in each state."""
        return dict(Counter(run.state for run in self.runs))

    def of(self, *states: str) -> list[RunStatus]:
        """The runs in any of these states."""
        return [run for run in self.runs if run.state in states]

    @property
    def cells(self) -> list[Best]:
        """Runs that differ in seed and learning rate alone, together."""
        found: dict[str, list[RunStatus]] = {}
        for run in self.runs:
            found.setdefault(run.task.cell, []).append(run)
        return [_best(cell, runs) for cell, runs in found.items()]

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        runs = [
            {"folder": run.task.folder, "state": run.state, "step": run.step, "steps": run.steps, "value": run.value}
            | ({"reason": run.reason} if run.reason else {})
            for run in self.runs
        ]
        return {"folder": str(self.folder), "states": self.states, "seconds_left": self.left, "runs": runs}


def _best(cell: str, runs: list[RunStatus]) -> Best:
    valued = [run for run in runs if run.value is not None]
    best = max(valued, key=lambda run: (-1 if lower_is_better(run.metric) else 1) * (run.value or 0.0), default=None)
    return Best(cell, sum(run.state == DONE for run in runs), len(runs), best)


@dataclass
class Observer:
    """Surveys a folder again and again; what has ended is read once."""

    folder: Path
    ended: dict[str, RunStatus] = field(default_factory=dict)

    def survey(self) -> Survey:
        """The state of all runs now. InputError when there are none, or a list of runs is damaged."""
        if not exists(self.folder) or not self.folder.is_dir():
            raise InputError(f"{str(self.folder)!r}: there is no such folder")
        runs = [self._status(task) for task in _tasks(self.folder)]
        if not runs:
            raise InputError(f"no run found in {self.folder}, and no list of runs to make")
        return Survey(self.folder, runs, _left(runs))

    def _status(self, task: Task) -> RunStatus:
        if task.folder in self.ended:
            found = self.ended[task.folder]
            if exists(self.folder / task.folder / _RECORD[found.state]):  # nobody has it made again
                return found
            del self.ended[task.folder]
        status = _status(self.folder / task.folder, task)
        if status.state in _RECORD:
            self.ended[task.folder] = status
        return status


_RECORD = {DONE: "result.json", "diverged": DIVERGED, "failed": FAILED}


def _tasks(parent: Path) -> Iterable[Task]:
    """All runs that lists name or that are there, each once."""
    found: dict[str, Task] = {}
    for path in _lists(parent):
        for run in entry(read_json(path), "runs", list, path):
            name, cell = (entry(run, key, str, path) for key in ("folder", "cell"))
            found[name] = Task(name, cell, entry(run, "flops", int, path))
    for path in sorted(parent.glob("*/config.json")):
        name = path.parent.name
        found.setdefault(name, Task(name, re.sub(r"-lr[^-]*(e-[^-]*)?-s\d+-[0-9a-f]{10}$", "", name), 0))
    if exists(parent / "config.json") and not found:  # a run itself
        name = parent.resolve().name
        found[name] = Task(f"../{name}", name, 0)
    return found.values()


def _lists(parent: Path) -> list[Path]:
    """The lists of runs of a folder's sweeps."""
    return sorted(path for path in (parent / SWEEP).glob("*.json") if path.name != "layout.json")


def not_among(folders: Iterable[Path]) -> list[str]:
    """A line for each sweep of which runs are there that are not among these folders: a choice of runs may be a choice
    of results."""
    chosen: dict[Path, set[str]] = {}
    for folder in folders:
        chosen.setdefault(folder.resolve().parent, set()).add(folder.resolve().name)
    lines = []
    for parent, names in sorted(chosen.items()):
        if _lists(parent):
            others = [task for task in _tasks(parent) if task.folder not in names]
            if count := sum(exists(parent / task.folder / "config.json") for task in others):
                lines.append(f"{count} {'run' if count == 1 else 'runs'} of the same sweep, in {parent}, left out")
    return lines


def _status(folder: Path, task: Task) -> RunStatus:
    now = state(folder)
    try:
        return _READERS[now](folder, task, now)
    except (InputError, KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        return RunStatus(task, "damaged", reason=str(error))


def _done(folder: Path, task: Task, now: str) -> RunStatus:
    path = folder / "result.json"
    result = read_json(path)
    evaluation = entry(result, "evaluation", dict, path)
    return RunStatus(task, now, seconds=entry(result, "cost.seconds", float, path), **_metric(evaluation))


def _metric(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    name = evaluation["headline"][0]
    metric = evaluation["metrics"][name]
    return {"metric": name, "value": metric["value"], "share": metric["right"] is not None}


def _diverged(folder: Path, task: Task, now: str) -> RunStatus:
    path = folder / DIVERGED
    found = read_json(path)
    step = entry(found, "step", int, path)
    return RunStatus(task, now, step, reason=f"step {step}: {entry(found, 'reason', str, path)}")


def _failed(folder: Path, task: Task, now: str) -> RunStatus:
    path = folder / FAILED
    found = read_json(path)
    return RunStatus(task, now, reason=entry(found, "reason", str, path), said=tuple(map(str, found.get("said", ()))))


def _under_way(folder: Path, task: Task, now: str) -> RunStatus:
    steps = entry(json.loads(read_bytes(folder / "config.json")), "config.training.steps", int, folder / "config.json")
    step, evaluation = 0, None
    for record in _last_records(folder / "metrics.jsonl"):
        step = max(step, record["step"])
        if evaluation is None and record["kind"] == "eval":
            evaluation = record
    return RunStatus(task, now, step, steps, **(_metric(evaluation) if evaluation else {}))


def _last_records(path: Path) -> Iterator[dict[str, Any]]:
    """The last records of a log, the latest first."""
    if not exists(path):
        return
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - LOG_END))
        lines = file.read().split(b"\n")
    for line in reversed(lines[1:-1] if size > LOG_END else lines[:-1]):  # neither what begins nor what ends half
        record = json.loads(line)
        if record["kind"] != "log":
            yield record


_READERS = {
    DONE: _done,
    "diverged": _diverged,
    "failed": _failed,
    RUNNING: _under_way,
    INTERRUPTED: _under_way,
    TO_DO: lambda folder, task, now: RunStatus(task, now),
}


def _left(runs: list[RunStatus]) -> float | None:
    """Seconds that the unfinished runs of lists take, at the rates of those that are done: of their cell, or of all."""
    by_cell: dict[str, list[RunStatus]] = {}
    for run in runs:
        if run.state == DONE and run.task.flops:
            by_cell.setdefault(run.task.cell, []).append(run)
    rates = {cell: _rate(done) for cell, done in by_cell.items()}
    if not rates:
        return None
    overall = _rate([run for done in by_cell.values() for run in done])
    seconds = 0.0
    for run in runs:
        if run.state in (RUNNING, INTERRUPTED, TO_DO):
            share = 1 - run.step / run.steps if run.steps else 1
            seconds += share * run.task.flops * rates.get(run.task.cell, overall)
    return seconds / max(1, sum(run.state == RUNNING for run in runs))


def _rate(done: list[RunStatus]) -> float:
    """Seconds per FLOP."""
    return sum(run.seconds for run in done) / sum(run.task.flops for run in done)
