"""Quantiles of the studentized range, against those of SciPy 1.17 (scipy.stats.studentized_range.ppf)."""

import math

import numpy as np
import pytest

from canonlab.results.studentized_range import exceeds, quantile
from canonlab.tasks.metrics import t_quantile

SHAPES = [(2, 4), (3, 6), (4, 8), (8, 16), (12, 24), (12, 48), (24, 48), (2, 10), (6, 5)]
REFERENCE = {
    0.05: [3.926486, 4.339195, 4.52881, 4.89622, 5.09913, 4.856029, 5.451005, 3.151064, 6.032903],
    0.02: [5.298984, 5.432837, 5.46478, 5.575238, 5.682031, 5.339321, 5.923346, 3.90856, 7.583435],
    0.01: [6.511173, 6.330508, 6.203835, 6.079317, 6.105445, 5.681499, 6.259045, 4.482028, 8.913107],
    0.005: [7.916157, 7.306371, 6.980801, 6.581999, 6.519973, 6.009433, 6.581708, 5.064873, 10.409642],
}


@pytest.mark.parametrize("level", REFERENCE)
def test_quantiles_are_those_of_scipy(level: float) -> None:
    found = [quantile(count, freedom, level) for count, freedom in SHAPES]
    assert found == pytest.approx(REFERENCE[level], rel=2e-5)


@pytest.mark.parametrize("freedom", [3, 7, 100])
def test_for_two_means_it_is_students(freedom: int) -> None:
    assert quantile(2, freedom, 0.05) == pytest.approx(math.sqrt(2) * t_quantile(freedom, 0.05), rel=1e-4)


def test_it_is_what_a_simulation_gives() -> None:
    draw = np.random.default_rng(0)
    means = draw.normal(size=(40_000, 5))
    spread = np.sqrt(draw.chisquare(10, 40_000) / 10)
    beyond = np.mean(np.ptp(means, axis=1) / spread > 4.0)
    assert exceeds(4.0, 5, 10) == pytest.approx(beyond, abs=4 * math.sqrt(0.1 * 0.9 / 40_000))
