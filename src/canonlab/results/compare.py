"""Is the difference between two architectures more than what training once more would change?

Two rows are compared on the seeds that both have and that saw the same data in the same order, by its hash, so the
difference is taken seed by seed. Its interval is Student's over those differences. One seed says nothing about the
spread over seeds, so it decides nothing, however many answers were evaluated. Two say too little: see DECIDING.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from canonlab.tasks.metrics import t_quantile

LEVEL = 0.05
"""How often an interval may miss the truth."""

DECIDING = 3
"""Seeds that a decision takes at least. Where runs either learn a task or don't, two seeds agree by chance too often:
without any difference, one in nine comparisons would be decided (`canonlab bench statistics`)."""


def seeds_for(level: float) -> int:
    """Seeds that a decision at `level` takes: 3 at 0.05, 4 at 0.05 / 6.

    Where runs learn or don't, each with a chance of one half, all n seeds of one side do and none of the other's with
    probability 2 / 4^n, and no interval over the seeds is wide enough for that.
    """
    seeds = DECIDING
    while 2 / 4**seeds > level:
        seeds += 1
    return seeds


@dataclass(frozen=True)
class Value:
    """A metric of one run with its standard error from a finite evaluation (0 where that is not known), and the SHA-256
    of the data that the run saw (None where that is not known)."""

    value: float
    error: float = 0.0
    data: str | None = None


Side = dict[int, Value]
Pair = tuple[Side, Side]
"""Two rows, each a value by seed."""


@dataclass(frozen=True)
class Comparison:
    """The mean of first - second over `seeds` common seeds, with its interval (95% for LEVEL), NaN with fewer than two
    seeds."""

    difference: float
    low: float
    high: float
    seeds: int
    level: float = LEVEL
    """How often the interval may miss the truth."""

    def at(self, level: float) -> "Comparison":
        """The same with the interval that misses the truth with probability `level`."""
        if self.seeds < 2:
            return dataclasses.replace(self, level=level)
        half = (self.high - self.low) / 2 * t_quantile(self.seeds - 1, level) / t_quantile(self.seeds - 1, self.level)
        return Comparison(self.difference, self.difference - half, self.difference + half, self.seeds, level)

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0

    @property
    def decided(self) -> bool:
        """Whether it does, and over as many seeds as a decision at its level takes."""
        return self.clear and self.seeds >= seeds_for(self.level)


def common_seeds(first: Mapping[int, Value], second: Mapping[int, Value]) -> list[int]:
    """The seeds that both rows have, without those whose runs are known to have seen other data, ascending."""
    seeds = sorted(first.keys() & second.keys())
    return [seed for seed in seeds if None in (pair := (first[seed].data, second[seed].data)) or pair[0] == pair[1]]


def compare(first: Mapping[int, Value], second: Mapping[int, Value]) -> Comparison | None:
    """Compare two rows, each a value by seed; None when they have no seed with equal data in common.

    Few differences can agree by chance, above all at 0 or 100%. So the spread of the differences is never taken for
    less than what the finite evaluations of the runs make of it.
    """
    seeds = common_seeds(first, second)
    if not seeds:
        return None
    differences = [first[seed].value - second[seed].value for seed in seeds]
    mean, n = math.fsum(differences) / len(seeds), len(seeds)
    if n == 1:
        return Comparison(mean, math.nan, math.nan, 1)
    half = t_quantile(n - 1, LEVEL) * math.sqrt(max(_variance(differences, mean), _noise(first, second, seeds)) / n)
    return Comparison(mean, mean - half, mean + half, n)


def average(pairs: Sequence[Pair]) -> Pair:
    """The mean of both sides over pairs, for the seeds that all of them have on both sides."""
    seeds = sorted(set.intersection(*(first.keys() & second.keys() for first, second in pairs)))

    def mean(side: int) -> Side:
        return {seed: _mean([pair[side][seed] for pair in pairs]) for seed in seeds}

    return mean(0), mean(1)


def _mean(found: Sequence[Value]) -> Value:
    n = len(found)
    return Value(math.fsum(v.value for v in found) / n, math.sqrt(math.fsum(v.error**2 for v in found)) / n)


def _variance(values: Sequence[float], mean: float) -> float:
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _noise(first: Mapping[int, Value], second: Mapping[int, Value], seeds: Sequence[int]) -> float:
    return math.fsum(first[seed].error ** 2 + second[seed].error ** 2 for seed in seeds) / len(seeds)
