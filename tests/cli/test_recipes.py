"""The command that shows recipes."""

import json

import pytest

from canonlab.cli.recipes import recipe
from canonlab.errors import InputError
from canonlab.sweeps.recipe import recipe_text, shipped_recipes


def test_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    recipe(as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [row["recipe"] for row in rows] == shipped_recipes()
    assert all(row["runs"] > 0 and row["about"].endswith(".") for row in rows)


def test_one_is_printed_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    recipe("laptop/copy")
    assert capsys.readouterr().out == recipe_text("laptop/copy")
    recipe("laptop/copy", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["runs"] == 6 and found["text"] == recipe_text("laptop/copy")
    with pytest.raises(InputError, match="unknown recipe"):
        recipe("laptop/copi")
