"""Cells and findings: the best rate named, seeds paired, and nothing decided that the seeds don't."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from canonlab.reports.cells import cells, families, pairs
from canonlab.reports.findings import BETTER, UNDECIDED, findings, overview
from canonlab.reports.groups import Section, sections
from canonlab.reports.load import load_runs

Fabricate = Callable[..., Path]


def set_main(folder: Path, value: float, **cost: float) -> None:
    """Give a fabricated run this accuracy at k = 4, and these costs."""
    path = folder / "result.json"
    result = json.loads(path.read_text())
    metric = {"value": value, "low": value - 0.01, "high": value + 0.01, "right": round(1000 * value), "count": 1000}
    result["evaluation"]["metrics"]["accuracy_k4"] = metric
    result["cost"].update(cost)
    path.write_text(json.dumps(result))


def section(root: Path) -> Section:
    (found,) = sections(load_runs([root]))
    return found


def make(fabricate: Fabricate, canon: str, values: dict[float, list[float]], **settings: Any) -> Path:
    """Runs of one architecture: by learning rate the value of each seed. Returns the folder of all runs."""
    for rate, numbers in values.items():
        for seed, number in enumerate(numbers):
            folder = fabricate(canon=canon, lr=rate, seed=seed, **settings)
            set_main(folder, number)
    return folder.parent


def test_a_cell_is_the_best_of_its_rates_over_all_its_seeds(fabricate: Fabricate) -> None:
    root = make(fabricate, "ABCD", {0.001: [0.5, 0.9], 0.003: [0.75, 0.8], 0.01: [0.1, 0.2]})
    (cell,) = cells(section(root))
    assert cell.rate == 0.003 and cell.rates == [0.001, 0.003, 0.01] and not cell.at_edge
    assert cell.spread and cell.spread.mean == pytest.approx(0.775) and cell.best_run == 0.9
    assert {seed: found.value for seed, found in cell.values("accuracy_k4").items()} == {0: 0.75, 1: 0.8}


def test_a_rate_at_the_edge_is_told(fabricate: Fabricate) -> None:
    root = make(fabricate, "ABCD", {0.001: [0.5, 0.5], 0.003: [0.75, 0.8]})
    make(fabricate, "", {0.001: [0.5, 0.4]})
    (found,) = findings(section(root))
    assert cells(section(root))[1].at_edge or cells(section(root))[0].at_edge
    assert "the best learning rate of llama-rope + Canon-ABCD, 0.003, is at the edge of those tried" in found.sentence


def test_what_all_seeds_agree_on_is_decided(fabricate: Fabricate) -> None:
    root = make(fabricate, "ABCD", {0.003: [0.9, 0.92, 0.88]})
    make(fabricate, "", {0.003: [0.5, 0.49, 0.51]})
    (found,) = findings(section(root))
    assert found.verdict == BETTER and found.first.architecture == "llama-rope + Canon-ABCD"
    assert "the first is better. +40.0 points in 4-hop accuracy (95% interval +3" in found.sentence
    assert overview([found]) == "1 of 1 comparison decided, 0 not."


def test_what_seeds_differ_on_is_not(fabricate: Fabricate) -> None:
    root = make(fabricate, "ABCD", {0.003: [0.9, 0.4, 0.6]})
    make(fabricate, "", {0.003: [0.5, 0.49, 0.51]})
    (found,) = findings(section(root))
    assert found.verdict == UNDECIDED and "not decided" in found.sentence


def test_one_seed_decides_nothing(fabricate: Fabricate) -> None:
    root = make(fabricate, "ABCD", {0.003: [1.0]})
    make(fabricate, "", {0.003: [0.0]})
    (found,) = findings(section(root))
    assert found.verdict == UNDECIDED and "one seed" in found.sentence
    assert overview([found]) == "0 of 1 comparison decided, 1 not, 1 of them for want of 3 seeds."


def test_two_seeds_decide_nothing_and_it_says_so(fabricate: Fabricate) -> None:
    root = make(fabricate, "ABCD", {0.003: [1.0, 0.99]})
    make(fabricate, "", {0.003: [0.0, 0.01]})
    (found,) = findings(section(root))
    assert found.verdict == UNDECIDED and "a decision takes 3 seeds" in found.sentence


def test_the_best_of_more_rates_decides_nothing(fabricate: Fabricate) -> None:
    root = make(fabricate, "ABCD", {0.003: [0.9, 0.92, 0.88], 0.001: [0.5, 0.5, 0.5]})
    make(fabricate, "", {0.003: [0.5, 0.49, 0.51]})
    (found,) = findings(section(root))
    assert found.verdict == UNDECIDED
    assert "was tried at 2 learning rates and llama-rope was tried at 1" in found.sentence


def test_runs_of_other_lengths_are_not_compared(fabricate: Fabricate) -> None:
    root = make(fabricate, "ABCD", {0.003: [1.0, 1.0]})
    make(fabricate, "", {0.003: [0.0, 0.0]}, steps=500)
    assert findings(section(root)) == []


def test_unequal_parameters_are_told(fabricate: Fabricate) -> None:
    root = make(fabricate, "ABCD", {0.003: [1.0, 0.9]})
    for folder in root.iterdir():
        set_main(folder, 0.9, parameters=200_000)
    make(fabricate, "", {0.003: [0.1, 0.2]})
    (found,) = findings(section(root))
    assert "llama-rope + Canon-ABCD has 103.5% more parameters." in found.sentence


def test_pairs_are_with_the_best_and_with_the_smallest_canon_set(fabricate: Fabricate) -> None:
    root = make(fabricate, "ABCD", {0.003: [0.9]})
    make(fabricate, "", {0.003: [0.3]})
    make(fabricate, "AC", {0.003: [0.6]})
    make(fabricate, "", {0.003: [0.1]}, model="llama-nope")
    named = [(a.architecture, b.architecture) for a, b in pairs(cells(section(root)))]
    assert named == [
        ("llama-rope + Canon-ABCD", "llama-rope + Canon-AC"),
        ("llama-rope + Canon-ABCD", "llama-rope"),
        ("llama-rope + Canon-ABCD", "llama-nope"),
        ("llama-rope + Canon-AC", "llama-rope"),
    ]


def test_families_hold_one_task_at_all_difficulties(fabricate: Fabricate, depo: dict[str, Any]) -> None:
    for n in (100, 20):
        folder = fabricate({**depo, "parameters": {**depo["parameters"], "N": n}})
    fabricate({**depo, "parameters": {**depo["parameters"], "V": 9}})
    groups = families(sections(load_runs([folder.parent])))
    assert [[part.task["parameters"]["N"] for part in group] for group in groups] == [[10], [20, 100]]
