"""Metrics with their counts and intervals, and what intervals are made of."""

import dataclasses
import functools
import math
import re
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from canonlab.errors import shown

Z95 = 1.959963984540054
"""The 97.5% quantile of the normal distribution: half of a two-sided 95% interval, in standard deviations."""


AREA = "area_"
"""What stands before a metric's name for the mean height of its curve over training: it tells how soon something is
learnt as well as how well."""

LOWER = re.compile(rf"(?:{AREA})?(loss|kl)(_[a-z]+\d*)*")
"""Metrics of which less is better, by their names."""


def lower_is_better(name: str) -> bool:
    """Whether less of a metric is better: of `loss`, of `loss_k4` and its like, of `kl`, of their areas, and of
    those of a part of a mixture, `loss_k4_junk`."""
    return LOWER.fullmatch(name) is not None


def better(name: str, value: float, than: float) -> bool:
    """Whether a value of a metric is better than another one."""
    return value < than if lower_is_better(name) else value > than


@dataclasses.dataclass(frozen=True)
class Metric:
    """A share `value` = right / count with its 95% interval [low, high]. With count 0, value is NaN over [0, 1].

    Or a mean of anything, which has no `right`; what can't be known of it is NaN. `clusters` counts the groups, such as
    windows, whose answers may depend on each other and which the interval takes as independent.
    """

    value: float
    right: int | None
    count: int
    low: float
    high: float
    clusters: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """(low, high); None where they or the value can't be known."""
        known = not any(map(math.isnan, (self.value, self.low, self.high)))
        return (self.low, self.high) if known else None


def problem(metric: Mapping[str, Any]) -> str | None:
    """What is wrong with a metric as plain data, its field first: a share above 1, a count below 0, an empty interval.

    A number that isn't known is null or NaN.
    """
    right, count = metric["right"], metric["count"]
    known = {key: metric[key] for key in ("value", "low", "high") if metric[key] is not None}
    for key, number in (("right", 0 if right is None else right), ("count", count), ("clusters", metric["clusters"])):
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            return f"{key} = {shown(number)}: must be an integer of at least 0"
    if right is not None:
        if right > count:
            return f"right = {right}: must be at most the count {count}"
        if outside := [key for key, number in known.items() if number < 0 or number > 1]:
            return f"{outside[0]} = {known[outside[0]]}: must be a share, from 0 to 1"
    if "low" in known and "high" in known and known["low"] > known["high"]:
        return f"low = {known['low']}: must be at most high = {known['high']}"
    return None


def share(right: int | np.ndarray, count: int | np.ndarray) -> Metric:
    """The metric for `right` successes out of `count`, with Wilson's score interval.

    Arrays give both for each cluster of answers that may depend on each other: a window's, say. Answers that are alike
    tell less than as many independent ones, so the interval is that of fewer answers: of their number divided by the
    design effect (Kish, Survey Sampling, 1965), which is measured from how much the clusters differ.
    """
    if isinstance(right, np.ndarray) and isinstance(count, np.ndarray):
        used = count > 0
        total, clusters = int(count.sum()), int(used.sum())
        effect, successes = _design_effect(right[used], count[used]), int(right.sum())
    else:
        total = clusters = int(count)
        effect, successes = 1.0, int(right)
    if total == 0:
        return Metric(math.nan, 0, 0, 0.0, 1.0, 0)
    p, z2, n = successes / total, Z95 * Z95, total / effect
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # Rounding must not put the ends on the wrong side of p, or of 0 and 1.
    return Metric(p, successes, total, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)), clusters)


def _design_effect(right: np.ndarray, count: np.ndarray) -> float:
    """How many times the variance of the share is that of as many independent answers, at least 1.

    Where nearly all answers are right, or wrong, clusters cannot tell how alike their members are. Two clusters more,
    one all right and one all wrong, then make the estimate tend to the worst: members all alike.
    """
    if len(count) == 0:
        return 1.0
    size = (count**2).sum() / count.sum()  # of the cluster that an answer is in, on average
    total = count.sum() + 2 * size
    p = (right.sum() + size) / total
    spread = ((right - p * count) ** 2).sum() + size**2 * ((1 - p) ** 2 + p**2)
    return max(1.0, float(spread / (total * p * (1 - p))))


def mean(sums: np.ndarray, counts: np.ndarray) -> Metric:
    """The pooled mean of independent groups, sum(sums) / sum(counts), with Student's interval.

    Members of a group, such as a sentence's tokens, may depend on each other: the error is that of a ratio of means,
    from the means without each group in turn (the jackknife of Tukey, 1958), so that large groups don't hide their own
    deviation. Its degrees of freedom are one fewer than the groups with members. One group has no interval.
    """
    used = counts > 0
    groups, count = int(used.sum()), int(counts.sum())
    value = float(sums.sum() / count) if count else math.nan
    half = math.nan
    if groups > 1:
        without = (sums.sum() - sums[used]) / (count - counts[used])
        error = math.sqrt((groups - 1) / groups * float(((without - value) ** 2).sum()))
        half = t_quantile(groups - 1, 0.05) * error
    return Metric(value, None, count, value - half, value + half, groups)


def count_for_half_width(half_width: float) -> int:
    """How many independent trials make the 95% interval of any share, even 1/2, at most `half_width` to a side."""
    return math.ceil((Z95 / (2 * half_width)) ** 2)


def union_bound(trials: int, log_probability: float) -> float:
    """min(1, trials * exp(log_probability)); where that is too small for a float, the smallest normal one."""
    if trials == 0:
        return 0.0
    return max(sys.float_info.min, math.exp(min(0.0, math.log(trials) + log_probability)))


def t_within(t: float, freedom: int) -> float:
    """The probability that |T| <= t, for T with `freedom` degrees of freedom, a whole number of at least 1.

    The finite series of Abramowitz & Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(freedom))
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for k in range(2 + odd, freedom + 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (k - 1) / k
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total


@functools.cache
def t_quantile(freedom: int, level: float) -> float:
    """The t that |T| exceeds with probability `level`, by bisection: 4.303 for 2 degrees of freedom and 0.05."""
    low, high = 0.0, 1.0
    while 1 - t_within(high, freedom) > level:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 - t_within(middle, freedom) > level else (low, middle)
    return high
