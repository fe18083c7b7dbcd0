"""The published numbers: found where task and model are the paper's, and nowhere else."""

import dataclasses
from typing import Any

import pytest

from canonlab.models.config import ModelConfig
from canonlab.results.architecture import in_words, unusual, usual_settings
from canonlab.results.published import published, published_task, tables
from canonlab.tasks.catalog import build_task


def settings(**changed: Any) -> dict[str, Any]:
    given = {"model": "llama-rope", "canon": "", "size": "8L512D", "canon_residual": True, **changed}
    return {f"model.{key}": value for key, value in given.items()}


def task(name: str, **parameters: Any) -> dict[str, Any]:
    return build_task(name, parameters).identity


def test_a_cell_of_each_task() -> None:
    assert published(task("depo1", K=4), settings())[:2] == ((0.97, 1.0), ())
    assert published(task("depo1", N=375, K=4), settings(size="12L768D")).values == (0.03, 0.27)
    assert published(task("mano", L=16), settings(size="12L768D")).values == pytest.approx((0.416,))
    assert published(task("lano-cfg3j"), settings()).values == (0.741,)
    brevo = published(task("brevo1"), settings())
    assert brevo.by_depth == (0.51, 0.47, 0.44, 0.43, 0.43) and brevo.steps == 100_000
    assert published(task("depo1"), settings(size="12L768D", canon="B", canon_residual=False)).values == (0.98, 1.0)
    assert published(task("depo1"), settings(model="llama-alibi", size="12L768D")).uncertain


@pytest.mark.parametrize(
    "changed", [{"canon_kernel": 3}, {"size": "2L64D"}, {"model": "Mine"}, {"canon": "AD"}, {"mixer.heads": 1}]
)
def test_no_cell_for_what_was_not_published(changed: dict[str, Any]) -> None:
    assert published(task("depo1", K=4), settings(**changed)) is None


@pytest.mark.parametrize("field", dataclasses.fields(ModelConfig), ids=lambda field: field.name)
def test_no_cell_for_a_model_that_differs_in_any_field(field: dataclasses.Field[Any]) -> None:
    """But for how inner widths are rounded."""
    other = False if field.name == "canon_residual" else "other"
    changed = {"mixer.heads": 1} if field.name == "mixer" else {field.name: other}
    assert (published(task("depo1", K=4), settings(**changed)) is None) == (field.name != "exact_intermediate")


def test_what_the_released_code_has_otherwise_is_said_and_may_be_had() -> None:
    """GLA has a SiLU on q, k, v where it has no convolution."""
    for model, canon, released in (
        ("gla", "", {"mixer.qkv_activation": "silu"}),
        ("gla", "b", {}),
        ("gdn", "", {}),
        ("llama-rope", "", {}),
    ):
        found = published(task("depo1", K=4), settings(model=model, canon=canon))
        assert found is not None and found.released == released
        assert published(task("depo1", K=4), settings(model=model, canon=canon, **released)) == found
    assert published(task("depo1", K=4), settings(**{"mixer.qkv_activation": "silu"})) is None


def test_a_new_field_of_models_is_noticed_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    grown = dataclasses.make_dataclass("Grown", [("gate", bool, False)], bases=(ModelConfig,), frozen=True)
    monkeypatch.setattr("canonlab.results.architecture.USUAL", usual_settings(grown))
    plain = published(task("depo1", K=4), settings())
    assert plain is not None and published(task("depo1", K=4), settings(gate=False)) == plain
    assert published(task("depo1", K=4), settings(gate=True)) is None
    assert in_words(unusual(settings(gate=True)).items()) == ["gate True"]


def test_another_difficulty_of_the_same_task() -> None:
    at = published(task("depo1", N=300), settings())
    assert at and published(task("depo1", N=225), settings(), level=300) == at != published(task("depo1"), settings())
    lano = published(task("lano-cfg3j"), settings())
    assert lano and published(task("lano-cfg3f"), settings(), level="cfg3j") == lano and lano.context == 1536


def test_no_cell_for_another_task() -> None:
    assert published(task("depo1", V=49), settings()) is None
    assert published(task("depo1", N=224), settings()) is None
    assert published(task("copy"), settings()) is None
    assert published({**task("depo1"), "source": {"sha256": "0"}}, settings()) is None
    assert published_task(task("depo2", N=3)) == "depo2" and published_task(task("lano-cfg3b")) == "lano"


def test_every_entry_is_whole() -> None:
    content = tables()
    for entry in content["results"]:
        assert len(entry["percent"]) == len(content["difficulty"][entry["task"]]) == 3
        for row in entry["percent"]:
            assert len(row) == len(entry["sizes"]) and all(0 <= value <= 100 for cell in row for value in cell)
            assert {len(cell) for cell in row} == {2 if entry["task"].startswith("depo") else 1}
    assert len(content["results"]) == 266
