"""Metrics with their counts and intervals."""

import dataclasses
import math
import sys

import numpy as np

Z95 = 1.959963984540054
"""The 97.5% quantile of the normal distribution: half of a two-sided 95% interval, in standard deviations."""


@dataclasses.dataclass(frozen=True)
class Metric:
    """A share `value` = right / count with its 95% interval [low, high]. With count 0, value is NaN over [0, 1].

    Or a mean of anything, which has no `right`; what can't be known of it is NaN.
    """

    value: float
    right: int | None
    count: int
    low: float
    high: float


def share(right: int, count: int) -> Metric:
    """The metric for `right` successes out of `count`, with Wilson's score interval."""
    if count == 0:
        return Metric(math.nan, 0, 0, 0.0, 1.0)
    p, z2 = right / count, Z95 * Z95
    centre = (p + z2 / (2 * count)) / (1 + z2 / count)
    half = Z95 / (1 + z2 / count) * math.sqrt(p * (1 - p) / count + z2 / (4 * count * count))
    # Rounding must not put the ends on the wrong side of p, or of 0 and 1.
    return Metric(p, right, count, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)))


def mean(sums: np.ndarray, counts: np.ndarray) -> Metric:
    """The pooled mean of independent groups, sum(sums) / sum(counts), with its normal interval.

    Members of a group, such as a sentence's tokens, may depend on each other: the error is that of a ratio of means
    (Cochran, Sampling Techniques, 1977, section 6.3). One group has no interval.
    """
    groups, count = len(sums), int(counts.sum())
    value = float(sums.sum() / count) if count else math.nan
    half = math.nan
    if groups > 1:
        half = Z95 * math.sqrt(groups / (groups - 1) * float(((sums - value * counts) ** 2).sum())) / count
    return Metric(value, None, count, value - half, value + half)


def count_for_half_width(half_width: float) -> int:
    """How many trials make the 95% interval of any share at most `half_width` to either side (worst case: 1/2)."""
    return math.ceil((Z95 / (2 * half_width)) ** 2)


def union_bound(trials: int, log_probability: float) -> float:
    """min(1, trials * exp(log_probability)); where that is too small for a float, the smallest normal one."""
    if trials == 0:
        return 0.0
    return max(sys.float_info.min, math.exp(min(0.0, math.log(trials) + log_probability)))
