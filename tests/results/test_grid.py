"""The layout of difficulty against size: nothing lost, the paper's order."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from canonlab.results.grid import by_width, families, grid
from canonlab.results.groups import sections
from canonlab.results.load import load_runs
from canonlab.tasks.catalog import build_task

Fabricate = Callable[..., Path]


def test_families_hold_one_task_at_all_difficulties(fabricate: Fabricate, depo: dict[str, Any]) -> None:
    for n in (100, 20):
        folder = fabricate({**depo, "parameters": {**depo["parameters"], "N": n}})
    fabricate({**depo, "parameters": {**depo["parameters"], "V": 9}})
    groups = families(sections(load_runs([folder.parent])))
    assert [[part.task["parameters"]["N"] for part in group] for group in groups] == [[10], [20, 100]]


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
