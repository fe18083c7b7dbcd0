"""One process at a time works on a run folder."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from canonlab.errors import InputError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; an InputError when another process does. The system lets go of it when we die."""
    with (folder / ".lock").open("a") as file:
        try:
            _lock(file)
        except OSError:
            raise InputError(f"another process is working on {folder}; wait for it, or stop it first") from None
        yield


def _lock(file: IO[str]) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
