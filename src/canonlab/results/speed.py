"""Skill speed: after how many training steps a difficulty is learnt. Source: Part 4.1, section 4 (finding 2.1)."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from canonlab.results.groups import Row, Section
from canonlab.results.load import Curves
from canonlab.results.words import metric_family

THRESHOLDS = (0.5, 0.95)
"""The shares of right answers to be reached."""


class Reached(NamedTuple):
    """When the seeds of a row reached `threshold` in `metric`, whose difficulty is `level` (a k, l or depth).

    `steps` has an entry per run, by seed: None where the run never reached it.
    """

    row: Row
    metric: str
    level: int
    threshold: float
    steps: tuple[int | None, ...]

    @property
    def median(self) -> float | None:
        """The median over runs; None when half of them or more never got there."""
        ordered = sorted(math.inf if step is None else step for step in self.steps)
        middle = len(ordered) // 2
        value = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
        return value if math.isfinite(value) else None


def first_step(curves: Curves, metric: str, threshold: float) -> int | None:
    """The first evaluation at `threshold` or above that is followed by another one so; None if there is none.

    The next one is asked so that one lucky evaluation on few windows doesn't count. The last has no next one.
    """
    found = [
        (step, evaluation.metrics[metric].value)
        for step, evaluation in curves.evaluations
        if metric in evaluation.metrics
    ]
    for position, (step, value) in enumerate(found):
        following = found[min(position + 1, len(found) - 1)][1]
        if value >= threshold and following >= threshold:
            return step
    return None


def levels(section: Section) -> list[tuple[int, str]]:
    """(difficulty, metric) of the section's main family of metrics, easiest first: (1, "accuracy_k1"), ...

    Where metrics make no family, the main one alone, as of difficulty 0; nothing if that is no share of right answers.
    """
    families = [family for name in section.metrics if name in section.shares and (family := metric_family(name))]
    if not families:
        return [(0, name) for name in section.own_headline[:1] if name in section.shares]
    main = next((family for name in section.own_headline if (family := metric_family(name))), families[0])
    members = {
        family[2]: name for name in section.metrics if (family := metric_family(name)) and family[:2] == main[:2]
    }
    return sorted(members.items())


def reached(section: Section, rows: Sequence[Row]) -> Iterator[Reached]:
    """When each of the rows reached each threshold at each level; unfinished runs are left out, and diverged ones
    reached nothing."""
    for row in rows:
        for level, metric in levels(section):
            for threshold in THRESHOLDS:
                steps = tuple(
                    first_step(run.curves, metric, threshold) if run.result else None
                    for run in row.runs
                    if run.result or run.diverged is not None
                )
                if steps:
                    yield Reached(row, metric, level, threshold, steps)
