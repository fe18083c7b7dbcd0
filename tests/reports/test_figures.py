"""Figures: one for everything on the page, as PDF and PNG, the same bytes for the same runs."""

import sys
from pathlib import Path

import pytest

from canonlab.errors import InputError
from canonlab.reports.figures import write_figures
from canonlab.reports.load import load_runs


@pytest.mark.slow
def test_everything_is_drawn(campaign: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    runs = load_runs([campaign])
    written = write_figures(runs, tmp_path / "figures")
    names = {path.name for path in written}
    depo = "depo-N10-K4-V50-lengths_1_1-context96"
    assert {f"{depo}-accuracy_k4.pdf", f"{depo}-speed.png", "depo-K4-V50-lengths_1_1-context96-heatmaps.pdf"} <= names
    assert {"copy-N64-context130-token_accuracy.png", "copy-N64-context130-heatmaps.png"} <= names
    assert all(path.read_bytes().startswith((b"%PDF", b"\x89PNG")) for path in written)
    again = write_figures(runs, tmp_path / "again")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in written]


def test_without_matplotlib_it_says_what_to_install(
    campaign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match="pip install matplotlib"):
        write_figures(load_runs([campaign]), tmp_path)
