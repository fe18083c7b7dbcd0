"""How often does the rule tell an architecture from itself? On real runs, whose spread no law has to describe.

Of an architecture's many seeds two sets are drawn that share none, and enter as two architectures: whatever is decided
between them is an error.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from canonlab.results.cells import Cell, cells
from canonlab.results.compare import DECIDING, Value
from canonlab.results.decide import Rule
from canonlab.results.groups import Section

RESAMPLES = 2000


@dataclass(frozen=True)
class Null:
    """Of one cell: the shares of draws in which a difference is decided, at three seeds each, and by any of several
    looks at more and more of them (None where there are too few seeds for the last)."""

    section: Section
    cell: Cell
    seeds: int
    once: float
    looks: float | None


def nulls(
    found: Sequence[Section], looks: Mapping[int, float], apart: float, resamples: int = RESAMPLES
) -> Iterator[Null]:
    """Of every cell with twice the seeds that a decision takes; `looks` maps seeds to the part of the error that the
    look at so many has, `apart` is how plain a lead has to be there."""
    for section in found:
        for cell in cells(section):
            pool = [value.value for value in cell.values(cell.metric).values()]
            if len(pool) >= 2 * DECIDING:
                once = _errors(pool, resamples, {DECIDING: Rule(()).level}, Rule(()).apart)
                enough = len(pool) >= 2 * max(looks)
                yield Null(section, cell, len(pool), once, _errors(pool, resamples, looks, apart) if enough else None)


def _errors(pool: Sequence[float], resamples: int, looks: Mapping[int, float], apart: float) -> float:
    """The share of draws in which any of the looks decides."""
    draw, most = np.random.default_rng(0), max(looks)
    decided = 0
    for _ in range(resamples):
        values = draw.choice(pool, 2 * most, replace=False).tolist()
        sides = [dict(enumerate(map(Value, values[start : start + most]))) for start in (0, most)]
        decided += any(_decides(sides, seeds, level, apart) for seeds, level in looks.items())
    return decided / resamples


def _decides(sides: Sequence[Mapping[int, Value]], seeds: int, level: float, apart: float) -> bool:
    one, other = ({seed: value for seed, value in side.items() if seed < seeds} for side in sides)
    found = Rule((one, other), level=level, apart=apart).pair(one, other)
    return found is not None and found.decided
