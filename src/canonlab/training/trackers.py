"""Experiment trackers beside metrics.jsonl, which is always written: TensorBoard, Weights & Biases, trackio.

A tracker is three calls. Whatever goes wrong in one is said once, and training goes on without it.
"""

import importlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from canonlab.errors import shown, unknown
from canonlab.extras import optional
from canonlab.training.loop import Listener
from canonlab.training.run import RunFolder

PROJECT = "canonlab"


class Tracker(Protocol):
    """What follows one run."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers at a step; names are paths such as "train/loss" or "eval/accuracy_k4"."""
        ...

    def finish(self) -> None:
        """The run ends, or stops for now."""
        ...


class TensorBoard:
    """Event files in the run's folder, below tensorboard/; what was logged beyond the step of a resume is hidden."""

    def __init__(self, name: str, identity: str, config: Mapping[str, Any], folder: Path, step: int) -> None:
        writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        self.writer = writer(str(folder / "tensorboard"), purge_step=step + 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def finish(self) -> None:
        self.writer.close()


class WeightsAndBiases:
    """A run of the project "canonlab"; offline where WANDB_MODE says so. A resumed run goes on as itself."""

    def __init__(self, name: str, identity: str, config: Mapping[str, Any], folder: Path, step: int) -> None:
        wandb = importlib.import_module("wandb")
        self.run = wandb.init(
            project=PROJECT, name=name, id=identity[:16], resume="allow", config=dict(config), dir=str(folder)
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def finish(self) -> None:
        self.run.finish()


class Trackio:
    """A run of the project "canonlab" in trackio's local data base."""

    def __init__(self, name: str, identity: str, config: Mapping[str, Any], folder: Path, step: int) -> None:
        trackio = importlib.import_module("trackio")
        self.run = trackio.init(project=PROJECT, name=name, config=dict(config), resume="allow", embed=False)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def finish(self) -> None:
        self.run.finish()


TRACKERS: dict[str, Callable[..., Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "trackio": Trackio,
}
"""What makes one, by the name of the package that it needs and of the extra that has it."""


def require_tracker(name: str) -> None:
    """InputError when there is no such tracker, or its package is missing."""
    if name not in TRACKERS:
        raise unknown("log", name, TRACKERS)
    optional(name, name, f"log = {shown(name)}")


class Tracking:
    """A listener that hands everything on to another one, and the numbers to a tracker as well.

    InputError at once when the tracker is unknown or its package is missing. Used as a context, so that what was logged
    is complete when the run ends in any way.
    """

    def __init__(self, listener: Listener, tracker: str) -> None:
        require_tracker(tracker)
        self.listener, self.name, self.make = listener, tracker, TRACKERS[tracker]
        self.tracker: Tracker | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._finish()

    def start(self, run: RunFolder, step: int) -> None:
        """See training.loop.Listener."""
        self.listener.start(run, step)
        self._finish()

        def begin() -> None:
            plan = run.plan
            self.tracker = self.make(plan.name, plan.identity, plan.content, run.folder, step)

        self._attempt(begin)

    def record(self, record: dict[str, Any]) -> None:
        """See training.loop.Listener."""
        self.listener.record(record)
        if (tracker := self.tracker) is not None:
            self._attempt(lambda: tracker.log(record["step"], numbers(record)))

    def message(self, text: str) -> None:
        """See training.loop.Listener."""
        self.listener.message(text)

    def _finish(self) -> None:
        if (tracker := self.tracker) is not None:
            self._attempt(tracker.finish)
        self.tracker = None

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # whatever a tracker does must not cost a run
            self.tracker = None
            self.listener.message(f"{self.name} failed and is left out of this run: {type(error).__name__}: {error}")


def numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of a record of metrics.jsonl: train/loss, eval/accuracy_k4, ..."""
    kind = record["kind"]
    if kind == "train":
        found = {key: value for key, value in record.items() if key not in ("kind", "step")}
    else:
        found = {name: metric["value"] for name, metric in record["metrics"].items()}
    return {f"{kind}/{name}": value for name, value in found.items() if value is not None and math.isfinite(value)}
