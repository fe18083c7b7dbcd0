"""The table of architectures: what it says agrees with the counts, and covers hybrids and Canon sets."""

import pytest

from canonlab.errors import InputError
from canonlab.models.config import ModelConfig
from canonlab.models.cost import parameters_without_embedding
from canonlab.models.presets import PRESETS
from canonlab.models.table import SIZES, model_rows, overview, readable


def parameters(model: str, size: str, canon: str = "original") -> int:
    return parameters_without_embedding(ModelConfig(model, size, canon).decoder(109))


def test_every_preset_is_in_the_overview_with_a_line_about_it() -> None:
    rows = overview("1L64D4H")
    assert [row["name"] for row in rows] == list(PRESETS)
    assert all(row["about"] for row in rows)
    assert rows[0]["against"] == 0.0 and rows[0]["matched"]


def test_a_preset_that_lacks_the_size_or_the_points_says_why() -> None:
    rows = {row["name"]: row for row in overview("1-2", "ABCD", context=8)}
    assert list(rows) == list(PRESETS)
    assert "cannot rotate 0.5 of 2 heads" in rows["llama-rope-quarter-fullheads"]["about"]
    assert "no point D" in rows["llama-moe"]["about"]
    assert rows["llama-moe"]["parameters"] is rows["llama-moe"]["matched"] is None
    assert rows["gdn"]["parameters"] and rows["gdn"].keys() == rows["llama-moe"].keys()
    for size, canon, message in (("8L", "none", "size = '8L'"), ("1L64D", "ABE", "unknown point 'E'")):
        with pytest.raises(InputError, match=message):
            overview(size, canon)


def test_rows_for_people_mark_what_does_not_match() -> None:
    rows = [{"size": "a", "against": 0.0457, "matched": False}, {"size": "b", "against": -0.002, "matched": True}]
    assert readable(rows) == [
        {"size": "a", "against llama-rope": "+4.6% *"},
        {"size": "b", "against llama-rope": "-0.2%"},
    ]
    assert readable([{"size": "c", "against": None, "matched": None}]) == [{"size": "c", "against llama-rope": None}]


def test_rows_of_one_model_at_all_sizes() -> None:
    rows = model_rows(ModelConfig("mamba2"), context=8)
    assert [row["size"] for row in rows] == list(SIZES)
    for row in rows:
        assert row["without_embedding"] == parameters("mamba2", row["size"])
        assert row["against"] == row["without_embedding"] / parameters("llama-rope", row["size"]) - 1
        assert row["matched"] == (row["against"] <= 0.03)
    assert [row["matched"] for row in rows] == [False, False, False, False]
    assert model_rows(ModelConfig("mamba2-mlp"), ["8L512D"], context=8)[0]["matched"]


@pytest.mark.parametrize(
    ("canon", "points", "reference"),
    [("original", "b", "none"), ("none", "none", "none"), ("AbCD", "AbCD", "ABCD"), ("AC", "AC", "AC")],
)
def test_models_are_compared_at_like_canon_sets(canon: str, points: str, reference: str) -> None:
    (row,) = model_rows(ModelConfig("gdn", canon=canon), ["2L64D"], context=8)
    assert row["canon"] == points
    assert row["against"] == parameters("gdn", "2L64D", canon) / parameters("llama-rope", "2L64D", reference) - 1


def test_state_is_for_a_layer_of_the_size() -> None:
    (pair,) = model_rows(ModelConfig("mamba2"), ["2L64D"], context=8)
    (single,) = model_rows(ModelConfig("mamba2-mlp"), ["2L64D"], context=8)
    assert pair["state_bytes_per_layer"] == 2 * single["state_bytes_per_layer"]
    (hybrid,) = model_rows(ModelConfig("mamba2-mlp,llama-rope"), ["2L64D"], context=8)
    (attention,) = model_rows(ModelConfig("llama-rope"), ["2L64D"], context=8)
    assert 2 * hybrid["state_bytes_per_layer"] == sum(r["state_bytes_per_layer"] for r in (single, attention))
