"""The comparison for a mixer's inventor: which runs it takes, what it looks at, and when."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from canonlab.errors import InputError
from canonlab.models.cost import parameters
from canonlab.results.cells import Cell, cells
from canonlab.results.groups import sections
from canonlab.results.load import load_runs
from canonlab.sweeps.suite import (
    LOOKS,
    MATCHED,
    REFERENCES,
    SKILLS,
    Architecture,
    matched,
    more_seeds,
    pairs,
    place,
    run_of,
    suite,
)

Fabricate = Callable[..., Path]
MINE, REFERENCE, OTHER = ("gdn", "ABCD"), ("llama-rope", ""), ("gla", "")


def test_all_are_trained_alike_but_for_model_and_seed() -> None:
    architectures = [Architecture(*each) for each in REFERENCES]
    runs = suite(SKILLS, architectures, 3)
    assert len(runs) == len({repr(run) for run in runs}) == len(SKILLS) * len(architectures) * 3
    for skill in SKILLS:
        first = run_of(skill, architectures[0], 0)
        other = run_of(skill, architectures[1], 2)
        assert first.task == other.task and "loss" in first.training.metric
        assert first.model.state_share == other.model.state_share > 0
        assert (first.training.seed, other.training.seed) == (0, 2)


def test_the_looks_have_the_error_of_one_decision_together() -> None:
    assert sum(LOOKS.values()) == pytest.approx(0.05) and list(LOOKS) == sorted(LOOKS) and min(LOOKS) == 3


def test_parameters_are_matched_by_the_mlp() -> None:
    wanted = parameters(run_of("depo", Architecture("llama-rope", "ABCD"), 0).model.decoder(64))
    for model, canon in (("gdn", "AbCD"), ("gla", "none")):
        found = parameters(run_of("depo", matched(Architecture(model, canon)), 0).model.decoder(64))
        assert found == pytest.approx(wanted, rel=MATCHED)
    with pytest.raises(InputError, match="match_params: no width of the MLP brings mamba2"):
        matched(Architecture("mamba2", "b"))  # which has none


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
    again = more_seeds({"depo": [(Architecture("gdn", "b"), Architecture("gla", "none"))]}, 4)
    assert len(again) == 8 and {run.training.seed for run in again} == {0, 1, 2, 3}
