"""The rule: Tukey's margin for all pairs, the gap between seeds, and what must decide as well within it."""

import math
from typing import Any

import numpy as np
import pytest

from canonlab.results.compare import Value, compare
from canonlab.results.decide import APART, Decision, Rule
from canonlab.results.studentized_range import quantile
from canonlab.tasks.metrics import t_quantile


def side(*numbers: float, first: int = 0, **settings: Any) -> dict[int, Value]:
    """Values of seeds from `first` on."""
    return {seed: Value(number, **settings) for seed, number in enumerate(numbers, start=first)}


PLAIN = (side(0.9, 0.92, 0.91), side(0.5, 0.51, 0.49), side(0.7, 0.72, 0.69))


def pair(first: dict[int, Value], second: dict[int, Value], *others: dict[int, Value], **settings: Any) -> Decision:
    """What is decided between the first two."""
    found = Rule((first, second, *others), **settings).pair(first, second)
    assert found is not None
    return found


def test_the_margin_is_tukeys_over_the_pooled_variance() -> None:
    found = pair(*PLAIN)
    pooled = np.mean([np.var([v.value for v in each.values()], ddof=1) for each in PLAIN])
    margin = quantile(3, 6, 0.05) / math.sqrt(2) * math.sqrt(pooled * 2 / 3)
    assert (found.difference, found.seeds, found.needed, found.pairs) == (pytest.approx(0.41), 3, 3, 3)
    assert (found.low, found.high) == pytest.approx((0.41 - margin, 0.41 + margin)) and found.decided
    assert found.reversed.high == -found.low and found.reversed.decided


def test_a_pair_that_spreads_more_than_the_others_has_its_own_variance() -> None:
    calm = [side(0.1, 0.1, 0.1), side(0.2, 0.2, 0.2)]
    found = pair(side(0.8, 0.9, 1.0), side(0.3, 0.4, 0.5), *calm)
    margin = quantile(4, 8, 0.05) / math.sqrt(2) * math.sqrt(0.01 * 2 / 3)
    assert found.high - found.difference == pytest.approx(margin)


def test_evaluations_that_agree_by_chance_are_not_taken_for_certainty() -> None:
    assert pair(side(0.51, 0.51, 0.51), side(0.5, 0.5, 0.5)).decided
    assert not pair(side(0.51, 0.51, 0.51, error=0.01), side(0.5, 0.5, 0.5, error=0.01)).decided


def test_two_seeds_decide_nothing() -> None:
    found = pair(side(0.9, 0.91), side(0.1, 0.11), side(0.5, 0.51, 0.52))
    assert found.clear and not found.decided
    alone = pair(side(0.9), side(0.1, 0.11))
    assert math.isnan(alone.low) and not alone.decided and alone.difference == pytest.approx(0.795)


def test_within_the_gap_between_seeds_pairs_must_decide_by_themselves_as_well() -> None:
    """Tukey's margin alone would decide: the one that learns sometimes spreads, and the others outweigh it."""
    calm = [side(0.1, 0.1, 0.1)] * 10
    first, second = side(0.9, 0.9, 0.9), side(0.9, 0.2, 0.9)
    assert Rule((first, second, *calm)).gap == pytest.approx(0.7)
    found = pair(first, second, *calm)
    assert not found.decided and found.needed > 3 and found.pairs == 66
    paired = compare(first, second)
    assert paired is not None and found.low <= paired.at(0.05 / 66).low


def test_seeds_enough_decide_within_the_gap() -> None:
    first = side(*(0.9 + 0.01 * k for k in range(6)))
    second = side(*(0.3 + 0.1 * k for k in range(6)), first=0)
    gap = APART * Rule((first, second)).gap
    found = pair(first, second)
    assert found.difference > gap and found.needed == 3
    jump = side(0.1, 0.1, 0.1, 0.8, 0.8, 0.8)
    found = pair(first, jump)
    assert found.difference < APART * 0.7 and found.needed == 3 and found.seeds == 6 and found.decided
    assert found.low <= found.difference - t_quantile(5, 0.05) * np.std([0.8, 0.81, 0.82, 0.13, 0.14, 0.15], ddof=1) / 3


def test_a_side_may_have_more_seeds() -> None:
    found = pair(side(0.9, 0.92, 0.91, 0.93, 0.9), side(0.5, 0.51, 0.49))
    assert found.seeds == 3 and found.decided and found.difference == pytest.approx(0.912 - 0.5)


def test_seeds_of_other_data_count_for_neither() -> None:
    first = {**side(0.9, 0.92, 0.91, data="a"), 3: Value(0.5, data="a")}
    second = {**side(0.5, 0.51, 0.49, data="a"), 3: Value(0.9, data="b")}
    found = Rule((first, second)).pair(first, second)
    assert found is not None and found.seeds == 3 and found.difference == pytest.approx(0.41)
    assert Rule((first, second)).pair(side(0.9, data="a"), side(0.5, data="b")) is None


def test_a_baseline_takes_less_for_its_pairs() -> None:
    many = [side(0.1 * k, 0.1 * k + 0.01, 0.1 * k - 0.01) for k in range(6)]
    all_pairs, with_it = (pair(*many, chosen=chosen) for chosen in (0, 5))
    assert (all_pairs.pairs, with_it.pairs) == (15, 5) and with_it.high < all_pairs.high
    assert pair(*many[:2], chosen=1).high == pytest.approx(pair(*many[:2]).high, rel=1e-4)


def test_a_stricter_level_is_a_wider_interval() -> None:
    assert pair(*PLAIN, level=0.01).low < pair(*PLAIN).low
    assert pair(*PLAIN, apart=1e9).needed == 4
