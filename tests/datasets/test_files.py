"""Exported files: what they hold, that they hold all of it, and that they are whole or not there."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from canonlab import datasets
from canonlab.datasets import files
from canonlab.errors import InputError
from canonlab.files import FORMAT
from canonlab.tasks.catalog import build_task

TASK = build_task("copy", {"N": 5, "context": 20})


def check_description(described: dict) -> None:
    again = build_task("copy", {**described["task"]["parameters"], "context": described["task"]["context"]})
    assert again.identity == described["task"] == TASK.identity
    assert [described[key] for key in ("format", "seed", "split", "start", "count")] == [FORMAT, 3, "eval", 6, 9]
    assert described["vocabulary"] == [dataclasses.asdict(token) for token in TASK.vocabulary]


def check_rows(rows: list[dict]) -> None:
    tokens, mask = TASK.windows(3, 6, 9, "eval")
    assert [row["index"] for row in rows] == list(range(6, 15))
    assert np.array_equal([row["tokens"] for row in rows], tokens)
    assert np.array_equal([row["mask"] for row in rows], mask)


@pytest.mark.parametrize("chunk", [1, 4 * 20, 1 << 20])
def test_jsonl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(files, "CHUNK_TOKENS", chunk)
    out = tmp_path / "windows.jsonl"
    datasets.export(TASK, out, "jsonl", count=9, seed=3, split="eval", start=6)
    check_rows([json.loads(line) for line in out.read_text().splitlines()])
    check_description(json.loads((tmp_path / "windows.jsonl.meta.json").read_text()))
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("chunk", [4 * 20, 1 << 20])
def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow (the extra `parquet`) isn't installed")
    monkeypatch.setattr(files, "CHUNK_TOKENS", chunk)
    out = tmp_path / "windows.parquet"
    datasets.export(TASK, out, "parquet", count=9, seed=3, split="eval", start=6)
    table = parquet.read_table(out)
    check_rows(table.to_pylist())
    check_description(json.loads(table.schema.metadata[b"canonlab"]))
    assert [path.name for path in tmp_path.iterdir()] == ["windows.parquet"]


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "windows.jsonl"
    out.write_text("earlier")
    monkeypatch.setattr(files, "CHUNK_TOKENS", 1)
    broken = dataclasses.replace(TASK)
    made = []

    def windows(seed: int, first: int, count: int, split: str) -> object:
        if len(made) == 2:
            raise OSError("disk full")
        made.append(first)
        return TASK.windows(seed, first, count, split)  # type: ignore[arg-type]

    object.__setattr__(broken, "windows", windows)
    with pytest.raises(OSError, match="disk full"):
        datasets.export(broken, out, "jsonl", count=5)
    assert out.read_text() == "earlier" and len(list(tmp_path.iterdir())) == 1


def test_bad_arguments(tmp_path: Path) -> None:
    out = tmp_path / "x"
    with pytest.raises(InputError, match="unknown format 'parket'; did you mean 'parquet'?"):
        datasets.export(TASK, out, "parket", count=1)
    with pytest.raises(InputError, match="count = 0"):
        datasets.export(TASK, out, "jsonl", count=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", files.WRITERS)
def test_a_path_that_cannot_be_written(tmp_path: Path, format: str) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow")
    (tmp_path / "file").touch()
    for out in (tmp_path, tmp_path / "file" / "x"):
        with pytest.raises(InputError, match=f"^out = {str(out)!r}: cannot be written: [A-Z]"):
            datasets.export(TASK, out, format, count=1)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
