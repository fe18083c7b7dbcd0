"""What runs must share to be compared: one list, whole, with reasons, and in the docs."""

import dataclasses
from pathlib import Path

import pytest

from canonlab.results.comparability import RULES, must_share, terms
from canonlab.results.groups import sections
from canonlab.results.load import load_runs
from canonlab.training.config import TrainingConfig
from canonlab.training.identity import MEASURING

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("key", "shared"),
    [
        ("task.parameters.N", True),
        ("model.size", True),
        ("model.size_of_something", False),
        ("model.canon_kernel", False),
        ("resolved.layers", False),
        ("training.steps", True),
        ("training.lr", False),
        ("training.a_new_field", True),
        ("precision", True),
        ("machine.threads", False),
    ],
)
def test_the_nearest_rule_decides(key: str, shared: bool) -> None:
    assert must_share(key) is shared


def test_all_of_training_is_shared_but_three_settings() -> None:
    fields = {field.name for field in dataclasses.fields(TrainingConfig)} - set(MEASURING)
    assert {name for name in fields if not must_share(f"training.{name}")} == {"lr", "seed", "microbatch"}


def test_every_setting_of_a_run_has_a_rule_and_terms_are_those_to_share() -> None:
    (section,) = sections(load_runs([ROOT / "tests" / "training" / "folders" / "0.1" / "finished"]))
    settings = section.rows[0].settings
    found = dict(terms(settings))
    assert found == {key: repr(value) for key, value in settings.items() if must_share(key)}
    assert found["model.size"] == "'1L8D1H'" and found["training.warmup"] == "4" and found["precision"] == "'fp32'"
    assert terms(settings | {"training.lr": 1.0, "model.canon": "A"}) == terms(settings)
    assert terms(settings | {"training.warmup": 5}) != terms(settings)


def test_the_docs_have_the_list() -> None:
    text = " ".join((ROOT / "docs" / "results.md").read_text(encoding="utf-8").split())
    for rule in RULES:
        if rule.setting != "resolved":  # the model once more
            assert f"| `{rule.setting}` | {'yes' if rule.shared else 'no'} | {rule.why} |" in text
