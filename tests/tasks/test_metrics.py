"""Shares, their intervals, and bounds on rare events."""

import math
import random

import pytest

from canonlab.tasks.metrics import Z95, count_for_half_width, share, union_bound


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng, p, covered = random.Random(0), 0.03, 0
    for _ in range(2000):
        metric = share(sum(rng.random() < p for _ in range(200)), 200)
        covered += metric.low <= p <= metric.high
    assert 0.93 < covered / 2000 < 0.975


@pytest.mark.parametrize(("right", "count"), [(0, 10), (10, 10), (3, 10), (1, 1), (9604, 9604)])
def test_interval_ends_solve_the_score_equation(right: int, count: int) -> None:
    metric = share(right, count)
    assert metric.low <= metric.value <= metric.high
    for end in (metric.low, metric.high):
        if 0 < end < 1:
            distance = abs(metric.value - end) / math.sqrt(end * (1 - end) / count)
            assert distance == pytest.approx(Z95)


def test_nothing_counted() -> None:
    metric = share(0, 0)
    assert math.isnan(metric.value) and (metric.low, metric.high) == (0.0, 1.0)


def test_count_for_half_width() -> None:
    count = count_for_half_width(0.01)
    assert count == 9604
    metric = share(count // 2, count)
    assert (metric.high - metric.low) / 2 <= 0.01


def test_union_bound() -> None:
    assert union_bound(10, math.log(0.01)) == pytest.approx(0.1)
    assert union_bound(1000, math.log(0.01)) == 1.0
    assert union_bound(0, 0.0) == 0.0
    assert 0.0 < union_bound(10**9, -1e6) < 1e-300
