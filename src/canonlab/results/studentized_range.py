"""The studentized range: how far the largest of several equal means is above the smallest, in their standard error.

q = (largest - smallest of `count` independent normal means) / s, where s estimates their common standard deviation with
`freedom` degrees of freedom. Tukey's intervals for all pairs of means rest on its quantiles.
"""

import functools
import math

import torch
from torch import Tensor

HALF_WIDTH, NORMAL, SCALES = 8.5, 201, 161
"""Of the grid over a normal variable, its points, and those of the grid over s: the trapezoidal rule converges fast for
what fades away. A grid of more points in all is computed by several threads, which on a busy machine is slower."""


def exceeds(q: float, count: int, freedom: int) -> float:
    """The probability that the studentized range of `count` means exceeds q.

    P(q) = integral over s of f(s) R(q s), where R(w) = count * integral of phi(z) (Phi(z) - Phi(z - w))^(count - 1) dz
    is the law of the range of standard normal variables, and f the density of sqrt(chi^2 / freedom).
    """
    s, weights = _scales(freedom)
    z = torch.linspace(-HALF_WIDTH, HALF_WIDTH, NORMAL, dtype=torch.float64)
    density = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    within = torch.special.ndtr(z) - torch.special.ndtr(z - q * s[:, None])
    return float((weights * (1 - count * (density * within ** (count - 1)).sum(1))).sum())


def _scales(freedom: int) -> tuple[Tensor, Tensor]:
    """Values of s, and the weight that each has in an integral over its law."""
    reach = HALF_WIDTH / math.sqrt(2 * freedom)
    s = torch.linspace(max(1e-6, 1 - reach), 1 + reach, SCALES, dtype=torch.float64)
    logs = (freedom - 1) * torch.log(s) - freedom * s * s / 2
    weights = torch.exp(logs - logs.max())
    return s, weights / weights.sum()


@functools.cache
def quantile(count: int, freedom: int, level: float) -> float:
    """The q that the studentized range exceeds with probability `level`, by bisection: 3.926 for 2, 4 and 0.05."""
    low, high = 0.0, 2.0
    while exceeds(high, count, freedom) > level:
        low, high = high, 2 * high
    while high - low > 1e-7 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if exceeds(middle, count, freedom) > level else (low, middle)
    return high
