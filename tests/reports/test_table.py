"""The tables in a terminal."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from canonlab.reports import terminal_tables
from canonlab.results.load import load_runs


def printed(folder: Path, width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    for table in terminal_tables(load_runs([folder])):
        console.print(table)
    return console.export_text()


def test_tables_say_all(campaign: Path) -> None:
    text = printed(campaign, 130)
    assert text.index("copy N = 64") < text.index("depo N = 10, K = 4")
    assert re.search(r"llama-rope +none +mean of 3 +\d+\.\d% \d+\.\d\.\.\d+\.\d ", text)
    assert re.search(r"llama-rope +ABCD +mean of 2 ", text)
    assert re.search(r"seed 0 +\d+\.\d% \[\d+\.\d\.\.\d+\.\d\]", text)
    assert "unfinished" in text and "98.3K" in text
    assert "95% interval within one run" in text and "over seeds" in text
    assert text.count("answers of one window") == 1


@pytest.mark.parametrize("width", [80, 60])
def test_nothing_is_cut_off_in_a_narrow_terminal(campaign: Path, width: int) -> None:
    def characters(text: str) -> list[str]:
        return sorted(re.sub(r"\s", "", text))

    text = printed(campaign, width)
    assert "…" not in text
    assert characters(text) == characters(printed(campaign, 200))


def test_markup_in_names_is_text(fabricate: Callable[..., Path]) -> None:
    assert "[red]bad[/red]" in printed(fabricate(model="[red]bad[/red]"), 130)
