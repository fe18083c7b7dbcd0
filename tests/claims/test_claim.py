"""Each claim can hold, fail and stay open, and for the right reasons."""

from collections.abc import Callable
from typing import Any

import pytest

from canonlab.claims import FAILS, HOLDS, UNDECIDED, Claim, judge
from canonlab.claims.catalog import CLAIMS
from canonlab.claims.contrast import Contrast, Measure
from canonlab.results.compare import LEVEL, seeds_for
from canonlab.results.groups import sections

each_claim = pytest.mark.parametrize("claim", CLAIMS[:-1], ids=lambda claim: claim.number)
"""But the last, about real text, which has no contrasts."""


def reversed_truth(claim: Claim, contrast: Contrast, true_numbers: Callable[..., Any]) -> Any:
    """The numbers that make a claim true, but for one contrast, of which they make the reverse true."""
    found = true_numbers(claim)
    for task in contrast.tasks:
        hops, main = (Measure("most"), Measure("half")), Measure()
        first = contrast.first, task, main if contrast.measure in hops else contrast.measure
        if isinstance(contrast.second, float):
            found[first] = contrast.second + (0.05 if contrast.least < 0 else -0.05)
            continue
        second = contrast.second, task, main if contrast.against in hops else contrast.against
        worse = {"speed": 2.0}.get(contrast.measure.kind, 0.5)
        found[first] = worse * found[second]
        if contrast.measure.kind != "speed" and found[first] > found[second] - 0.1:
            found[second] = found[first] + 0.1
    return found


@each_claim
def test_holds_when_all_is_as_it_says(claim: Claim, true_numbers: Any, runs_of: Any) -> None:
    (found,) = judge([claim], runs_of(true_numbers(claim)))
    assert found.verdict == HOLDS, [(str(e.contrast), e.comparison) for e in found.evidence if e.verdict != "supported"]
    assert found.missing == () and f"all {len(claim.contrasts)} comparisons" in found.sentence


@each_claim
def test_fails_when_any_part_is_the_other_way_round(claim: Claim, true_numbers: Any, runs_of: Any) -> None:
    for contrast in claim.contrasts:
        numbers = reversed_truth(claim, contrast, true_numbers)
        (found,) = judge([claim], runs_of(numbers, seeds=range(seeds_for(LEVEL / len(claim.contrasts)))))
        assert found.verdict == FAILS, str(contrast)
        assert str(contrast) in found.sentence


def test_one_of_many_parts_takes_more_seeds_to_fail_a_claim(true_numbers: Any, runs_of: Any) -> None:
    """Where runs learn a task or don't, all three seeds of one side may do so by chance, in one of six parts."""
    claim = CLAIMS[1]
    (found,) = judge([claim], runs_of(reversed_truth(claim, claim.contrasts[0], true_numbers)))
    assert found.verdict == UNDECIDED
    assert "4 seeds of llama-rope + Canon-ABCD and llama-rope, to refute it" in found.missing


@each_claim
@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_decide_nothing(claim: Claim, seeds: int, true_numbers: Any, runs_of: Any) -> None:
    for found in (true_numbers(claim), reversed_truth(claim, claim.contrasts[0], true_numbers)):
        (judged,) = judge([claim], runs_of(found, seeds=range(seeds)))
        assert judged.verdict == UNDECIDED and all("3 seeds of " in thing for thing in judged.missing)


@each_claim
def test_seeds_that_differ_more_than_the_sides_decide_nothing(claim: Claim, true_numbers: Any, runs_of: Any) -> None:
    bounds = {(c.first, c.tasks[0], c.measure) for c in claim.contrasts if isinstance(c.second, float)}
    equal = {
        side: value if side in bounds else 3000.0 if side[2].kind == "speed" else 0.5
        for side, value in true_numbers(claim).items()
    }
    (judged,) = judge([claim], runs_of(equal, spread=0.5))
    assert judged.verdict == UNDECIDED
    assert judged.missing == () and "open for all the seeds so far" in judged.sentence


@each_claim
def test_without_one_architecture_it_cannot_hold_and_says_what_is_missing(
    claim: Claim, true_numbers: Any, runs_of: Any
) -> None:
    contrast = claim.contrasts[-1]
    task = contrast.tasks[0]
    found = {s: v for s, v in true_numbers(claim).items() if s[:2] != (contrast.first, task)}
    (judged,) = judge([claim], runs_of(found))
    assert judged.verdict == UNDECIDED
    assert f"a run of {contrast.first} on {task}" in judged.missing
    assert "missing: a run of " in judged.sentence


def test_no_runs_leave_all_open() -> None:
    found = judge(CLAIMS, [])
    assert [judged.verdict for judged in found] == [UNDECIDED] * len(CLAIMS)
    assert "0 of 6 comparisons support it" in found[1].sentence and "and 7 more" in found[1].sentence


def test_what_is_refuted_at_95_percent_only_is_no_failure(run: Any) -> None:
    """One of many comparisons comes out wrong by chance: it takes more to fail a claim than to decide a comparison."""
    claim = CLAIMS[1]
    contrast = claim.contrasts[0]
    differences = [-0.02, -0.03, -0.04]  # Student's 95% interval: -0.055 to -0.005
    runs = [
        run("depo", side, {"accuracy_k4": 0.5 + (d if side == contrast.first else 0), "accuracy_k2": 0.1}, seed=seed)
        for seed, d in enumerate(differences)
        for side in (contrast.first, contrast.second)
    ]
    (judged,) = judge([claim], sections(runs))
    first = judged.evidence[0]
    assert first.comparison and first.comparison.high < 0 and judged.verdict == UNDECIDED
    (alone,) = judge([Claim("", "", "", "", (), (contrast,))], sections(runs))
    assert alone.verdict == FAILS
