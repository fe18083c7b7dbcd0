"""Places, averages over them, and what is left out of a comparison."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from canonlab.claims.architecture import Architecture
from canonlab.claims.contrast import (
    Contrast,
    Measure,
    above,
    as_good,
    below,
    better,
    faster,
    on_average,
    twice_as_deep,
)
from canonlab.claims.evidence import (
    FACTOR,
    NATS,
    OPEN,
    POINTS,
    REFUTED,
    SUPPORTED,
    Evidence,
    comparable,
    gather,
)
from canonlab.results.compare import Value, average
from canonlab.results.groups import sections
from canonlab.results.load import Run
from canonlab.tasks.base import Evaluation
from fabricate import metric

CANON, PLAIN = Architecture("llama-rope", "ABCD"), Architecture("llama-rope")
Make = Callable[..., Run]


def evidence(contrast: Contrast, runs: Sequence[Run], level: float = 0.05) -> Evidence:
    return gather(contrast, comparable(sections(runs)), level)


def pair(run: Make, first: float, second: float, **settings: Any) -> list[Run]:
    """Both architectures on Mano with these accuracies."""
    return [run("mano", a, {"accuracy_l10": v}, **settings) for a, v in ((CANON, first), (PLAIN, second))]


(ON_MANO,) = better(CANON, PLAIN, "mano")


def test_places_are_averaged_seed_by_seed(run: Make) -> None:
    """Differences of one seed go up at one size and down at the other: only their mean over places is alike."""
    runs = []
    for seed, shift in enumerate((-0.2, 0.0, 0.2)):
        runs += pair(run, 0.6 + shift, 0.5, seed=seed) + pair(run, 0.6 - shift, 0.5, seed=seed, size="8L768D")
    found = evidence(ON_MANO, runs)
    assert found.comparison and len(found.places) == 2
    assert found.comparison.difference == pytest.approx(0.1) and found.comparison.low > 0.09
    assert found.verdict == SUPPORTED and not any(place.comparison.decided for place in found.places)


def test_places_that_move_together_count_as_one(run: Make) -> None:
    """The same differences at twelve sizes tell no more than at one."""
    sizes = [f"{n}L512D" for n in range(2, 14)]
    runs = [
        r for seed, d in enumerate((0.0, 0.1, 0.05)) for s in sizes for r in pair(run, 0.5 + d, 0.5, seed=seed, size=s)
    ]
    smallest = [r for r in runs if r.record.asked["model"]["size"] == "2L512D"]
    one, many = evidence(ON_MANO, smallest), evidence(ON_MANO, runs)
    assert one.comparison and many.comparison
    assert many.comparison.low == pytest.approx(one.comparison.low) and many.verdict == OPEN


def test_what_is_no_place(run: Make) -> None:
    for second, reason in (
        (
            {"size": "8L768D"},
            "runs of llama-rope + Canon-ABCD and llama-rope of one size and length of training on mano",
        ),
        ({"steps": 500}, "runs of llama-rope + Canon-ABCD and llama-rope of one size and length of training on mano"),
        ({"batch": 8}, "runs of llama-rope + Canon-ABCD and llama-rope of one size and length of training on mano"),
        ({"seed": 7}, "a common seed of llama-rope + Canon-ABCD and llama-rope, of equal data on mano"),
    ):
        runs = [run("mano", CANON, {"accuracy_l10": 0.9}), run("mano", PLAIN, {"accuracy_l10": 0.1}, **second)]
        found = evidence(ON_MANO, runs)
        assert not found.places and found.comparison is None and found.verdict == OPEN
        assert found.missing == (reason,)


def test_the_best_of_more_learning_rates_is_no_fair_opponent(run: Make) -> None:
    runs = [r for seed in range(3) for r in pair(run, 0.6, 0.5, seed=seed)]
    assert evidence(ON_MANO, runs).verdict == SUPPORTED
    more = [run("mano", CANON, {"accuracy_l10": 0.4}, lr=0.003, seed=seed) for seed in range(3)]
    found = evidence(ON_MANO, runs + more)
    assert found.verdict == OPEN
    assert found.missing == ("as many learning rates of both (2 learning rates against 1 learning rate) on mano",)


def test_a_metric_that_no_run_has_is_missing(run: Make) -> None:
    contrast = below(CANON, 0.99, "mano", "accuracy_l1")
    found = evidence(contrast, [run("mano", CANON, {"accuracy_l10": 0.5}, seed=seed) for seed in range(3)])
    assert found.missing == ("accuracy at length 1 of llama-rope + Canon-ABCD on mano",) and found.verdict == OPEN


def test_capacity_is_what_100_exposures_leave_per_parameter(run: Make) -> None:
    (contrast,) = better(CANON, PLAIN, "capo")
    many = [
        run("capo", a, {"bits_per_parameter": 2 * (1 + 0.01 * s)}, seed=s, exposures=1000)
        for s in range(3)
        for a in (CANON, PLAIN)
    ]
    assert evidence(contrast, many).missing == (
        "a run of llama-rope + Canon-ABCD on capo",
        "a run of llama-rope on capo",
    )
    few = [
        run("capo", a, {"bits_per_parameter": bits * (1 + 0.01 * seed)}, seed=seed)
        for seed in range(3)
        for a, bits in ((CANON, 1.2), (PLAIN, 1.0))
    ]
    found = evidence(contrast, many + few)
    assert found.comparison and 2**found.comparison.difference == pytest.approx(1.2)
    assert found.verdict == SUPPORTED and found.unit == FACTOR


def by_loss(run: Make, first: float, second: float, **settings: Any) -> list[Run]:
    """Both architectures on Mano, as `pair`, but with losses that runs are compared by."""
    return [
        dataclasses.replace(made, result=dataclasses.replace(made.result, evaluation=evaluation))
        for made, loss in zip(pair(run, 0.4, 0.5, **settings), (first, second), strict=True)
        if made.result
        for old in [made.result.evaluation]
        for metrics in [{**old.metrics, "loss": metric(loss, loss - 0.001, loss + 0.001, None)}]
        for evaluation in [Evaluation(metrics, ("loss", *old.headline), {})]
    ]


def test_of_a_loss_less_is_better_and_the_unit_is_nats(run: Make) -> None:
    runs = [r for seed in range(3) for r in by_loss(run, 0.6 + 0.01 * seed, 0.9, seed=seed)]
    found = evidence(ON_MANO, runs)
    assert found.comparison and found.comparison.difference == pytest.approx(0.29)
    assert (found.verdict, found.unit) == (SUPPORTED, NATS) and found.places[0].where.endswith("steps of 32, loss")


def test_losses_and_right_answers_are_not_averaged(run: Make) -> None:
    runs = [r for seed in range(3) for r in by_loss(run, 0.6, 0.9, seed=seed)]
    runs += [run("brevo", a, {"accuracy": v}, seed=seed) for seed in range(3) for a, v in ((CANON, 0.9), (PLAIN, 0.5))]
    found = evidence(on_average(CANON, PLAIN, "mano", "brevo"), runs)
    assert found.unit == POINTS and [place.unit for place in found.used] == [POINTS] and len(found.places) == 2
    assert found.verdict == OPEN and found.missing == (
        "runs of llama-rope + Canon-ABCD and llama-rope on mano that are compared by right answers, as elsewhere",
    )


def test_hops_of_runs_that_are_compared_by_the_loss(run: Make) -> None:
    """All hops of one side against half the hops of the other."""
    contrast = twice_as_deep(CANON, PLAIN)

    def runs(most: float, half: float) -> list[Run]:
        found = []
        for seed in range(3):
            for a, losses in ((CANON, (most, 0.0)), (PLAIN, (0.9, half))):
                made = run("depo", a, {"accuracy_k4": 0.5, "accuracy_k2": 0.5}, seed=seed)
                assert made.result
                old = made.result.evaluation
                names = zip(("loss_k4", "loss_k2"), losses, strict=True)
                metrics = {**old.metrics, **{n: metric(x + 0.001 * seed, x, x + 0.01, None) for n, x in names}}
                metrics["loss"] = metric(0.5, 0.4, 0.6, None)
                led = Evaluation(metrics, ("loss", *old.headline), {})
                found.append(dataclasses.replace(made, result=dataclasses.replace(made.result, evaluation=led)))
        return found

    assert evidence(contrast, runs(0.2, 0.4)).verdict == SUPPORTED
    assert evidence(contrast, runs(0.6, 0.4)).verdict == REFUTED


def test_knowledge_by_the_loss_takes_no_exposures(run: Make) -> None:
    (contrast,) = better(CANON, PLAIN, "capo")
    runs = []
    for seed in range(3):
        for a, loss in ((CANON, 1.2), (PLAIN, 1.5)):
            made = run("capo", a, {"bits_per_parameter": 0.1}, seed=seed, exposures=0)
            assert made.result
            metrics = {**made.result.evaluation.metrics, "loss": metric(loss, loss, loss, None)}
            led = Evaluation(metrics, ("loss", "bits_per_parameter"), {})
            runs.append(dataclasses.replace(made, result=dataclasses.replace(made.result, evaluation=led)))
    found = evidence(contrast, runs)
    assert found.verdict == SUPPORTED and found.unit == NATS


def test_a_model_that_knows_nothing_is_no_infinite_factor(run: Make) -> None:
    (contrast,) = better(CANON, PLAIN, "capo")
    runs = [
        run("capo", a, {"bits_per_parameter": bits}, seed=seed)
        for seed in range(2)
        for a, bits in ((CANON, 1.0), (PLAIN, -0.1))
    ]
    found = evidence(contrast, runs).comparison
    assert found and 2**found.difference == pytest.approx(100)


def test_what_is_never_learnt_counts_as_learnt_at_the_end(run: Make) -> None:
    (contrast,) = faster(CANON, PLAIN, "depo", "accuracy_k1")
    metrics = {"accuracy_k4": 0.1, "accuracy_k2": 0.1}

    def runs(first: int, second: int) -> list[Run]:
        return [
            run("depo", a, metrics, learnt={"accuracy_k1": at + 100 * seed}, seed=seed)
            for seed in range(3)
            for a, at in ((CANON, first), (PLAIN, second))
        ]

    found = evidence(contrast, runs(2000, 90_000))
    assert found.comparison and 2**found.comparison.difference == pytest.approx(10_000 / 2100, rel=0.01)
    assert found.verdict == SUPPORTED
    assert evidence(contrast, runs(90_000, 2000)).verdict == REFUTED
    never = evidence(contrast, runs(90_000, 90_000))
    assert never.missing == ("a run that learns 1-hop accuracy on depo",) and never.verdict == OPEN


def test_evaluations_far_apart_leave_a_speed_open(run: Make) -> None:
    """Steps are known to the distance of evaluations only, and agreeing seeds don't make that less."""
    (contrast,) = faster(CANON, PLAIN, "depo", "accuracy_k1")
    runs = [
        run("depo", a, {"accuracy_k4": 0.1, "accuracy_k2": 0.1}, learnt={"accuracy_k1": at}, seed=seed)
        for seed in range(3)
        for a, at in ((CANON, 100), (PLAIN, 200))
    ]
    found = evidence(contrast, runs)
    assert found.comparison and found.comparison.difference == 1 and found.verdict == OPEN


