"""What people and programs see of claims."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from canonlab.claims import CLAIMS, judge, summary
from canonlab.claims.table import terminal
from canonlab.results.groups import sections
from canonlab.results.load import load_runs
from fabricate import write_run


def printed(blocks: list[Any], width: int = 110) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    for block in blocks:
        console.print(block)
    return console.export_text()


def test_without_runs_it_says_what_to_run() -> None:
    text = printed(terminal(judge(CLAIMS, []), ran=False))
    assert "1. Horizontal flow is missing" in text and "12. At 1.3B" in text
    assert "- llama-rope, 2 layers better than llama-rope, 1 layer on copy" in text
    assert "in the grid): paper/copy; for a first look: mini/claims-1 and laptop/copy." in " ".join(text.split())
    assert "No recipe makes these runs yet." in text
    assert "not decided" not in text


def test_with_runs_it_shows_the_evidence(true_numbers: Any, runs_of: Any) -> None:
    claim = CLAIMS[1]
    text = printed(terminal(judge([claim], runs_of(true_numbers(claim)))), 150)
    assert "holds: all 6 comparisons support it." in text
    row = next(
        line for line in text.splitlines() if line.startswith("llama-rope + Canon-ABCD better than llama-rope on depo")
    )
    assert row.split()[-8:] == ["+10.0", "+9.7", "to", "+10.4", "3", "1", "+81.8", "supported"]
    assert "1.5x" in text and "1 claim: 1 holds, 0 fails, 0 not decided." in text


@pytest.mark.parametrize("width", [60, 80])
def test_narrow_terminals_lose_nothing(true_numbers: Any, runs_of: Any, width: int) -> None:
    text = printed(terminal(judge(CLAIMS[:1], runs_of(true_numbers(CLAIMS[0])))), width)
    assert "…" not in text and max(map(len, text.splitlines())) <= width


def test_plain_is_strict_json(true_numbers: Any, runs_of: Any) -> None:
    found = summary(judge(CLAIMS, runs_of(true_numbers(CLAIMS[1]))))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    claims = {claim["number"]: claim for claim in found["claims"]}
    assert claims["2"]["verdict"] == "holds" and claims["12"]["verdict"] == "not decided"
    first = claims["2"]["comparisons"][0]
    assert first["seeds"] == 3 and first["most"] is None and first["verdict"] == "supported"
    assert first["places"][0]["where"].startswith("depo N = 10, K = 4")


def test_run_folders_are_judged(tmp_path: Path) -> None:
    """From files: Canon layers learn each hop of Depo faster in the fabricated runs, and are better at the end."""
    for canon in ("", "ABCD"):
        for seed in range(4):
            write_run(tmp_path, canon=canon, seed=seed)
    lifted, speed = judge(CLAIMS[1:3], sections(load_runs([tmp_path])))
    parts = {str(part.contrast): part.verdict for part in lifted.evidence}
    assert parts["llama-rope + Canon-ABCD better than llama-rope on depo"] == "supported"
    assert parts["llama-rope + Canon-ABCD at all hops as good as llama-rope at half the hops on depo"] == "supported"
    assert lifted.verdict == "not decided" and "a run of llama-rope on mano" in lifted.missing
    parts = {str(part.contrast): part.verdict for part in speed.evidence}
    assert parts["llama-rope + Canon-ABCD faster than llama-rope in learning 1-hop accuracy on depo"] == "supported"
