"""What a claim says, as differences that lie on one side of a bound; and what the paper's own numbers say of each."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from canonlab.claims.architecture import Architecture
from canonlab.results.published import PRESETS, tables
from canonlab.results.words import enumeration, metric_label
from canonlab.tasks.catalog import TASKS

MARGIN = 0.05
"""What "as good as" allows: five points, or 0.05 nats. Training once more changes less than that where a task is learnt
well."""


@dataclass(frozen=True)
class Measure:
    """A number of a run, the greater the better.

    `main` is the metric that runs are compared by: the task's own, or less the loss; of Capo's bits per parameter
    log2. `most` and `half` are Depo's accuracy, or less its loss, at its most hops and at half as many. `metric` is the
    one named. `speed` is -log2 of the step at which the metric named reaches 50%. `capacity` is log2 of bits per
    parameter, whatever runs are compared by.
    """

    kind: Literal["main", "most", "half", "metric", "speed", "capacity"] = "main"
    metric: str = ""

    def __str__(self) -> str:
        label = metric_label(self.metric)
        words = {"main": "", "capacity": "", "most": "at all hops", "half": "at half the hops", "metric": label}
        return words.get(self.kind, f"learning {label}")


MAIN = Measure()

RANK = {"main": 0, "most": 0, "half": 1}
"""Which of a published cell's values a measure is, and which of the metrics that a task quotes."""


@dataclass(frozen=True)
class Contrast:
    """The difference first - second, averaged over `tasks`, lies between `least` and `most`.

    Attributes:
        first, second: What is compared; a number as `second` is a fixed value to be above or below of.
        relation: In words, for people: "better than".
        tasks: Names of tasks (depo holds depo1 and depo2), each of the same weight.
        measure, against: Of the first, and of the second where that is another.
        published: The paper's difference, where no table of cells has it.
    """

    first: Architecture
    second: Architecture | float
    relation: str
    tasks: tuple[str, ...]
    measure: Measure = MAIN
    against: Measure = MAIN
    least: float = 0.0
    most: float = math.inf
    published: float | None = None

    def __str__(self) -> str:
        place = f"on {enumeration(self.tasks)}"
        if self.measure == self.against:
            measured = f" in {self.measure}" if str(self.measure) else ""
            return f"{self.first} {self.relation} {_text(self.second)}{measured} {place}"
        measured = f" {self.measure}" if str(self.measure) else ""
        return f"{self.first}{measured} {self.relation} {_text(self.second)} {self.against} {place}"


def better(first: Architecture, second: Architecture, *tasks: str) -> tuple[Contrast, ...]:
    """The first is better on each of the tasks."""
    return tuple(Contrast(first, second, "better than", (task,)) for task in tasks)


def as_good(first: Architecture, second: Architecture, *tasks: str) -> tuple[Contrast, ...]:
    """The first is better on each of the tasks, or worse by less than the margin."""
    return tuple(Contrast(first, second, "as good as", (task,), least=-MARGIN) for task in tasks)


def on_average(first: Architecture, second: Architecture, *tasks: str, least: float = 0.0) -> Contrast:
    """The first is better (by more than `least`) on the mean over the tasks, whichever it is better on."""
    return Contrast(first, second, "as good as" if least else "better than", tasks, least=least)


def faster(first: Architecture, second: Architecture, task: str, *metrics: str) -> tuple[Contrast, ...]:
    """The first reaches 50% in fewer steps, in each of the metrics."""
    speeds = [Measure("speed", metric) for metric in metrics]
    return tuple(Contrast(first, second, "faster than", (task,), speed, speed) for speed in speeds)


def in_order(architecture: Architecture, task: str, *metrics: str) -> tuple[Contrast, ...]:
    """Each metric reaches 50% in fewer steps than the next."""
    speeds = [Measure("speed", metric) for metric in metrics]
    return tuple(Contrast(architecture, architecture, "before", (task,), a, b) for a, b in pairwise(speeds))


def twice_as_deep(first: Architecture, second: Architecture) -> Contrast:
    """The first at the most hops is as good as the second at half of them (Depo)."""
    return Contrast(first, second, "as good as", ("depo",), Measure("most"), Measure("half"), least=-MARGIN)


def above(first: Architecture, bound: float, task: str, metric: str) -> Contrast:
    """A metric is more than a number."""
    measure = Measure("metric", metric)
    return Contrast(first, bound, "above", (task,), measure, measure)


def below(first: Architecture, bound: float, task: str, metric: str) -> Contrast:
    """A metric is less than a number."""
    measure = Measure("metric", metric)
    return Contrast(first, bound, "below", (task,), measure, measure, -math.inf, 0.0)


def _text(side: Architecture | float) -> str:
    return f"{side:.3g}" if isinstance(side, float) else str(side)


def published_difference(contrast: Contrast) -> float | None:
    """The mean of first - second over the cells that the paper has of both, a share; None where it has none.

    For information beside one's own, never evidence.
    """
    if contrast.published is not None:
        return contrast.published
    if isinstance(contrast.second, float) or not {contrast.measure.kind, contrast.against.kind} <= RANK.keys():
        return None
    means = []
    for task in contrast.tasks:
        found = list(_differences(contrast, contrast.second, task))
        if not found:
            return None
        means.append(math.fsum(found) / len(found))
    return math.fsum(means) / len(means)


def _differences(contrast: Contrast, other: Architecture, task: str) -> Iterator[float]:
    of_task = [e for e in tables()["results"] if TASKS[PRESETS[e["task"]]].task.name == task]
    for first in (entry for entry in of_task if _is(entry, contrast.first)):
        for second in (entry for entry in of_task if _is(entry, other)):
            if (first["task"], first.get("K")) != (second["task"], second.get("K")):
                continue
            for one, two in zip(first["percent"], second["percent"], strict=True):
                at = dict(zip(second["sizes"], two, strict=True))
                for size, cell in zip(first["sizes"], one, strict=True):
                    if size in at:
                        yield (cell[RANK[contrast.measure.kind]] - at[size][RANK[contrast.against.kind]]) / 100


def _is(entry: dict[str, object], architecture: Architecture) -> bool:
    settings = dict(architecture.settings)
    residual = settings.pop("canon_residual", True)
    same = (entry["model"], entry["canon"], entry.get("residual", True))
    return same == (architecture.model, architecture.canon, residual) and not settings and architecture.layers is None
