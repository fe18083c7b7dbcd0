"""A task's windows for Hugging Face's `datasets` and the trainers that take them."""

import hashlib
import json
import uuid
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from canonlab.datasets.files import describe
from canonlab.datasets.windows import IGNORED, WindowDataset
from canonlab.extras import optional
from canonlab.files import read_bytes, sha256
from canonlab.plugins import source_of
from canonlab.tasks.base import Split, Task

SHARDS = 64
"""Into how many parts a stream can be split, for as many workers at most."""


def to_hugging_face(
    task: Task, *, count: int, seed: int = 0, split: Split = "train", start: int = 0, streaming: bool = False
) -> Any:
    """Windows start .. start + count - 1 as a `datasets.Dataset`, or when streaming as a `datasets.IterableDataset`.

    A row a window: `input_ids` and `labels`, as transformers' trainer takes them: labels[t] is input_ids[t] where that
    is a scored target and IGNORED elsewhere; the shift by one position is left to the model. `.info.description` says
    as JSON what the windows are. A Dataset is stored in the cache folder of `datasets`, and found there again unless
    the task is of a class of your own that is not loaded as `path.py:Class`: whether that was edited nobody knows. A
    stream is made on the way and splits over workers, which changes its order.
    """
    datasets = optional("datasets", "datasets", "a Hugging Face data set")
    windows = WindowDataset(task, count, seed=seed, split=split, start=start)
    description = json.dumps(describe(task, seed, split, start, count))
    bounds = [count * i // SHARDS for i in range(SHARDS + 1)]
    shards = [range(a, b) for a, b in pairwise(bounds) if a < b]
    ids = datasets.Sequence(datasets.Value("int32"))
    features = datasets.Features({"input_ids": ids, "labels": ids})
    arguments = {"features": features, "gen_kwargs": {"windows": windows, "shards": shards}}
    if streaming:
        made = datasets.IterableDataset.from_generator(rows, **arguments)
    else:
        made = datasets.Dataset.from_generator(rows, fingerprint=_fingerprint(task, description), **arguments)
    made.info.description = description
    return made


def _fingerprint(task: Task, description: str) -> str:
    """The name of a data set in the cache: by all that its windows depend on, where that is known. The library's own
    name would not change with a task's version, source or files."""
    kind = type(task)
    if not source_of(kind) and kind.__module__.partition(".")[0] != "canonlab":
        return uuid.uuid4().hex[:16]
    files = {name: hashlib.sha256(read_bytes(path)).hexdigest() for name, path in task.copied}
    return sha256([description, files])[:16]


def rows(windows: WindowDataset, shards: list[range]) -> Iterator[dict[str, np.ndarray]]:
    """The rows of some parts of the windows."""
    for i in (i for shard in shards for i in shard):
        tokens, mask = windows.task.windows(windows.seed, windows.start + i, 1, windows.split)
        yield {"input_ids": tokens[0], "labels": np.where(mask[0] == 1, tokens[0], IGNORED)}
