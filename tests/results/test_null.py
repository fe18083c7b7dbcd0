"""How often the rule tells an architecture from itself."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

from canonlab.results.groups import sections
from canonlab.results.load import load_runs
from canonlab.results.null import nulls

Fabricate = Callable[..., Path]


def made(fabricate: Fabricate, values: list[float]) -> Path:
    folder = Path()
    for seed, value in enumerate(values):
        folder = fabricate(seed=seed)
        result = json.loads((folder / "result.json").read_text())
        for metric in result["evaluation"]["metrics"].values():
            metric |= {"value": value, "low": value, "high": value, "right": None}
        (folder / "result.json").write_text(json.dumps(result))
    return folder.parent


def test_runs_that_differ_by_chance_alone_are_seldom_told_apart(fabricate: Fabricate) -> None:
    noise = Random(0)
    folder = made(fabricate, [noise.gauss(0.5, 0.1) for _ in range(24)])
    (found,) = nulls(sections(load_runs([folder])), {3: 0.02, 5: 0.03}, 1.5, 400)
    assert found.seeds == 24 and found.once <= 0.07 and found.looks is not None and found.looks <= 0.07


def test_a_rule_that_errs_is_found_out(fabricate: Fabricate) -> None:
    """At a level of one half much is decided between equals."""
    noise = Random(1)
    folder = made(fabricate, [noise.gauss(0.5, 0.1) for _ in range(24)])
    (found,) = nulls(sections(load_runs([folder])), {3: 0.9, 4: 0.9}, 0.0, 200)
    assert found.looks is not None and found.looks > 0.3


def test_few_seeds_say_nothing(fabricate: Fabricate) -> None:
    folder = made(fabricate, [0.1] * 5)
    assert not list(nulls(sections(load_runs([folder])), {3: 0.05}, 1.5, 10))


def test_looks_take_seeds_for_the_last_of_them(fabricate: Fabricate) -> None:
    folder = made(fabricate, [0.1 * n for n in range(7)])
    (found,) = nulls(sections(load_runs([folder])), {3: 0.01, 8: 0.04}, 1.5, 10)
    assert found.looks is None
