import math

import numpy as np
import pytest

from canonlab.results.compare import Comparison, Value, compare


def values(*numbers, error=0.0):
    return {seed: Value(number, error) for seed, number in enumerate(numbers)}


def test_the_interval_is_students_over_the_differences_seed_by_seed():
    found = compare(values(0.9, 0.8, 0.7), values(0.5, 0.5, 0.3))
    differences = np.array([0.4, 0.3, 0.4])
    half = 4.302653 * differences.std(ddof=1) / math.sqrt(3)
    assert found.difference == pytest.approx(differences.mean())
    assert (found.low, found.high) == pytest.approx((differences.mean() - half, differences.mean() + half))
    assert found.decided and found.seeds == 3


def test_one_common_seed_decides_nothing():
    found = compare({0: Value(1.0), 1: Value(1.0)}, {1: Value(0.0), 2: Value(0.0)})
    assert found.difference == 1.0 and found.seeds == 1 and not found.decided
    assert compare({0: Value(1.0)}, {1: Value(0.0)}) is None


def test_agreeing_differences_are_not_taken_for_certainty():
    assert compare(values(0.51, 0.51, 0.51), values(0.5, 0.5, 0.5)).decided
    assert not compare(values(0.51, 0.51, 0.51, error=0.01), values(0.5, 0.5, 0.5, error=0.01)).decided


def test_two_seeds_decide_nothing():
    found = compare(values(0.9, 0.91), values(0.1, 0.11))
    assert found.low > 0.7 and not found.decided


def test_a_stricter_level_is_a_wider_interval():
    found = Comparison(0.1, 0.05, 0.15, 3)
    assert (found.at(0.05).low, found.at(0.05).high) == pytest.approx((0.05, 0.15))
    wide = found.at(0.01)
    assert wide.high - wide.low == pytest.approx(0.1 * 9.925 / 4.303, rel=1e-3)
    assert (wide.low + wide.high) / 2 == pytest.approx(0.1) and compare(values(0.1), values(0.2)).at(0.01).seeds == 1
