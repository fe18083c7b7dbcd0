"""The JSON-lines log of a run: one object a line, each with the step it belongs to."""

import json
import os
from pathlib import Path
from typing import Any

from canonlab.errors import InputError
from canonlab.files import FORMAT, check_format, replacing

HEADER = {"kind": "log", "step": 0, "format": FORMAT}
"""The first line."""


class MetricsLog:
    """Appends records to a file; `sync` makes them durable before a checkpoint claims their steps."""

    def __init__(self, path: Path, resume_step: int) -> None:
        """Open `path`, cut back to what was logged up to `resume_step`: what came later will be logged again."""
        kept = [record for record in read_metrics(path) if record["step"] <= resume_step] if path.exists() else []
        with replacing(path) as temporary:
            lines = [json.dumps(record) + "\n" for record in [HEADER, *kept]]
            temporary.write_text("".join(lines), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")

    def append(self, record: dict[str, Any]) -> None:
        """Add one record, visible to readers at once."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Return when all records are on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All records of a log but its header. A last line cut short by a kill is left out; other damage: InputError."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    records = []
    for number, line in enumerate(lines, start=1):
        if number == len(lines):
            break  # after the last newline: nothing, or what a kill cut short
        try:
            record = json.loads(line)
            if not isinstance(record["step"], int):
                raise TypeError
        except (ValueError, TypeError, KeyError):
            raise InputError(f"{path}, line {number}, is damaged: {line[:60]!r}") from None
        if record.get("kind") == "log":
            check_format(path, record.get("format"))
        else:
            records.append(record)
    return records
