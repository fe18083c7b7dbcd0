"""Simulated experiments with a known truth: intervals hold it, and what is decided is so."""

import math

import pytest

from canonlab.benchmarks.statistics import (
    CLUSTERS,
    NOISES,
    SPREADS,
    bench_statistics,
    clear,
    coverage,
    looked,
    several,
    verdicts,
)
from canonlab.claims import FAILS, HOLDS
from canonlab.results.compare import DECIDING


def at_most(share: float, experiments: int) -> float:
    """What a share of so many experiments stays under when the truth is `share`: four standard errors above."""
    return share + 4 * math.sqrt(share * (1 - share) / experiments)


@pytest.mark.parametrize(("windows", "answers", "alike"), CLUSTERS[:3])
def test_intervals_hold_the_truth(windows: int, answers: int, alike: float) -> None:
    """On average over rates from 2 to 98%, with windows of unequal size whose answers are alike."""
    assert coverage(windows, answers, alike, experiments=400).mean() >= 0.94


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("rates", [1, 3])
def test_no_difference_is_seldom_decided(seeds: int, rates: int) -> None:
    """With or without choosing the best of three learning rates by the numbers that are compared."""
    found = clear(0.0, 3.0, seeds, (rates, rates), experiments=1000)
    assert found <= at_most(0.05, 1000)


def test_where_runs_learn_or_do_not_three_seeds_are_needed() -> None:
    """Two seeds agree by chance too often, which is why claims take three."""
    assert clear(0.0, 2.0, 3, (1, 1), experiments=2000, learning=0.5) <= at_most(0.05, 2000)
    assert clear(0.0, 2.0, 2, (1, 1), experiments=2000, learning=0.5) > 0.08


@pytest.mark.parametrize("architectures", [2, 8])
@pytest.mark.parametrize("noise", NOISES)
def test_among_equal_architectures_there_is_seldom_a_best(architectures: int, noise: str) -> None:
    """Whatever the law of the seeds: heavy tails, runs that learn or don't, spreads that are far from equal."""
    assert several(architectures, 3, experiments=500, noise=noise)[1] <= at_most(0.06, 500)


@pytest.mark.parametrize(("architectures", "power"), [(2, 0.62), (4, 0.43), (12, 0.24)])
def test_three_seeds_find_ten_points_often_and_thirty_always(architectures: int, power: float) -> None:
    assert several(architectures, 3, experiments=400, lead=10.0)[0] > power
    assert several(architectures, 3, experiments=100, lead=30.0)[0] > 0.99


def test_the_first_look_finds_thirty_points() -> None:
    assert looked(experiments=30, lead=30.0) == (1, 1)


def test_one_seed_never_decides() -> None:
    assert clear(50.0, 1.0, 1, (1, 1), experiments=50) == 0


def test_ten_points_are_often_decided() -> None:
    """With 3 seeds and a spread of 2 points in four of five experiments, with 5 seeds nearly always."""
    assert clear(10.0, 2.0, 3, (1, 1), experiments=1000) > 0.75
    assert clear(10.0, 3.0, 5, (1, 1), experiments=1000) > 0.93


def test_true_claims_seldom_fail_and_false_ones_seldom_hold() -> None:
    """At the edge of the truth: all differences exactly at their bounds, or one of them and the others far within."""
    for parts in (1, 6):
        assert verdicts(parts, 5, (0.0, 0.0), FAILS, experiments=800) <= at_most(0.025, 800)
        assert verdicts(parts, 5, (0.0, 40.0), HOLDS, experiments=800) <= at_most(0.025, 800)
    assert verdicts(6, 3, (40.0, 40.0), HOLDS, experiments=100) > 0.95
    assert verdicts(6, 4, (-40.0, 40.0), FAILS, experiments=100) > 0.8


@pytest.mark.slow
def test_all_simulations() -> None:
    """The tables of `canonlab bench statistics`, with fewer experiments."""
    cover, none, learnt_or_not, ten, many, power, looks, judged = bench_statistics(experiments=1000).values()
    shares = [share for row in many for name, share in row.items() if "architectures" in name]
    assert len(shares) == 3 * len(NOISES) * 4 and max(shares) <= at_most(0.06, 1000)
    assert min(share for row in power if row["lead"] == 30 for name, share in row.items() if "arch" in name) > 0.99
    equals, *leads = [row for row in looks if not row["lead"]], *(row for row in looks if row["lead"])
    assert len(equals) == len(NOISES) and max(row["anything"] for row in equals) <= at_most(0.05, 250)
    assert leads[0]["pairs at 3 seeds"] > 0.2 and leads[1]["pairs at 3 seeds"] > 0.99
    assert len(cover) == len(CLUSTERS) and min(row["mean"] for row in cover) >= 0.94
    equal = [row for row in none if row["learning_rates"] != "3 and 1"]
    assert len(equal) == 6 * len(SPREADS) and max(row["clear"] for row in equal) <= at_most(0.05, 1000)
    enough = [row for row in learnt_or_not if row["seeds"] >= DECIDING]
    assert len(enough) == 4 * len(SPREADS) and max(row["clear"] for row in enough) <= at_most(0.05, 1000)
    powers = {(row["spread"], row["seeds"]): row["clear"] for row in ten if row["learning_rates"] == "3 and 3"}
    assert powers[2.0, 3] > 0.8 and powers[4.0, 3] > 0.35 and powers[4.0, 5] > powers[4.0, 3] > powers[4.0, 2]
    assert all(row["share"] <= at_most(0.025, 250) for row in judged if 0.0 in (row["first"], row["others"]))
