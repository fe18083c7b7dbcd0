"""Laws of knowledge from runs that follow known ones."""

import json
import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from canonlab.results.capacity import FLOOR
from canonlab.results.groups import sections
from canonlab.results.laws import OPEN, PLATEAU, RISES, Series, plain, series, unexposed
from canonlab.results.load import Run, load_runs
from canonlab.tasks.catalog import build_task
from fabricate import knowing

SIZES = {"1L32D2H": 10_000, "1L64D2H": 30_000, "2L64D2H": 100_000, "4L64D2H": 300_000}
EACH = 50.0
"""Bits that there are to know about one person."""


def made(
    bits: float,
    *,
    size: str = "1L32D2H",
    people: int = 1_000_000,
    seed: int = 0,
    task: Mapping[str, Any] | None = None,
    canon: str = "none",
    **training: Any,
) -> Run:
    """A finished run that knows so many bits."""
    return knowing(
        bits, SIZES[size], size, seed, people, EACH, task=task or {}, model={"canon": canon}, training=training
    )


def law_of(coefficient: float, exponents: Mapping[int, float], **settings: Any) -> list[Run]:
    """Runs of all sizes that follow bits = coefficient * parameters^exponent, by seed."""
    return [
        made(coefficient * SIZES[size] ** exponent, size=size, seed=seed, **settings)
        for seed, exponent in exponents.items()
        for size in SIZES
    ]


def only(runs: list[Run]) -> Series:
    (found,) = series(sections(runs))
    return found


def test_a_power_law_is_found_exactly() -> None:
    (law,) = only(law_of(3.0, {0: 0.9, 1: 0.95, 2: 1.0})).laws
    assert law.power is not None
    exponent, half = law.power.exponent, 4.302653 * 0.05 / math.sqrt(3)
    assert (exponent.difference, exponent.seeds) == (pytest.approx(0.95), 3)
    assert (exponent.low, exponent.high) == (pytest.approx(0.95 - half), pytest.approx(0.95 + half))
    assert law.power.coefficient == pytest.approx(3.0) and law.power.places == 4


def test_the_peak_is_the_largest_mean() -> None:
    runs = [
        made(ratio * SIZES[size] * (1 + seed / 10), size=size, people=people, seed=seed)
        for size, people, ratio in (("1L32D2H", 10**6, 1.0), ("1L64D2H", 10**6, 1.5), ("1L64D2H", 10**5, 1.2))
        for seed in range(3)
    ]
    (law,) = only(runs).laws
    half = 4.302653 * 0.15 / math.sqrt(3)
    assert (law.top.cell.size, law.top.people, len(law.places)) == ("1L64D2H", 10**6, 3)
    assert law.peak.difference == pytest.approx(1.65)
    assert (law.peak.low, law.peak.high) == (pytest.approx(1.65 - half), pytest.approx(1.65 + half))
    lucky = made(9 * SIZES["4L64D2H"], size="4L64D2H", seed=0)
    (law,) = only([*runs, lucky]).laws
    assert law.top.cell.size == "1L64D2H", "one seed is no match for three"


def test_places_without_a_point_are_counted() -> None:
    runs = law_of(2.0, dict.fromkeys(range(3), 1.0))
    few = [made(0.95 * 4000 * EACH, size="4L64D2H", people=4000, seed=seed) for seed in range(3)]
    none = [made(0.0 if seed else 9e4, size="4L64D2H", people=10**7, seed=seed) for seed in range(3)]
    (law,) = only([*runs, *few, *none]).laws
    assert (len(law.places), law.full, law.empty) == (6, 1, 1)
    assert law.power is not None and law.power.places == 4
    assert law.power.exponent.difference == pytest.approx(1.0)


def test_too_little_for_a_law() -> None:
    (one,) = only([made(2e4)]).laws
    assert one.peak.difference == 2.0 and one.peak.seeds == 1 and math.isnan(one.peak.low) and one.power is None
    (two,) = only([made(2e4, seed=s, size=size) for s in range(3) for size in ("1L32D2H", "1L64D2H")]).laws
    assert two.power is None, "two sizes"
    (nothing,) = only([made(0.0, seed=seed) for seed in range(3)]).laws
    assert nothing.peak.difference == 0 and nothing.empty == 1 and nothing.power is None
    (alone,) = only(law_of(2.0, {0: 1.0})).laws
    assert alone.power is not None and math.isnan(alone.power.exponent.low), "one seed has no interval"


@pytest.mark.parametrize(
    ("growth", "spread", "verdict"), [(1.0, 0.01, PLATEAU), (1.5, 0.01, RISES), (1.1, 0.2, OPEN), (1.0, 0.5, OPEN)]
)
def test_more_exposures(growth: float, spread: float, verdict: str) -> None:
    """Each doubling multiplies what is known by `growth`; seeds differ by `spread` from one number to the next."""
    steps = (-spread, 0.0, spread)
    runs = [
        made(1e4 * growth ** math.log2(n / 100) * math.exp(steps[seed] * (n == 400)), seed=seed, exposures=n)
        for n in (100, 200, 400)
        for seed in range(3)
    ]
    found = only(runs)
    assert [law.exposures for law in found.laws] == [100, 200, 400]
    first, last = found.steps
    assert first.factor is not None and first.factor.difference == pytest.approx(math.log2(growth))
    assert (last.first, last.second, last.places, last.full) == (200, 400, 1, 0)
    assert last.factor is not None and last.factor.difference == pytest.approx(math.log2(growth))
    assert last.factor.high - last.factor.low == pytest.approx(2 * 4.302653 * spread / math.log(2) / math.sqrt(3))
    assert last.verdict == verdict