def test_an_average_over_tasks_needs_all_of_them(run: Make) -> None:
    contrast = on_average(CANON, PLAIN, "mano", "lano")
    mano = [r for seed in range(3) for r in pair(run, 0.5 + 0.001 * seed, 0.6, seed=seed)]
    lano = [
        run("lano", a, {"accuracy": v + 0.001 * seed}, seed=seed)
        for seed in range(3)
        for a, v in ((CANON, 0.9), (PLAIN, 0.6))
    ]
    part = evidence(contrast, mano)
    assert part.comparison is None and part.places and part.verdict == OPEN
    assert "a run of llama-rope on lano" in part.missing
    found = evidence(contrast, mano + lano)
    assert found.comparison and found.comparison.difference == pytest.approx(0.1, abs=0.01)
    assert found.verdict == SUPPORTED


@pytest.mark.parametrize(("worse", "verdict"), [(0.0, SUPPORTED), (0.02, SUPPORTED), (0.05, OPEN), (0.1, REFUTED)])
def test_as_good_is_within_the_margin(run: Make, worse: float, verdict: str) -> None:
    (contrast,) = as_good(CANON, PLAIN, "mano")
    runs = [r for seed in range(3) for r in pair(run, 0.6 - worse + 0.001 * seed, 0.6, seed=seed)]
    assert evidence(contrast, runs).verdict == verdict


