"""The JSON-lines log of a run: one object a line, each with the step it belongs to."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from canonlab.errors import InputError
from canonlab.files import FORMAT, check_format, entry, exists, parse_json, read_bytes, replacing

MOST_BYTES = 1 << 30
"""Of a log: millions of records."""

HEADER = {"kind": "log", "step": 0, "format": FORMAT}
"""The first line."""


class MetricsLog:
    """Appends records to a file; `sync` makes them durable before a checkpoint claims their steps.

    `extent`, {"bytes": ..., "sha256": ...}, says what has been written. A checkpoint keeps it, and a resume cuts the
    log back to it: what came later will be logged again.
    """

    def __init__(self, path: Path, resume_step: int, extent: dict[str, Any] | None = None) -> None:
        """Open `path` as it was at `resume_step`.

        InputError when the log is no longer there to that `extent`. Checkpoints of format 1 have none; then all records
        up to the step are kept.
        """
        kept = _up_to(path, extent) if extent else _up_to_step(path, resume_step)
        with replacing(path) as temporary:
            temporary.write_bytes(kept)
        self._hash, self._bytes = hashlib.sha256(kept), len(kept)
        self._file = path.open("ab")

    @property
    def extent(self) -> dict[str, Any]:
        """How many bytes have been written, and their SHA-256."""
        return {"bytes": self._bytes, "sha256": self._hash.hexdigest()}

    def append(self, record: dict[str, Any]) -> None:
        """Add one record, visible to readers at once."""
        line = _line(record)
        self._file.write(line)
        self._file.flush()
        self._hash.update(line)
        self._bytes += len(line)

    def sync(self) -> None:
        """Return when all records are on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _line(record: dict[str, Any]) -> bytes:
    return (json.dumps(record) + "\n").encode()


def _up_to(path: Path, extent: dict[str, Any]) -> bytes:
    content = read_bytes(path, MOST_BYTES)[: entry(extent, "bytes", int, path)]
    if {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} != extent:
        raise InputError(
            f"{path} is not the log that the run's result or checkpoint was saved with; put a copy in its place, or "
            "delete these to begin the run anew"
        )
    return content


def _up_to_step(path: Path, step: int) -> bytes:
    records = [record for record in read_metrics(path) if record["step"] <= step] if exists(path) else []
    return b"".join(map(_line, [HEADER, *records]))


def read_metrics(path: Path, extent: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """All records of a log but its header, or those of the `extent` that a result or a checkpoint has for it.

    A last line cut short by a kill is left out. InputError for other damage, and where the log is not of that extent.
    """
    lines = (_up_to(path, extent) if extent else read_bytes(path, MOST_BYTES)).split(b"\n")
    records = []
    for number, line in enumerate(lines[:-1], start=1):  # after the last newline: nothing, or what a kill cut short
        where = f"{path}, line {number}"
        record = parse_json(line, where)
        entry(record, "step", int, where, least=0)
        if entry(record, "kind", str, where) == "log":
            check_format(path, record.get("format"))
        else:
            records.append(record)
    return records
