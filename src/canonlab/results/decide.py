"""When a difference between two architectures is decided, among all those that a section compares.

Both must hold:

(a) It exceeds Tukey and Kramer's margin for all pairs together: q(a, df) / sqrt(2) * sqrt(s^2 (1/n1 + 1/n2)), where a
    is the number of architectures, n are numbers of seeds, at least three of each, and s^2 is the larger of the
    variance over seeds that all architectures have together (df degrees of freedom) and that of the two; and never less
    than what the finite evaluations of the runs make of it.
(b) It exceeds `APART` times the widest gap between neighbouring seeds of any of the architectures. Where it doesn't,
    runs there may learn or not, which no interval over few seeds allows for: then the seeds in common must decide as
    well, pair by pair (`results.compare`: Student's interval over their differences, widened for all pairs by
    Bonferroni's rule, and as many seeds as chance takes).

Where one architecture is the chosen baseline, the pairs are those with it alone. How often this errs, and what it
finds, is simulated by `canonlab bench statistics`.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from canonlab.results.compare import DECIDING, LEVEL, Value, common_seeds, compare, seeds_for
from canonlab.results.studentized_range import quantile
from canonlab.tasks.metrics import t_quantile

APART = 1.25
"""How many times as wide as any gap between an architecture's neighbouring seeds a plain difference is."""

Side = Mapping[int, Value]
"""An architecture's values by seed."""


@dataclass(frozen=True)
class Decision:
    """The mean of first - second with the interval that (a), or where it must (b), gives it; NaN where nothing does.

    `seeds` are those of the side that has fewer, `needed` those of each side that a decision takes.
    """

    difference: float
    low: float
    high: float
    seeds: int
    needed: int = DECIDING
    pairs: int = 1
    """How many pairs the interval is right for, all together."""

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0

    @property
    def decided(self) -> bool:
        """Whether it does, over seeds enough."""
        return self.clear and self.seeds >= self.needed

    @property
    def reversed(self) -> "Decision":
        """That of second - first."""
        return replace(self, difference=-self.difference, low=-self.high, high=-self.low)


@dataclass(frozen=True)
class Rule:
    """What decides between architectures that are compared with one another, at an error of `level` for all pairs."""

    sides: tuple[Side, ...]
    chosen: int = 0
    """How many pairs were chosen to count before anything ran, such as those with a baseline; 0 for all."""
    level: float = LEVEL
    apart: float = APART

    @property
    def pairs(self) -> int:
        """How many pairs may be decided."""
        return max(1, self.chosen or math.comb(len(self.sides), 2))

    @cached_property
    def freedom(self) -> int:
        """Degrees of freedom of the variance over seeds."""
        return sum(len(side) - 1 for side in self.sides if side)

    @cached_property
    def variance(self) -> float:
        """Over seeds, of all architectures together."""
        return _pooled(self.sides)

    @cached_property
    def gap(self) -> float:
        """The widest one between neighbouring seeds of an architecture."""
        ordered = [sorted(value.value for value in side.values()) for side in self.sides]
        gaps = [high - low for values in ordered for low, high in itertools.pairwise(values)]
        return max(gaps, default=0.0)

    def pair(self, first: Side, second: Side) -> Decision | None:
        """What is decided between two of the architectures; None when they have no seeds of equal data.

        Seeds that both have, but with other data, count for neither.
        """
        alike = set(common_seeds(first, second))
        apart = (first.keys() & second.keys()) - alike
        one, other = ({seed: value for seed, value in side.items() if seed not in apart} for side in (first, second))
        if not alike:
            return None
        difference, seeds = _mean(one) - _mean(other), min(len(one), len(other))
        if seeds < 2:
            return Decision(difference, math.nan, math.nan, seeds, pairs=self.pairs)
        noise = math.fsum(value.error**2 for side in (one, other) for value in side.values()) / (len(one) + len(other))
        variance = max(self.variance, _pooled((one, other)), noise)
        margin = self._quantile * math.sqrt(variance * (1 / len(one) + 1 / len(other)))
        if abs(difference) > self.apart * self.gap:
            return Decision(difference, difference - margin, difference + margin, seeds, pairs=self.pairs)
        strict = self.level / self.pairs
        paired = compare(one, other)
        if paired is not None and paired.seeds > 1:
            wide = paired.at(strict)
            # as far as the farther end of either interval, whose middles differ where one side has more seeds
            margin = max(margin, *(abs(difference - end) for end in (wide.low, wide.high)))
        few = 0 if paired is None else paired.seeds
        return Decision(difference, difference - margin, difference + margin, few, seeds_for(strict), self.pairs)

    @cached_property
    def _quantile(self) -> float:
        """How many standard errors of a difference the margin is."""
        tukey = quantile(len(self.sides), self.freedom, self.level) / math.sqrt(2)
        return min(tukey, t_quantile(self.freedom, self.level / self.pairs)) if self.chosen else tukey


def _mean(side: Side) -> float:
    return math.fsum(value.value for value in side.values()) / len(side)


def _pooled(sides: Sequence[Side]) -> float:
    """The variance over seeds of several architectures together; 0 where none has two seeds."""
    squares, freedom = 0.0, 0
    for side in sides:
        if side:
            mean = _mean(side)
            squares += math.fsum((value.value - mean) ** 2 for value in side.values())
            freedom += len(side) - 1
    return squares / freedom if freedom else 0.0
