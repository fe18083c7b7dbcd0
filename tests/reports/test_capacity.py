"""The chart of capacity: what has a place on it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from canonlab.reports.capacity import capacity_html
from canonlab.results.capacity import points
from canonlab.results.groups import sections
from canonlab.results.load import load_runs

NOTES = {"N": 50_000, "parameters": 100_000, "r_max": 2.5}


def knowing(folder: Path, notes: dict[str, Any]) -> Path:
    """Makes a fabricated run one that knows 80,000 bits."""
    result = json.loads((folder / "result.json").read_text())
    result["evaluation"]["metrics"]["bits"] = {"value": 8e4, "low": 7e4, "high": 9e4}
    result["evaluation"]["notes"] = notes
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def test_a_point_is_a_run_with_its_notes(fabricate: Callable[..., Path]) -> None:
    (section,) = sections(load_runs([knowing(fabricate(), NOTES)]))
    (point,) = points(section)
    assert point[2:] == (50_000, 100_000, 8e4, 7e4, 9e4, 250_000)
    assert "Not drawn" not in capacity_html([section])


@pytest.mark.parametrize("key", NOTES)
@pytest.mark.parametrize("change", ["missing", "null"])
def test_a_run_that_does_not_tell_its_size_or_people_is_left_out(
    fabricate: Callable[..., Path], key: str, change: str
) -> None:
    rest = {name: value for name, value in NOTES.items() if name != key}
    knowing(fabricate(), rest if change == "missing" else {**rest, key: None})
    whole = knowing(fabricate(seed=1), NOTES)
    (section,) = sections(load_runs([whole.parent]))
    assert [point.run.folder for point in points(section)] == [whole]
    assert "Not drawn: 1 run " in capacity_html([section])
