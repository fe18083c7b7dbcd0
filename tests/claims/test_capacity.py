"""Part 3.3's results as claims: their recipes make the runs, and each can hold, fail and stay open."""

import dataclasses
import functools
import hashlib
import json
import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from canonlab.claims import FAILS, HOLDS, UNDECIDED, Claim, judge
from canonlab.claims.amounts import amount, interval, published
from canonlab.claims.capacity import CLAIMS
from canonlab.claims.contrast import Contrast
from canonlab.claims.knowledge import KNOWLEDGE, Knowledge, subjects
from canonlab.models.config import ModelConfig
from canonlab.results.groups import sections
from canonlab.results.knowledge import ALONE, JUNK, LABELLED, REPEATED, SIMPLE, text
from canonlab.results.load import Curves, Result, Run
from canonlab.sweeps.recipe import load_recipe, shipped_recipes
from canonlab.tasks.base import Evaluation
from canonlab.tasks.catalog import build_task
from fabricate import metric, record

each_claim = pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.number)
PEOPLE = {"task": "capo", "set": {"N": 50}}
TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    ALONE: ("capo", {"N": 50}),
    SIMPLE: ("capo", {"N": 50, "simple": True}),
    JUNK: ("capo-junk", {"parts": [PEOPLE, {"task": "capo", "set": {"N": 10**8}, "share": 7, "name": "junk"}]}),
    REPEATED: ("capo-junk", {"parts": [PEOPLE, {"task": "capo", "set": {"N": 9}, "share": 7, "name": "junk"}]}),
    LABELLED: (
        "capo-junk",
        {"parts": [PEOPLE | {"domain": True}, {"task": "capo", "set": {"N": 10**8}, "share": 7, "name": "junk"}]},
    ),
}


@functools.cache
def identity(name: str, settings: str) -> dict[str, Any]:
    return {**build_task(name, json.loads(settings)).identity, "source": None}


@functools.cache
def points(model: str, canon: str) -> str:
    """What a Canon set in a user's words comes to."""
    return ModelConfig(model=model, canon=canon).decoder(64).canon.points


def made(
    task: Mapping[str, Any],
    model: Mapping[str, Any],
    exposures: int,
    bits: float,
    seed: int,
    quantization: Mapping[str, Any] | None = None,
    **training: Any,
) -> Run:
    """A finished run with so many bits per parameter."""
    settings = {"steps": 1000, "exposures": exposures, "batch": 8, "lr": 0.01, "seed": seed, **training}
    asked = {"model": "gpt2-original", "size": "1L32D2H", "canon": "none", "mixer": {}, **model}
    config = {
        "task": dict(task),
        "model": {"preset": repr(model), "canon": {"points": points(asked["model"], asked["canon"])}},
        "training": settings,
        "precision": "fp32",
        **({"quantization": dict(quantization)} if quantization else {}),
    }
    found = Evaluation({"bits_per_parameter": metric(bits, bits, bits, None, 100)}, ("bits_per_parameter",), {})
    name = hashlib.sha256(repr((config, asked)).encode()).hexdigest()
    cost = {"parameters": 1e6, "flops_per_token": 1.0, "tokens": 1.0, "seconds": 1.0}
    return Run(
        Path(name), record(identity=name, config=config, asked={"model": asked}), Curves(), Result(found, cost, {})
    )


def run_of(side: Knowledge, subject: str, bits: float, seed: int) -> Run:
    """A run of a side of a contrast."""
    model = {key: value for key, value in side.settings if not key.startswith("quantization.")}
    model |= {"model": side.model, "canon": side.canon or "none"}
    quantization = {key.partition(".")[2]: value for key, value in side.settings if key.startswith("quantization.")}
    task = ("biod", {}) if subject == "biod" else TASKS[side.text]
    return made(identity(task[0], json.dumps(task[1])), model, side.exposures, bits, seed, quantization)


def numbers(claim: Claim) -> dict[tuple[Knowledge, str], float]:
    """Bits per parameter under which every contrast of a claim is true."""
    found: dict[tuple[Any, str], float] = {}
    for contrast in claim.contrasts:
        subject = contrast.tasks[0]
        if isinstance(contrast.second, float):
            found[contrast.first, subject] = 2.15
        else:
            factor = 2 ** max(0.1 if contrast.least == 0 else 0.0, 1.2 * contrast.least)
            first = found.setdefault((contrast.first, subject), 1.0)
            found.setdefault((contrast.second, subject), first / factor)
    if claim.number == "3.3.12":
        base, junk, long = claim.contrasts[1].first, claim.contrasts[0].second, claim.contrasts[2].first
        return {
            (base, KNOWLEDGE): 1.0,
            (junk, KNOWLEDGE): 0.3,
            (claim.contrasts[0].first, KNOWLEDGE): 0.6,
            (long, KNOWLEDGE): 1.0,
        }  # type: ignore[dict-item]
    return found


def runs(found: Mapping[tuple[Knowledge, str], float], seeds: int = 3, spread: float = 0.01) -> list[Run]:
    draw = random.Random(0)
    return [
        run_of(side, subject, bits * draw.uniform(1 - spread, 1 + spread), seed)
        for (side, subject), bits in found.items()
        for seed in range(seeds)
    ]


def test_the_twelve_results() -> None:
    assert [claim.number for claim in CLAIMS] == [*(f"3.3.{n}" for n in range(1, 13)), "5.1"]
    for contrast in (contrast for claim in CLAIMS for contrast in claim.contrasts):
        found = contrast.published
        assert found is None or contrast.least <= found < contrast.most, str(contrast)


