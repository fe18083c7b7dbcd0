"""Files that are either whole or not there, and that say which format they have."""

import errno
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from canonlab.errors import InputError

FORMAT = 1
"""Version of every file of a run folder. Files of older formats are read, newer ones refused."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when it doesn't.

    IsADirectoryError before the block when `path` is a folder.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    temporary.touch()
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that a kill in mid-write has left in `folder` and in the folders below it."""
    for path in folder.rglob(".*"):
        if re.fullmatch(r"\..+\.\d+\.\d+", path.name) and path.is_file():
            path.unlink(missing_ok=True)


@contextmanager
def writing(path: Path, what: str) -> Iterator[Path]:
    """`replacing` for a path of the user's: makes folders as needed. InputError naming `what` when the path can't be
    written; OSError for what is no fault of the path, such as a full disk."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            yield temporary
    except OSError as error:
        message = f"{what} {str(path)!r}: cannot be written: {error.strerror or error}"
        raise OSError(message) if error.filename is None else InputError(message) from None


def write_text(path: Path, text: str, what: str) -> None:
    """Write `text` to a path of the user's: see `writing`."""
    with writing(path, what) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` atomically, with the format version first."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({"format": FORMAT, **content}, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote. InputError when it is missing, damaged, or of a newer format."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError:
        raise InputError(f"{path} is damaged: not valid JSON") from None
    check_format(path, content.get("format") if isinstance(content, dict) else None)
    return content


def check_format(path: Path, version: object) -> None:
    """InputError unless `version` is a format that this version of canonlab reads."""
    if not isinstance(version, int):
        raise InputError(f"{path} is not a canonlab file: it names no format version")
    if version > FORMAT:
        raise InputError(f"{path} has format {version}, written by a newer canonlab; this one reads up to {FORMAT}")