def test_an_average_is_over_common_seeds() -> None:
    def side(*seeds: int) -> dict[int, Value]:
        return {seed: Value(0.1 * seed, 0.02) for seed in seeds}

    first, second = average([(side(0, 1, 2, 3), side(0, 1, 2, 3)), (side(1, 2, 3), side(1, 2, 3))])
    assert set(first) == set(second) == {1, 2, 3}
    assert first[2].value == pytest.approx(0.2) and first[2].error == pytest.approx(0.02 / math.sqrt(2))
    assert average([(side(9), side(9)), (side(8), side(8))]) == ({}, {})


def test_a_place_with_few_seeds_takes_none_from_the_others(run: Make) -> None:
    runs = [r for seed in range(3) for r in pair(run, 0.6, 0.5, seed=seed)]
    found = evidence(ON_MANO, runs + pair(run, 0.1, 0.9, seed=0, size="12L512D"))
    assert len(found.places) == 2 and [place.where for place in found.used] == [
        "mano N = 10, context = 64, 8L512D, 10,000 steps of 32"
    ]
    assert found.verdict == SUPPORTED


def test_a_task_with_few_seeds_is_not_left_out_of_an_average(run: Make) -> None:
    contrast = on_average(CANON, PLAIN, "mano", "lano")
    runs = [r for seed in range(3) for r in pair(run, 0.6, 0.5, seed=seed)]
    runs += [run("lano", side, {"accuracy": value}) for side, value in ((CANON, 0.6), (PLAIN, 0.5))]
    found = evidence(contrast, runs)
    assert found.verdict == OPEN and found.missing == ("3 seeds of llama-rope + Canon-ABCD and llama-rope on lano",)


