"""Cells and findings: the best rate named, seeds paired, and nothing decided that the seeds don't."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from canonlab.errors import InputError
from canonlab.results.cells import cells, pairs, rivals
from canonlab.results.findings import BETTER, UNDECIDED, findings, overview
from canonlab.results.groups import Section, sections
from canonlab.results.load import load_runs

Fabricate = Callable[..., Path]


def set_main(folder: Path, value: float, **cost: float) -> None:
    """Give a fabricated run this accuracy at k = 4, and these costs."""
    path = folder / "result.json"
    result = json.loads(path.read_text())
    metric = {
        "value": value,
        "low": max(0.0, value - 0.01),
        "high": min(1.0, value + 0.01),
        "right": round(1000 * value),
        "count": 1000,
    }
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
    assert "the best learning rate of the first is at the edge of those tried" in found.sentence


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
    assert found.verdict == UNDECIDED and "one common seed" in found.sentence
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
    assert (
        "the first was tried at 2 learning rates, the second was tried at 1 learning rate: the best" in found.sentence
    )


def test_a_rate_with_too_few_seeds_to_be_chosen_is_none_tried(fabricate: Fabricate) -> None:
    root = make(fabricate, "ABCD", {0.001: [0.5] * 3, 0.003: [0.9, 0.92, 0.88], 0.01: [0.5] * 3})
    make(fabricate, "", {0.001: [0.95], 0.003: [0.5, 0.49, 0.51], 0.01: [0.94]})
    (found,) = findings(section(root))
    assert found.verdict == UNDECIDED and "the second was tried at 1 learning rate" in found.sentence


def diverge(folder: Path) -> None:
    (folder / "result.json").unlink()
    (folder / "diverged.json").write_text(json.dumps({"format": 1, "step": 40, "reason": "loss is nan"}))


def test_a_rate_that_diverged_was_tried(fabricate: Fabricate) -> None:
    root = make(fabricate, "ABCD", {0.001: [0.5] * 3, 0.003: [0.9, 0.92, 0.88]})
    for seed in range(3):
        diverge(fabricate(canon="ABCD", lr=0.01, seed=seed))
    make(fabricate, "", {0.001: [0.5] * 3, 0.003: [0.51, 0.52, 0.5], 0.01: [0.4] * 3})
    (found,) = findings(section(root))
    assert found.verdict == BETTER and not found.first.at_edge and found.first.rates == [0.001, 0.003, 0.01]


def test_survivors_do_not_win(fabricate: Fabricate) -> None:
    root = make(fabricate, "ABCD", {0.003: [0.9, 0.92, 0.88]})
    make(fabricate, "", {0.003: [0.5, 0.49, 0.51, 0.5]})
    diverge(fabricate(canon="ABCD", seed=3))
    (found,) = findings(section(root))
    assert found.comparison.decided and found.verdict == UNDECIDED
    assert "1 run of the first diverged" in found.sentence


def test_survivors_may_lose(fabricate: Fabricate) -> None:
    root = make(fabricate, "ABCD", {0.003: [0.9, 0.92, 0.88, 0.9]})
    make(fabricate, "", {0.003: [0.5, 0.49, 0.51]})
    diverge(fabricate(canon="", seed=3))
    (found,) = findings(section(root))
    assert found.verdict == BETTER and "1 run of the second diverged" in found.sentence


def test_runs_of_other_data_are_not_compared(fabricate: Fabricate) -> None:
    root = make(fabricate, "ABCD", {0.003: [0.9, 0.92, 0.88]})
    make(fabricate, "", {0.003: [0.5, 0.49, 0.51]}, data="other windows")
    assert findings(section(root)) == []
    set_main(fabricate(canon="", seed=3), 0.5)
    set_main(fabricate(canon="ABCD", seed=3), 0.9)
    (found,) = findings(section(root))
    assert found.comparison.seeds == 1 and found.verdict == UNDECIDED


def test_seeds_of_other_data_are_left_out_and_told(fabricate: Fabricate) -> None:
    root = make(fabricate, "ABCD", {0.003: [0.9, 0.92, 0.88]})
    make(fabricate, "", {0.003: [0.5, 0.49, 0.51]})
    set_main(fabricate(canon="ABCD", seed=3), 0.87)
    set_main(fabricate(canon="", seed=3, data="other windows"), 0.53)
    (found,) = findings(section(root))
    assert found.comparison.difference == pytest.approx(0.4) and found.comparison.seeds == 3
    assert found.verdict == BETTER and "1 seed saw different data and is left out" in found.sentence


@pytest.mark.parametrize(
    "other", [{"training": {"weight_decay": 0.3}}, {"training": {"warmup": 7}}, {"backend": {"precision": "bf16"}}]
)
def test_runs_trained_in_other_ways_are_not_compared(fabricate: Fabricate, other: dict[str, Any]) -> None:
    root = make(fabricate, "ABCD", {0.003: [0.9, 0.92, 0.88]}, **other)
    make(fabricate, "", {0.003: [0.5, 0.49, 0.51]})
    assert findings(section(root)) == []


def test_sentences_name_the_best_rate_and_what_tells_cells_apart(fabricate: Fabricate) -> None:
    for batch in (16, 32):
        root = make(fabricate, "ABCD", {0.001: [0.1], 0.003: [0.9]}, training={"batch": batch})
        make(fabricate, "", {0.001: [0.1], 0.003: [0.3]}, training={"batch": batch})
    sentences = [found.sentence for found in findings(section(root))]
    for batch, sentence in zip((16, 32), sentences, strict=True):
        sides = (f"llama-rope{canon} (learning rate 0.003)" for canon in (" + Canon-ABCD", ""))
        assert sentence.startswith(f"{' against '.join(sides)} at 2L64D, batch {batch}: ")


def test_classes_of_one_name_from_two_files_are_told_apart(fabricate: Fabricate) -> None:
    for folder in ("one", "two"):
        root = make(fabricate, "", {0.003: [0.5]}, model=f"{folder}/mix.py:Mix")
    (found,) = findings(section(root))
    assert found.names[0] != found.names[1]


def test_all_pairs_of_a_size_share_the_level(fabricate: Fabricate) -> None:
    for model in ("llama-rope", "llama-nope", "gla", "gdn"):
        root = make(fabricate, "", {0.003: [0.5, 0.6, 0.7]}, model=model)
    found = findings(section(root))
    assert len(found) == 3 and all(each.comparison.pairs == 6 for each in found)
    assert "95% interval for all 6 pairs together" in found[0].sentence
    assert (
        "a decision takes 4 seeds, as it is within 1.25 times the widest gap between two seeds of one architecture here"
        in found[0].sentence
    )
    assert overview(found) == "0 of 3 comparisons decided, 3 not, 3 of them for want of 4 seeds."
    make(fabricate, "ABCD", {0.003: [0.99, 0.98, 1.0]}, model="gdn")
    plain = findings(section(root))  # three seeds decide what is plain, among however many
    assert len(plain) == 4 and {(each.verdict, each.comparison.pairs) for each in plain} == {(BETTER, 10)}


def test_a_rate_without_divergence_comes_before_survivors(fabricate: Fabricate) -> None:
    root = make(fabricate, "ABCD", {0.001: [0.8, 0.81, 0.79, 0.8], 0.003: [0.9, 0.92, 0.88]})
    diverge(fabricate(canon="ABCD", lr=0.003, seed=3))
    (cell,) = cells(section(root))
    assert cell.rate == 0.001 and cell.rates == [0.001, 0.003]


def test_divergence_counts_where_the_other_has_no_such_seed(fabricate: Fabricate) -> None:
    root = make(fabricate, "ABCD", {0.003: [0.9, 0.92, 0.88]})
    make(fabricate, "", {0.003: [0.5, 0.49, 0.51]})
    diverge(fabricate(canon="ABCD", seed=7))
    (found,) = findings(section(root))
    assert found.verdict == UNDECIDED and "1 run of the first diverged" in found.sentence


def test_seeds_from_several_machines_count_together(fabricate: Fabricate) -> None:
    for seed, number in enumerate((0.9, 0.92, 0.88)):
        set_main(fabricate(seed=seed, backend={"threads": 1 + seed}), number)
    root = make(fabricate, "", {0.003: [0.5, 0.49, 0.51]})
    (found,) = findings(section(root))
    assert found.verdict == BETTER and found.comparison.seeds == 3 and len(found.first.tried) == 1


def test_of_rows_at_one_rate_the_one_with_most_seeds_stands_for_it(fabricate: Fabricate) -> None:
    root = make(fabricate, "ABCD", {0.003: [0.9, 0.92, 0.88]})
    make(fabricate, "ABCD", {0.003: [0.99]}, training={"microbatch": 4})
    make(fabricate, "", {0.003: [0.5, 0.49, 0.51]})
    (found,) = findings(section(root))
    assert found.verdict == BETTER and len(found.first.tried) == 1
    assert found.first.spread and found.first.spread.seeds == 3


def test_data_that_differ_are_told_with_one_seed_left(fabricate: Fabricate) -> None:
    root = make(fabricate, "ABCD", {0.003: [0.9, 0.92]})
    set_main(fabricate(canon="", seed=0), 0.5)
    set_main(fabricate(canon="", seed=1, data="other windows"), 0.5)
    (found,) = findings(section(root))
    assert "1 seed saw different data and is left out" in found.sentence


@pytest.mark.parametrize(
    ("measure", "error"), [((0.5, 0.4, 0.6, None, None, 2), 0.1 / 12.706), ((0.5, 0.4, 0.6, 5, 10, 2), 0.1 / 1.96)]
)
def test_the_error_of_an_evaluation_is_that_of_its_interval(
    fabricate: Fabricate, measure: tuple[Any, ...], error: float
) -> None:
    folder = fabricate()
    path = folder / "result.json"
    result = json.loads(path.read_text())
    names = ("value", "low", "high", "right", "count", "clusters")
    result["evaluation"]["metrics"]["accuracy_k4"] = dict(zip(names, measure, strict=True))
    path.write_text(json.dumps(result))
    (cell,) = cells(section(folder))
    assert cell.values("accuracy_k4")[0].error == pytest.approx(error, rel=1e-3)


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
    assert "the first has 103.5% more parameters." in found.sentence


def test_pairs_are_with_the_best_and_with_the_smallest_canon_set(fabricate: Fabricate) -> None:
    root = make(fabricate, "ABCD", {0.003: [0.9]})
    make(fabricate, "", {0.003: [0.3]})
    make(fabricate, "AC", {0.003: [0.6]})
    make(fabricate, "", {0.003: [0.1]}, model="llama-nope")
    (group,) = rivals(cells(section(root)))
    named = [(a.architecture, b.architecture) for a, b in pairs(group)]
    assert named == [
        ("llama-rope + Canon-ABCD", "llama-rope + Canon-AC"),
        ("llama-rope + Canon-ABCD", "llama-rope"),
        ("llama-rope + Canon-ABCD", "llama-nope"),
        ("llama-rope + Canon-AC", "llama-rope"),
    ]


def test_of_a_loss_less_is_better(fabricate: Fabricate) -> None:
    """The best rate, the better side, and the order of architectures."""
    root = make(fabricate, "ABCD", {0.001: [0.9, 0.91, 0.92], 0.003: [0.2, 0.21, 0.22]})
    make(fabricate, "", {0.001: [0.9, 0.92, 0.88], 0.003: [0.95, 0.93, 0.97]})
    for path in root.rglob("result.json"):  # as of runs whose main metric is the loss
        result = json.loads(path.read_text())
        value = result["evaluation"]["metrics"]["accuracy_k4"]["value"]
        loss = {"value": value, "low": value - 0.01, "high": value + 0.01, "right": None, "count": 1000}
        result["evaluation"]["metrics"]["loss"] = loss
        result["evaluation"]["headline"].insert(0, "loss")
        path.write_text(json.dumps(result))
    of_section = section(root)
    assert {cell.rate for cell in cells(of_section) if "ABCD" in cell.architecture} == {0.003}
    assert {cell.rate for cell in cells(of_section) if "ABCD" not in cell.architecture} == {0.001}
    assert "loss" not in of_section.own_headline and of_section.headline[0] == "loss"
    (found,) = findings(of_section)
    assert found.first.architecture.endswith("ABCD") and found.verdict == BETTER
    assert "the first is better. -0.69 in loss" in found.sentence


def test_with_a_baseline_others_are_compared_with_it_alone(fabricate: Fabricate) -> None:
    for model, value in (("llama-rope", 0.9), ("llama-nope", 0.7), ("gla", 0.5)):
        root = make(fabricate, "", {0.003: [value, value + 0.01, value - 0.01]}, model=model)
    root = make(fabricate, "ABCD", {0.003: [0.8, 0.81, 0.79]}, model="gla")
    runs = load_runs([root])
    (every,) = sections(runs)
    (chosen,) = sections(runs, "gla")
    names = [{*finding.names} for finding in findings(chosen)]
    assert names == [{name, "gla"} for name in ("llama-rope", "gla + Canon-ABCD", "llama-nope")]
    assert {finding.comparison.pairs for finding in findings(chosen)} == {3}
    assert {finding.comparison.pairs for finding in findings(every)} == {6}
    assert "for all 3 pairs with the baseline together" in findings(chosen)[0].sentence
    (of_canon,) = sections(runs, "gla/ABCD")
    assert all("gla + Canon-ABCD" in finding.names for finding in findings(of_canon))
    with pytest.raises(InputError, match="unknown baseline 'gdn'.*gla/ABCD"):
        sections(runs, "gdn")
