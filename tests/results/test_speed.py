"""Skill speed: the first step from which on a difficulty is learnt."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from canonlab.results.groups import sections
from canonlab.results.load import Curves, load_runs
from canonlab.results.speed import area, first_step, levels, reached
from canonlab.tasks.base import Evaluation
from canonlab.tasks.metrics import Metric
from fabricate import metric


def curves(*values: float) -> Curves:
    found = ((100 * (i + 1), Evaluation({"accuracy_k2": metric(v)}, (), {})) for i, v in enumerate(values))
    return Curves(evaluations=tuple(found))


@pytest.mark.parametrize(
    ("values", "step"),
    [
        ((0.1, 0.6, 0.7), 200),
        ((0.1, 0.6, 0.1, 0.5, 0.6), 400),  # one lucky evaluation
        ((0.1, 0.2), None),
        ((0.1, 0.5), 200),
        ((0.9,), 100),
        ((), None),
    ],
)
def test_the_first_step_that_is_no_luck(values: tuple[float, ...], step: int | None) -> None:
    assert first_step(curves(*values), "accuracy_k2", 0.5) == step


def test_every_seed_counts_and_never_is_no_number(fabricate: Callable[..., Path]) -> None:
    for seed in range(3):
        folder = fabricate(canon="ABCD", seed=seed)
        fabricate(canon="", seed=seed)
    (section,) = sections(load_runs([folder.parent]))
    assert levels(section) == [(1, "accuracy_k1"), (2, "accuracy_k2"), (4, "accuracy_k4")]
    found = {(each.row.architecture, each.level, each.threshold): each for each in reached(section, section.rows)}
    fast = found["llama-rope + Canon-ABCD", 1, 0.5]
    assert len(fast.steps) == 3 and fast.median == sorted(step or 0 for step in fast.steps)[1]
    hops = [found["llama-rope + Canon-ABCD", level, 0.5].median or 0 for level in (1, 2, 4)]
    assert hops == sorted(hops) and hops[0] < hops[2]
    slow = found["llama-rope", 4, 0.95]
    assert slow.steps == (None, None, None) and slow.median is None


def test_the_area_is_the_mean_height_of_the_curve() -> None:
    def curves(*points: tuple[int, float]) -> Curves:
        found = [(step, Evaluation({"loss": Metric(y, None, 1, y, y, 1)}, ("loss",), {})) for step, y in points]
        return Curves(evaluations=tuple(found))

    assert area(curves((10, 1.0), (20, 0.5), (40, 0.5)), "loss") == pytest.approx((10 * 0.75 + 20 * 0.5) / 30)
    assert area(curves((10, 1.0)), "loss") is None and area(curves((10, 1.0), (20, 1.0)), "kl") is None
    assert area(curves((0, 1.0), (5, math.nan), (10, 0.0)), "loss") == pytest.approx(0.5)
