"""The layout of difficulty against size: nothing lost, the paper's order."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from canonlab.results.grid import by_width, families, grid
from canonlab.results.groups import level_of, level_text, sections
from canonlab.results.load import load_runs
from canonlab.tasks.catalog import build_task

Fabricate = Callable[..., Path]


def test_families_hold_one_task_at_all_difficulties(fabricate: Fabricate, depo: dict[str, Any]) -> None:
    for n in (100, 20):
        folder = fabricate({**depo, "parameters": {**depo["parameters"], "N": n}})
    fabricate({**depo, "parameters": {**depo["parameters"], "V": 9}})
    groups = families(sections(load_runs([folder.parent])))
    assert [[part.task["parameters"]["N"] for part in group] for group in groups] == [[10], [20, 100]]


def test_a_users_task_is_laid_out_by_the_parameter_it_names(fabricate: Fabricate, depo: dict[str, Any]) -> None:
    """A task names what makes it harder, in numbers or in words, whose contexts may differ."""
    for hardness, context in ((20, 96), (3, 96), (7, 128), ("easy", 96), ("hard", 128)):
        parameters = {"size": hardness, "other": 1}
        folder = fabricate({**depo, "parameters": parameters, "context": context, "source": {"sha256": "0" * 64}})
    runs = load_runs([folder.parent])
    assert [section.level for section in sections(runs)] == [None] * 5
    named = [dataclasses.replace(run, record=dataclasses.replace(run.record, difficulty="size")) for run in runs]
    found = families(sections(named))
    levels = {tuple(section.level for section in family) for family in found}
    assert levels == {(3, 20), (7,), ("easy", "hard")}
    assert [level_text("size", level) for level in (3, "easy", None)] == ["size = 3", "easy", ""]
    (numbers,) = (family for family in found if family[0].level == 3)
    assert [place for row in grid(numbers).values() for place in row] == [(3, "2L64D"), (20, "2L64D")]


def test_a_shipped_grammar_has_its_name() -> None:
    own = {"parameters": {"grammar": "9" * 64}}
    assert level_of(build_task("lano-cfg3j").identity, "grammar") == "cfg3j" and level_of(own, "grammar") == "9" * 10


def test_sizes_are_in_the_papers_order() -> None:
    sizes = ["12L768D", "8L768D", "12L512D", "8L512D", "4-1", "2-12", "2-2"]
    assert sorted(sizes, key=by_width) == ["4-1", "2-2", "8L512D", "12L512D", "2-12", "8L768D", "12L768D"]


def test_no_cell_hides_another_one(fabricate: Callable[..., Path]) -> None:
    grammar = build_task("lano-cfg3f").identity
    for context, batch in ((512, 32), (1024, 32), (512, 64)):
        folder = fabricate({**grammar, "source": None, "context": context}, training={"batch": batch})
    (family,) = families(sections(load_runs([folder.parent])))
    found = grid(family)
    assert set(found) == {
        "llama-rope + Canon-ABCD, batch 32, context 512",
        "llama-rope + Canon-ABCD, batch 64, context 512",
        "llama-rope + Canon-ABCD, batch 32, context 1,024",
    }
    assert [len(row) for row in found.values()] == [1, 1, 1]


def test_settings_that_read_the_same_still_make_two_rows(fabricate: Fabricate) -> None:
    for decay in (0.1, 0.10000001):
        folder = fabricate(training={"weight_decay": decay})
    (family,) = families(sections(load_runs([folder.parent])))
    name = "llama-rope + Canon-ABCD, weight decay 0.1"
    assert set(grid(family)) == {name, f"{name} (2)"}
