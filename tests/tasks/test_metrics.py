"""Shares, their intervals, and bounds on rare events."""

import dataclasses
import math
import random

import numpy as np
import pytest

from canonlab.tasks.metrics import (
    Z95,
    Metric,
    count_for_half_width,
    mean,
    share,
    t_quantile,
    t_within,
    union_bound,
)


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


@pytest.mark.parametrize("groups", [4, 8, 16, 200])
def test_the_interval_of_a_mean_covers_the_truth(groups: int) -> None:
    """Groups of other sizes have other means, and their members are all alike."""
    rng, covered = np.random.default_rng(0), 0
    for _ in range(6000):
        counts = rng.integers(1, 6, groups)
        found = mean(counts * (counts + rng.normal(size=groups)), counts)
        covered += found.low <= 55 / 15 <= found.high
    assert 0.93 <= covered / 6000 < 0.965


def test_mean_of_groups() -> None:
    equal = mean(np.array([1.0, 2.0, 6.0]), np.array([1, 1, 1]))
    assert (equal.value, equal.right, equal.count) == (3.0, None, 3)
    half = t_quantile(2, 0.05) * np.std([1, 2, 6], ddof=1) / math.sqrt(3)
    assert (equal.low, equal.high) == pytest.approx((3.0 - half, 3.0 + half))


def test_groups_without_members_tell_nothing_of_a_mean() -> None:
    assert mean(np.array([1.0, 0.0, 5.0, 0.0]), np.array([1, 0, 2, 0])) == mean(np.array([1.0, 5.0]), np.array([1, 2]))


def test_a_mean_of_one_group_has_no_interval_and_of_none_no_value() -> None:
    one = mean(np.array([3.0]), np.array([2]))
    assert one.value == 1.5 and math.isnan(one.low) and math.isnan(one.high)
    none = mean(np.empty(0), np.empty(0))
    assert math.isnan(none.value) and none.count == 0


@pytest.mark.parametrize("alike", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize(("clusters", "size"), [(10, 10), (64, 10), (250, 2)])
def test_clustered_intervals_cover_the_truth(clusters: int, size: int, alike: float) -> None:
    """Rates from 2 to 98%, the members of a cluster correlated by `alike`: on average at least 94% are covered."""
    rng, covered = np.random.default_rng(0), []
    for p in np.linspace(0.02, 0.98, 9):
        for _ in range(200):
            if alike in (0.0, 1.0):
                rates = np.full(clusters, p) if alike == 0 else (rng.random(clusters) < p).astype(float)
            else:
                strength = 1 / alike - 1
                rates = rng.beta(p * strength, (1 - p) * strength, clusters)
            found = share(rng.binomial(size, rates), np.full(clusters, size))
            covered.append(found.low <= p <= found.high)
    assert np.mean(covered) >= 0.94


def test_a_cluster_counts_for_as_many_answers_as_its_members_differ() -> None:
    rng = np.random.default_rng(0)
    count = np.full(1000, 10)
    alike, apart = share(10 * (rng.random(1000) < 0.5), count), share(rng.binomial(10, 0.5, 1000), count)
    one = share(500, 1000)
    assert alike.high - alike.low == pytest.approx(one.high - one.low, rel=0.05)
    assert apart.high - apart.low == pytest.approx((one.high - one.low) / math.sqrt(10), rel=0.08)
    assert (alike.count, alike.clusters) == (10_000, 1000)
    single = share((rng.random(50) < 0.3).astype(np.int64), np.ones(50, np.int64))
    assert single == share(single.right or 0, 50)
    assert share(np.array([3, 0]), np.array([4, 0])).clusters == 1


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


@pytest.mark.parametrize(("metric", "interval"), [(share(0, 0), None), (Metric(0.5, 1, 2, 0.1, 0.9, 2), (0.1, 0.9))])
def test_an_interval_is_known_or_it_is_not(metric: Metric, interval: object) -> None:
    assert metric.interval == interval
    assert dataclasses.replace(metric, high=math.nan).interval is None


T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""The 97.5% quantiles for 1, 2, ..., 15 degrees of freedom, as printed tables have them."""


def test_quantiles_are_the_tables() -> None:
    for freedom, t in enumerate(T95, start=1):
        assert t_quantile(freedom, 0.05) == pytest.approx(t, abs=6e-4)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 12])
def test_the_series_is_the_integral_of_the_density(freedom: int) -> None:
    for t in (0.3, 2.0, 9.0):
        x = np.linspace(0, t, 100_001)
        log_scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - 0.5 * math.log(freedom * math.pi)
        density = np.exp(log_scale) * (1 + x * x / freedom) ** (-(freedom + 1) / 2)
        assert t_within(t, freedom) == pytest.approx(2 * np.trapezoid(density, x), abs=1e-8)


@pytest.mark.parametrize("level", [0.5, 0.01, 0.05 / 28, 1e-6])
def test_the_quantile_inverts(level: float) -> None:
    for freedom in (1, 2, 4, 9, 40):
        assert 1 - t_within(t_quantile(freedom, level), freedom) == pytest.approx(level, rel=1e-6)
