"""Skill speed: the first step from which on a difficulty is learnt."""

from collections.abc import Callable
from pathlib import Path

import pytest

from canonlab.results.groups import sections
from canonlab.results.load import Curves, load_runs
from canonlab.results.speed import first_step, levels, reached
from canonlab.tasks.base import Evaluation
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
