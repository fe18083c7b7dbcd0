"""How long runs take here, by making their first steps."""

import dataclasses
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from canonlab.checks import seconds_since
from canonlab.training.evaluation import evaluate
from canonlab.training.loop import train
from canonlab.training.plan import Plan
from canonlab.training.run import RunFolder, make_run

ENOUGH, STEPS, FIRST = 0.5, (3, 50), 2
"""Seconds of steps that are measured, how many these are at least and at most, and how many before don't count."""

WINDOWS = 32
"""Of the evaluation that is measured."""


@dataclass(frozen=True)
class Seconds:
    """What parts of a run take: all before the first step and that one, any other step, an evaluation per window."""

    start: float
    step: float
    window: float

    def of(self, plan: Plan) -> float:
        """A run of this kind, all in all."""
        training = plan.config.training
        evaluations = -(-training.steps // training.eval_every) * training.eval_windows
        final = training.final_windows or plan.task.default_windows or training.eval_windows
        return self.start + training.steps * self.step + (evaluations + final) * self.window


class _Enough(Exception):
    pass


class _Watch:
    """A listener that notes when each step ends, and ends the run when that is enough."""

    def __init__(self) -> None:
        self.ends = [time.perf_counter()]

    def start(self, run: RunFolder, step: int) -> None:
        """See training.loop.Listener."""

    def record(self, record: dict[str, Any]) -> None:
        """See training.loop.Listener."""
        self.ends.append(time.perf_counter())
        done = len(self.ends) - 1 - FIRST
        if done >= STEPS[0] and (done >= STEPS[1] or self.ends[-1] - self.ends[FIRST] > ENOUGH):
            raise _Enough

    def message(self, text: str) -> None:
        """See training.loop.Listener."""

    @property
    def step(self) -> float:
        """Seconds of a step, the first ones aside: the median, as other work on the machine disturbs some."""
        spans = sorted(after - before for before, after in zip(self.ends[FIRST:], self.ends[FIRST + 1 :], strict=False))
        return spans[len(spans) // 2]


def measure_steps(plan: Plan, threads: int | None = None) -> tuple[float, float]:
    """Seconds until the first step is done, and of a later one; of real training, which is thrown away."""
    training = dataclasses.replace(
        plan.config.training, steps=max(plan.config.training.steps, FIRST + STEPS[1]), log_every=1, eval_every=10**6
    )
    backend = plan.backend if threads is None else dataclasses.replace(plan.backend, threads=threads)
    config = dataclasses.replace(plan.config, training=dataclasses.replace(training, checkpoint_every=10**6))
    watch = _Watch()
    with tempfile.TemporaryDirectory(prefix="canonlab-") as folder:
        run = make_run(dataclasses.replace(plan, config=config, backend=backend), Path(folder) / "run")
        with suppress(_Enough):
            train(run, watch)
    return watch.ends[1] - watch.ends[0], watch.step


def measure(plan: Plan, threads: int | None = None) -> Seconds:
    """What the parts of a run take on this machine."""
    start, step = measure_steps(plan, threads)
    model = plan.backend.place(plan.decoder.build())
    separator = plan.task.separator_id if plan.config.training.isolate else None
    windows = min(WINDOWS, plan.config.training.eval_windows)
    with plan.backend.working():
        began = time.perf_counter()
        evaluate(model, plan.task, plan.config.training.seed, windows, plan.backend, separator)
        return Seconds(start, step, seconds_since(began) / windows)