def test_factors_read_as_factors() -> None:
    """Ours and the paper's, of claims about capacity."""
    claim = CLAIMS[5]
    (part,) = judge([claim], sections(runs(numbers(claim), spread=0.0)))[0].evidence
    assert part.comparison is not None
    assert amount(part.comparison.difference, part.unit) == "1.07x"
    assert (interval(part), published(part.contrast)) == ("1.07x to 1.07x", "1.3x")


def test_texts() -> None:
    for kind, (name, settings) in TASKS.items():
        task = identity(name, json.dumps(settings))
        assert text(task) == kind
        assert subjects(task) == ((KNOWLEDGE,) if name == "capo-junk" else ("capo", KNOWLEDGE))
    mixture = build_task("capo-junk", {"parts": [{"task": "capo", "share": 2}, {"task": "mano", "share": 14}]})
    assert text(mixture.identity) is None, "no junk about people"
    half = build_task("capo-junk", {"parts": [{"task": "capo"}, {"task": "capo", "set": {"N": 9}, "name": "junk"}]})
    assert text(half.identity) is None, "not one in eight"


@each_claim
def test_holds_fails_and_stays_open(claim: Claim) -> None:
    true = numbers(claim)
    (found,) = judge([claim], sections(runs(true)))
    assert found.verdict == HOLDS, [(str(e.contrast), e.comparison, e.missing) for e in found.evidence]
    (few,) = judge([claim], sections(runs(true, seeds=2)))
    assert few.verdict == UNDECIDED and few.missing
    for contrast in claim.contrasts:
        (wrong,) = judge([claim], sections(runs(otherwise(true, contrast), seeds=5)))
        assert wrong.verdict == FAILS, str(contrast)
    (vague,) = judge([claim], sections(runs(true, spread=0.9)))
    assert vague.verdict != HOLDS


def otherwise(true: Mapping[tuple[Knowledge, str], float], contrast: Contrast) -> dict[tuple[Knowledge, str], float]:
    """The numbers with one contrast the other way round."""
    side = (contrast.first, contrast.tasks[0])
    if isinstance(contrast.second, float):
        bits = contrast.second * (0.8 if contrast.least == 0 else 1.2)
    else:
        bits = true[contrast.second, contrast.tasks[0]] * 2 ** (contrast.least - 0.3)  # type: ignore[index]
    return {**true, side: bits}  # type: ignore[dict-item]


def test_the_peak_is_that_over_sizes_and_people() -> None:
    """Each side stands where it knows most per parameter, which may be at other places."""
    claim = CLAIMS[1]
    long, short = claim.contrasts[0].first, claim.contrasts[0].second
    assert isinstance(long, Knowledge) and isinstance(short, Knowledge)
    found = []
    for seed in range(3):
        for n, size, bits in ((50, "1L32D2H", 1.0), (50, "2L32D2H", 0.5), (90, "2L32D2H", 2.0)):
            task = identity("capo", json.dumps({"N": n}))
            found.append(made(task, {"size": size}, 1000, bits * (1 + seed / 100), seed, batch=n))
        found.append(made(identity("capo", json.dumps({"N": 50})), {}, 100, 1.0 * (1 + seed / 100), seed))
    (judged,) = judge([claim], sections(found))
    evidence = judged.evidence[0].comparison
    assert evidence is not None and evidence.difference == pytest.approx(math.log2(2.0)) and evidence.seeds == 3


def test_other_people_are_no_evidence() -> None:
    claim = CLAIMS[9]
    first, second = claim.contrasts[0].first, claim.contrasts[0].second
    assert isinstance(first, Knowledge) and isinstance(second, Knowledge)
    others = [made(identity("capo", json.dumps({"N": 51})), {}, 100, 1.0, seed) for seed in range(3)]
    among = [run_of(second, KNOWLEDGE, 0.1, seed) for seed in range(3)]
    (judged,) = judge([claim], sections([*others, *among]))
    assert not judged.evidence[0].places and "of one size" in judged.evidence[0].missing[0]


def test_two_that_know_nothing_are_not_alike() -> None:
    claim = CLAIMS[4]
    (judged,) = judge([claim], sections(runs(dict.fromkeys(numbers(claim), 0.001))))
    assert not any(part.places for part in judged.evidence)
    assert any("a run that learns anything" in missing for missing in judged.missing)


def recipe_runs(recipe: str, limit: int = 4000) -> Iterator[Run]:
    """What a recipe makes, at three seeds, with made-up results."""
    for run in load_recipe(recipe).runs[:limit]:
        task = identity(run.task.name, json.dumps(run.task.set))
        model = dataclasses.asdict(run.model)
        told = run.quantization.plain()
        training = {"batch": run.training.batch, "lr": run.training.lr, "steps": run.training.steps}
        for seed in range(3):
            yield made(task, model, run.training.exposures, 1.0, seed, told, **training)


@each_claim
def test_one_recipe_makes_the_runs(claim: Claim) -> None:
    """Of each claim the full recipes together, and each small one some of them."""
    assert {*claim.recipes, *claim.small} <= set(shipped_recipes())
    found = sections([run for recipe in claim.recipes for run in recipe_runs(recipe)])
    (judged,) = judge([claim], found)
    assert all(part.places for part in judged.evidence), [part.missing for part in judged.evidence]
    for recipe in claim.small:
        (small,) = judge([claim], sections(list(recipe_runs(recipe))))
        assert any(part.places for part in small.evidence), recipe
