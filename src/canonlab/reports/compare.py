"""Is the difference between two architectures more than what training once more would change?

Two rows are compared on the seeds that both have: equal seeds share their data and its order, so the difference is
taken seed by seed. Its interval is Student's over those differences. One seed says nothing about the spread over seeds,
so it decides nothing, however many answers were evaluated.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from canonlab.tasks.metrics import Z95

T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""The 97.5% quantile of Student's t with 1, 2, ..., 30 degrees of freedom."""


@dataclass(frozen=True)
class Value:
    """A metric of one run with its standard error from a finite evaluation (0 where that is not known)."""

    value: float
    error: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """The mean of first - second over `seeds` common seeds, with its 95% interval, NaN with fewer than two seeds."""

    difference: float
    low: float
    high: float
    seeds: int

    @property
    def decided(self) -> bool:
        """Whether the interval is there and leaves out zero."""
        return self.low > 0 or self.high < 0


def t95(freedom: int) -> float:
    """The 97.5% quantile of Student's t; beyond the table by the first terms of its expansion in 1 / freedom."""
    if freedom <= len(T95):
        return T95[freedom - 1]
    z, n = Z95, freedom
    return z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n * n)


def compare(first: Mapping[int, Value], second: Mapping[int, Value]) -> Comparison | None:
    """Compare two rows, each a value by seed; None when they have no seed in common.

    Few differences can agree by chance, above all at 0 or 100%. So the spread of the differences is never taken for
    less than what the finite evaluations of the runs make of it.
    """
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    differences = [first[seed].value - second[seed].value for seed in seeds]
    mean, n = math.fsum(differences) / len(seeds), len(seeds)
    if n == 1:
        return Comparison(mean, math.nan, math.nan, 1)
    half = t95(n - 1) * math.sqrt(max(_variance(differences, mean), _noise(first, second, seeds)) / n)
    return Comparison(mean, mean - half, mean + half, n)


def _variance(values: Sequence[float], mean: float) -> float:
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _noise(first: Mapping[int, Value], second: Mapping[int, Value], seeds: Sequence[int]) -> float:
    return math.fsum(first[seed].error ** 2 + second[seed].error ** 2 for seed in seeds) / len(seeds)