def test_places_without_common_seeds_say_what_is_missing(run: Make) -> None:
    runs = [r for seed in range(3) for r in pair(run, 0.6, 0.5, seed=seed)]
    runs += [r for seed in range(3, 6) for r in pair(run, 0.6, 0.5, seed=seed, size="12L512D")]
    found = evidence(ON_MANO, runs)
    assert found.verdict == OPEN
    assert found.missing == ("3 seeds common to the 2 places of llama-rope + Canon-ABCD and llama-rope",)


def test_other_data_is_no_evidence(run: Make) -> None:
    def saw(data: str, found: Run) -> Run:
        assert found.result
        return dataclasses.replace(found, result=dataclasses.replace(found.result, provenance={"data_sha256": data}))

    pairs = [pair(run, 0.6, 0.5, seed=seed) for seed in range(3)]
    equal = [saw("a", r) for both in pairs for r in both]
    other = [saw(data, r) for both in pairs for data, r in zip("ab", both, strict=True)]
    assert evidence(ON_MANO, equal).verdict == SUPPORTED
    assert evidence(ON_MANO, other).verdict == OPEN and not evidence(ON_MANO, other).places


def test_survivors_are_no_evidence(run: Make) -> None:
    runs = [r for seed in range(4) for r in pair(run, 0.6, 0.5, seed=seed)]
    lost = dataclasses.replace(runs[0], result=None, diverged=40)
    found = evidence(ON_MANO, [lost, *runs[1:]])
    assert found.verdict == OPEN and "that don't diverge (seed 0)" in found.missing[0]
    alone = evidence(above(CANON, 0.2, "mano", "accuracy_l10"), [lost, *runs[1:]])
    assert alone.verdict == OPEN and not alone.places


def test_a_users_task_named_like_the_papers_is_no_evidence(run: Make) -> None:
    runs = [r for seed in range(3) for r in pair(run, 0.6, 0.5, seed=seed)]
    task = runs[0].record.config["task"] | {"source": {"sha256": "0"}}
    own = [
        dataclasses.replace(each, record=dataclasses.replace(each.record, config=each.record.config | {"task": task}))
        for each in runs
    ]
    assert evidence(ON_MANO, runs).places and not evidence(ON_MANO, own).places


def test_a_users_class_named_like_a_preset_is_no_evidence(run: Make) -> None:
    mine = Architecture("mine.py:gla", "ABCD")
    runs = [run("mano", mine, {"accuracy_l10": 0.9}, seed=seed) for seed in range(3)]
    assert not evidence(better(Architecture("gla", "ABCD"), PLAIN, "mano")[0], runs).places
    assert not Architecture("gla", "ABCD").fits(sections(runs)[0].rows[0].settings)


def test_places_with_other_seeds_each_decide_nothing(run: Make) -> None:
    runs = pair(run, 0.9, 0.1, seed=0) + pair(run, 0.7, 0.1, seed=1, size="8L768D")
    found = evidence(ON_MANO, runs)
    assert found.comparison and found.comparison.difference == pytest.approx(0.7) and found.comparison.seeds == 1
    assert found.verdict == OPEN


def test_measures_read_as_sentences() -> None:
    half = Contrast(CANON, PLAIN, "as good as", ("depo",), Measure(), Measure("half"))
    assert str(half) == "llama-rope + Canon-ABCD as good as llama-rope at half the hops on depo"
    (speed,) = faster(CANON, PLAIN, "depo", "accuracy_k1")
    assert str(speed) == "llama-rope + Canon-ABCD faster than llama-rope in learning 1-hop accuracy on depo"
