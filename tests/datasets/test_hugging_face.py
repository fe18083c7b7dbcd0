"""Hugging Face's view of a task."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from canonlab.datasets import IGNORED, to_hugging_face
from canonlab.tasks.catalog import build_task
from canonlab.training.config import TaskConfig
from canonlab.training.plan import load_task
from tiny_runs import TASK as TASK_FILE

# Not just "datasets", which without the package is this folder.
pytest.importorskip("datasets.arrow_dataset", reason="Hugging Face's datasets (the extra `datasets`) isn't installed")
hugging_face = sys.modules["datasets"]

TASK = build_task("copy", {"N": 5, "context": 20})


@pytest.mark.parametrize("streaming", [False, True])
def test_rows(streaming: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hugging_face.config, "HF_DATASETS_CACHE", tmp_path)
    made = to_hugging_face(TASK, count=70, seed=4, split="eval", start=5, streaming=streaming)
    assert isinstance(made, hugging_face.IterableDataset if streaming else hugging_face.Dataset)
    rows = list(made)
    tokens, mask = TASK.windows(4, 5, 70, "eval")
    assert np.array_equal([row["input_ids"] for row in rows], tokens)
    assert np.array_equal([row["labels"] for row in rows], np.where(mask, tokens, IGNORED))
    assert json.loads(made.info.description)["task"] == TASK.identity


def test_another_seed_is_another_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hugging_face.config, "HF_DATASETS_CACHE", tmp_path)
    first, other = (to_hugging_face(TASK, count=3, seed=seed)[0]["input_ids"] for seed in (0, 1))
    assert first != other


FILL = """
    def fill(self, out, seed, start, split="train"):
        super().fill(out, {seed}, start, split)
"""
FILES = """
    @property
    def files(self):
        from pathlib import Path

        return {{"t": Path("{path}")}}
"""


def made_of(source: str, folder: Path) -> Any:
    """The data set of a user's task."""
    path = folder / "mine.py"
    path.write_text(source)
    return to_hugging_face(load_task(TaskConfig(f"{path}:ShortCopy")), count=4)


def test_an_edited_task_is_another_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name, version and parameters are as before."""
    monkeypatch.setattr(hugging_face.config, "HF_DATASETS_CACHE", tmp_path)
    edited = TASK_FILE + FILL.format(seed="seed + 1")
    first, second, again = (made_of(source, tmp_path) for source in (TASK_FILE, edited, TASK_FILE))
    assert first[:] != second[:] and first[:] == again[:]
    assert first.cache_files == again.cache_files != second.cache_files
    sources = [json.loads(made.info.description)["source"] for made in (first, second)]
    assert sources[0]["class"] == sources[1]["class"] == "ShortCopy" and sources[0]["sha256"] != sources[1]["sha256"]


def test_another_content_of_a_tasks_file_is_another_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hugging_face.config, "HF_DATASETS_CACHE", tmp_path)
    source = TASK_FILE + FILES.format(path=tmp_path / "table") + FILL.format(seed="int(self.files['t'].read_text())")
    found = []
    for seed in "012":
        (tmp_path / "table").write_text(seed)
        found.append(made_of(source, tmp_path)[:])
    assert found[0] != found[1] != found[2]


def test_a_class_whose_source_nobody_knows_is_never_taken_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hugging_face.config, "HF_DATASETS_CACHE", tmp_path)
    kind = type("Notebook", (type(TASK),), {})
    monkeypatch.setattr(sys.modules[__name__], "Notebook", kind, raising=False)
    monkeypatch.setattr(kind, "__module__", __name__)
    first, second = (to_hugging_face(kind(5, 20), count=3).cache_files for _ in range(2))
    assert first != second
    first, second = (to_hugging_face(TASK, count=3).cache_files for _ in range(2))
    assert first == second
