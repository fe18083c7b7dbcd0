"""Hugging Face's view of a task."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from canonlab.datasets import IGNORED, to_hugging_face
from canonlab.tasks.catalog import build_task

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
