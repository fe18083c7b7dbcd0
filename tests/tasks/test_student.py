import math

import numpy as np
import pytest

from canonlab.tasks.student import quantile, within

T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""The 97.5% quantiles for 1, 2, ..., 15 degrees of freedom, as printed tables have them."""


def test_quantiles_are_the_tables() -> None:
    for freedom, t in enumerate(T95, start=1):
        assert quantile(freedom, 0.05) == pytest.approx(t, abs=6e-4)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 12])
def test_the_series_is_the_integral_of_the_density(freedom: int) -> None:
    for t in (0.3, 2.0, 9.0):
        x = np.linspace(0, t, 100_001)
        log_scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - 0.5 * math.log(freedom * math.pi)
        density = np.exp(log_scale) * (1 + x * x / freedom) ** (-(freedom + 1) / 2)
        assert within(t, freedom) == pytest.approx(2 * np.trapezoid(density, x), abs=1e-8)


@pytest.mark.parametrize("level", [0.5, 0.01, 0.05 / 28, 1e-6])
def test_the_quantile_inverts(level: float) -> None:
    for freedom in (1, 2, 4, 9, 40):
        assert 1 - within(quantile(freedom, level), freedom) == pytest.approx(level, rel=1e-6)
