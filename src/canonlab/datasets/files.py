"""A task's windows as a file for other programs: Parquet or JSON lines, written in chunks, whole or not there."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from canonlab import __version__
from canonlab.errors import require_integer, require_seed, unknown
from canonlab.extras import optional
from canonlab.files import FORMAT, write_json, writing
from canonlab.plugins import source_of
from canonlab.tasks.base import MAX_WINDOWS, Split, Task, Windows, require_split

MOST_WINDOWS = 10**9
"""Of a file: more than a disk holds."""

CHUNK_TOKENS = 1 << 20
"""Tokens that are made, and for Parquet compressed, at a time."""

Chunks = Iterator[tuple[int, Windows]]
"""(index of the first window, windows), in order."""


def describe(task: Task, seed: int, split: Split, start: int, count: int) -> dict[str, Any]:
    """What the windows are, as JSON-ready data: enough to make them again, and to read them without canonlab.

    `source` is the class and the SHA-256 of a user's own file that the task is from.
    """
    return {
        "canonlab": __version__,
        "task": task.identity,
        "source": source_of(type(task)),
        "seed": seed,
        "split": split,
        "start": start,
        "count": count,
        "vocabulary": [dataclasses.asdict(token) for token in task.vocabulary],
    }


def chunks(task: Task, seed: int, split: Split, start: int, count: int) -> Chunks:
    """The windows, about CHUNK_TOKENS at a time."""
    step = max(1, CHUNK_TOKENS // task.context)
    for first in range(start, start + count, step):
        yield first, task.windows(seed, first, min(step, start + count - first), split)


def export(
    task: Task, path: Path, format: str, *, count: int, seed: int = 0, split: Split = "train", start: int = 0
) -> dict[str, Any]:
    """Write windows start .. start + count - 1 to `path`, making folders as needed; returns what is recorded of them.

    A row a window: `index`, and `tokens` and `mask` as lists of context integers; mask[t] = 1 says that tokens[t] is a
    scored target. What the windows are, vocabulary included, stands as JSON in a Parquet file's schema metadata, under
    the key `canonlab`; beside a JSON-lines file in `<path>.meta.json`, so that all of its lines have the same fields.

    Args:
        format: parquet (needs pyarrow) or jsonl.
    """
    if format not in WRITERS:
        raise unknown("format", format, WRITERS)
    require_seed(seed)
    require_integer("start", start, 0, MAX_WINDOWS)
    require_integer("count", count, 1, min(MOST_WINDOWS, MAX_WINDOWS - start))
    described = describe(task, seed, require_split(split), start, count)
    WRITERS[format](path, chunks(task, seed, split, start, count), described)
    return described


def _write_parquet(path: Path, parts: Chunks, described: dict[str, Any]) -> None:
    pyarrow = optional("pyarrow", "parquet", "the parquet format")
    parquet = optional("pyarrow.parquet", "parquet", "the parquet format")
    kinds = {"index": pyarrow.int64(), "tokens": pyarrow.list_(pyarrow.int32()), "mask": pyarrow.list_(pyarrow.uint8())}
    schema = pyarrow.schema(kinds, metadata={"canonlab": json.dumps({"format": FORMAT, **described})})

    def column(array: np.ndarray) -> Any:
        ends = np.arange(0, array.size + 1, array.shape[1], dtype=np.int32)
        return pyarrow.ListArray.from_arrays(ends, array.ravel())

    with writing(path, "out =") as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        for first, (tokens, mask) in parts:
            index = pyarrow.array(np.arange(first, first + len(tokens)))
            writer.write_table(pyarrow.table([index, column(tokens), column(mask)], schema=schema))


def _write_jsonl(path: Path, parts: Chunks, described: dict[str, Any]) -> None:
    with writing(path, "out =") as temporary:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            for first, windows in parts:
                for index, (tokens, mask) in enumerate(zip(*map(np.ndarray.tolist, windows), strict=True), first):
                    row = {"index": index, "tokens": tokens, "mask": mask}
                    file.write(json.dumps(row, separators=(",", ":")) + "\n")
        write_json(path.with_name(f"{path.name}.meta.json"), described)


WRITERS: dict[str, Callable[[Path, Chunks, dict[str, Any]], None]] = {"parquet": _write_parquet, "jsonl": _write_jsonl}
