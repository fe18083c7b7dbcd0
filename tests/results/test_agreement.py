"""The order of architectures here against the published one."""

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest

from canonlab.results.agreement import agreements, kendall, published_means
from canonlab.results.groups import sections
from canonlab.results.load import load_runs

Fabricate = Callable[..., Path]


def test_tau_counts_pairs() -> None:
    assert kendall([1, 2, 3], [10, 20, 30]) == 1 and kendall([3, 2, 1], [10, 20, 30]) == -1
    assert kendall([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(4 / 6)
    assert kendall([1, 1, 2], [1, 2, 3]) == pytest.approx(2 / (2 * 3) ** 0.5)  # a tie, as of tau-b


def test_a_published_mean_is_that_of_a_whole_panel() -> None:
    means = published_means("depo1", 8)
    assert ("llama-rope", "ABCD") in means and ("gla", "AbCD") in means
    assert all(0 <= value <= 100 for value in means.values())
    assert means["llama-rope", "ABCD"] > means["llama-rope", ""]


def runs(fabricate: Fabricate, values: dict[tuple[str, str], float]) -> Path:
    """Three seeds of each architecture on Depo, of these accuracies."""
    for (model, canon), value in values.items():
        for seed in range(3):
            folder = fabricate(model=model, canon=canon, seed=seed)
            result = json.loads((folder / "result.json").read_text())
            number = value + 0.01 * (seed - 1)
            metric = {"value": number, "low": number - 0.001, "high": number + 0.001, "right": None, "count": 1000}
            result["evaluation"]["metrics"]["accuracy_k4"] = metric
            (folder / "result.json").write_text(json.dumps(result))
    return folder.parent


def test_the_paper_s_own_order_agrees_and_a_reversed_pair_is_named(fabricate: Fabricate) -> None:
    means = published_means("depo1", 8)
    chosen = [("llama-rope", ""), ("llama-rope", "ABCD"), ("llama-nope", ""), ("llama-nope", "ABCD")]
    values = {name: means[name] / 125 for name in chosen}
    (found,) = agreements(sections(load_runs([runs(fabricate, values)])))
    assert found.tau == 1 and found.low <= 1 <= found.high and found.otherwise == [] and found.decided > 0
    assert found.panel == "depo1, K = 8" and len(found.architectures) == 4
    apart = [abs(means[a] - means[b]) > 10 for a, b in combinations(chosen, 2)]
    assert found.plain == sum(apart) and found.plainly_otherwise == 0 < found.as_published <= found.decided


def test_some_may_be_left_out(fabricate: Fabricate) -> None:
    values = {
        ("llama-rope", ""): 0.9,
        ("llama-rope", "ABCD"): 0.2,
        ("llama-nope", "ABCD"): 0.5,
        ("llama-nope", ""): 0.1,
    }
    found = sections(load_runs([runs(fabricate, values)]))
    (some,) = agreements(found, ["llama-rope/none"])
    assert len(some.architectures) == 3 and "llama-rope" not in some.architectures
    assert agreements(found, ["llama-rope"]) == []


def test_a_pair_that_is_decided_otherwise(fabricate: Fabricate) -> None:
    values = {("llama-rope", ""): 0.9, ("llama-rope", "ABCD"): 0.2, ("llama-nope", "ABCD"): 0.5}
    (found,) = agreements(sections(load_runs([runs(fabricate, values)])))
    assert ("llama-rope", "llama-rope + Canon-ABCD") in found.otherwise and found.tau < 0
    assert found.plainly_otherwise > 0


def test_two_architectures_are_no_order(fabricate: Fabricate) -> None:
    values = {("llama-rope", ""): 0.2, ("llama-rope", "ABCD"): 0.9}
    assert agreements(sections(load_runs([runs(fabricate, values)]))) == []