def test_what_the_people_limit_is_no_plateau() -> None:
    runs = [made(1000 * EACH, people=1000, seed=seed, exposures=n) for n in (100, 200) for seed in range(3)]
    (step,) = only(runs).steps
    assert (step.places, step.full, step.factor, step.verdict) == (0, 1, None, OPEN)


def test_what_knows_nothing_is_no_plateau() -> None:
    """Bits may even be negative, as a model that has learnt little is worse than a guess."""
    runs = [made(bits, seed=seed, exposures=n) for n, bits in ((100, -50.0), (200, 20.0)) for seed in range(3)]
    (step,) = only(runs).steps
    assert (step.places, step.empty, step.factor, step.verdict) == (0, 1, None, OPEN)
    last = only([*runs, *(made(1e4, seed=seed, exposures=400) for seed in range(3))]).steps[-1]
    assert last.factor is not None and last.verdict == RISES, "at least that much: from what counts as nothing"
    hardly = [made(1.01 * FLOOR * SIZES["1L32D2H"], seed=seed, exposures=400) for seed in range(3)]
    last = only([*runs, *hardly]).steps[-1]
    assert last.factor is not None and (last.begun, last.verdict) == (1, OPEN), "it may have grown a hundred times"


def test_two_seeds_make_no_plateau() -> None:
    (step,) = only([made(1e4, seed=seed, exposures=n) for n in (100, 200) for seed in range(2)]).steps
    assert step.factor is not None and step.factor.seeds == 2 and step.verdict == OPEN


def test_unequal_rates_are_not_compared() -> None:
    runs = [made(1e4, seed=seed, exposures=n) for n in (100, 200) for seed in range(3)]
    (step,) = only([*runs, *(made(2e4, seed=seed, lr=0.02) for seed in range(3))]).steps
    assert step.places == 0 and step.factor is None


def test_series_are_told_apart() -> None:
    def mixture(junk: int, domain: bool = False) -> dict[str, Any]:
        parts = [
            {"task": "capo", "set": {"N": 50}, "domain": domain},
            {"task": "capo", "set": {"N": junk}, "share": 7, "name": "junk"},
        ]
        return {**build_task("capo-junk", {"parts": parts}).identity, "source": None}

    runs = [
        made(1e4),
        made(1e4, canon="ABCD"),
        made(1e4, warmup=5),
        *(made(1e4, task=mixture(n)) for n in (9, 20, 10**8)),
        made(1e4, task=mixture(10**8, True)),
        made(1e4, exposures=0),
    ]
    found = sections(runs)
    labels = [each.label for each in series(found)]
    assert len(set(labels)) == 7 and unexposed(found) == 1
    assert "gpt2-original, among junk" in labels
    assert "gpt2-original, among junk, with a token of their own" in labels
    assert any(label.startswith("gpt2-original, among repeated junk, among 7 of capo (N = 20") for label in labels)
    assert {"gpt2-original, warmup none", "gpt2-original, warmup 5", "gpt2-original + Canon-ABCD"} <= set(labels)


def test_other_batches_go_with_other_people() -> None:
    """Of several ways to train at one place the best one counts."""
    runs = [made(bits, seed=seed, batch=b) for b, bits in ((8, 1e4), (16, 2e4)) for seed in range(3)]
    (law,) = only(runs).laws
    assert len(law.places) == 1 and law.peak.difference == 2.0


def test_intervals_cover_the_truth() -> None:
    """Of 400 experiments with noise nearly all intervals of the exponent hold it, and not all."""
    draw, held = random.Random(1), 0
    for _ in range(400):
        runs = [
            made(2 * SIZES[size] ** 0.9 * math.exp(draw.gauss(0, 0.05)), size=size, seed=seed)
            for seed in range(3)
            for size in SIZES
        ]
        power = only(runs).laws[0].power
        assert power is not None
        held += power.exponent.low <= 0.9 <= power.exponent.high
    assert 0.92 < held / 400 < 0.98


def test_plain_is_json() -> None:
    runs = [run for n in (100, 200) for run in law_of(2.0, {0: 1.0, 1: 1.1, 2: 1.0}, exposures=n)]
    (found,) = plain(sections(runs))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["laws"][0]["power"]["exponent"]["seeds"] == 3 and found["steps"][0]["verdict"] == PLATEAU


def test_other_tasks_have_no_laws(fabricate: Callable[..., Path]) -> None:
    assert series(sections(load_runs([fabricate()]))) == []
