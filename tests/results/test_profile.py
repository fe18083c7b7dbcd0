"""Skill profiles: what is decided of models and references, after which look, and what is said of it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from canonlab.results.cells import Cell, cells
from canonlab.results.groups import sections
from canonlab.results.load import load_runs
from canonlab.results.profile import LOOKS, Profile, differences, pairs, place, rows, sentences, skill

Fabricate = Callable[..., Path]
MINE, REFERENCE, OTHER = ("gdn", "ABCD"), ("llama-rope", ""), ("gla", "")


def test_the_looks_have_the_error_of_one_decision_together() -> None:
    assert sum(LOOKS.values()) == pytest.approx(0.05) and list(LOOKS) == sorted(LOOKS) and min(LOOKS) == 3


def of(fabricate: Fabricate, values: dict[tuple[str, str], list[float]]) -> dict[tuple[str, str], Cell]:
    """The cells of architectures with these losses by seed."""
    for (model, canon), losses in values.items():
        for seed, loss in enumerate(losses):
            folder = fabricate(model=model, canon=canon, seed=seed)
            result = json.loads((folder / "result.json").read_text())
            metric = {"value": loss, "low": loss - 1e-3, "high": loss + 1e-3, "right": None, "count": 1000}
            result["evaluation"]["metrics"]["loss"] = metric
            result["evaluation"]["headline"] = ["loss", *result["evaluation"]["headline"]]
            (folder / "result.json").write_text(json.dumps(result))
    (section,) = sections(load_runs([folder.parent]))
    found = {(str(cell.model["model.model"]), str(cell.model["model.canon"])): cell for cell in cells(section)}
    return {(model, "" if canon == "none" else canon): cell for (model, canon), cell in found.items()}


def test_a_plain_difference_is_decided_at_the_first_look(fabricate: Fabricate) -> None:
    found = of(fabricate, {MINE: [0.1, 0.11, 0.12], REFERENCE: [0.5, 0.52, 0.51], OTHER: [0.05, 0.06, 0.07]})
    mine = found[MINE]
    first, second = pairs(mine.section, [mine], [found[REFERENCE], found[OTHER]])
    assert first.seeds == 3 and first.decision and first.decision.difference == pytest.approx(0.4)  # more is better
    assert not first.open and second.decision and second.decision.difference < 0
    assert place(mine, [found[REFERENCE], found[OTHER]]) == 2


def test_an_open_pair_gets_more_seeds_and_a_decided_one_stays_so(fabricate: Fabricate) -> None:
    noisy = [0.5, 0.1, 0.52, 0.5, 0.51]
    found = of(fabricate, {MINE: [0.1, 0.11, 0.12, 0.9], REFERENCE: noisy, OTHER: [0.9, 0.91, 0.92]})
    mine = found[MINE]
    noisy_pair, plain = pairs(mine.section, [mine], [found[REFERENCE], found[OTHER]])
    assert noisy_pair.open and noisy_pair.seeds == 4  # the reference has five, the model four
    # the gap between seeds of the noisy one is as wide as the difference, so this takes more seeds too
    assert plain.seeds == 3


def test_a_profile_tells_what_is_better_worse_and_open(fabricate: Fabricate) -> None:
    found = of(fabricate, {MINE: [0.1, 0.11, 0.12], REFERENCE: [0.5, 0.52, 0.51], OTHER: [0.11, 0.12, 0.1]})
    section = found[MINE].section
    profile = Profile([MINE], [REFERENCE, OTHER], [skill("depo", section, found, [MINE], [REFERENCE, OTHER])])
    assert (profile.decided, profile.verdict) == (1, "1 of 2 pairs decided")
    (row,) = rows(profile)
    assert (row["skill"], row["place"], row["better than"], row["worse than"], row["open"]) == (
        "depo",
        "1 of 3",
        1,
        0,
        1,
    )
    assert sentences(profile) == ["depo: gdn + Canon-ABCD is better than llama-rope; open against 1"]
    first, second = differences(profile)
    assert first["verdict"] == "better" and first["low"] > 0 and second["verdict"] == "open"


def test_nothing_is_said_of_a_skill_without_a_reference(fabricate: Fabricate) -> None:
    found = of(fabricate, {MINE: [0.1, 0.11, 0.12]})
    profile = Profile([MINE], [REFERENCE], [skill("depo", found[MINE].section, found, [MINE], [REFERENCE])])
    assert sentences(profile) == [] and rows(profile)[0]["place"] == "1 of 1"
