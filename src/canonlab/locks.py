"""Who works on a folder: one process at a time, of one machine or of several that share a file system.

The system's lock on the folder's `.lock` keeps processes of one machine apart, and those of several machines where the
file system passes locks on, as NFS does; it is gone with its process. Where it isn't passed on, what the file says
keeps them apart: who holds it, as of the file's time, which the holder renews. Clocks may be half a minute apart.
"""

import contextlib
import errno
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from canonlab.errors import InputError

LOCK = ".lock"

RENEWED, STALE = 10.0, 60.0
"""Seconds: how often a holder says that it is alive; how long after the last time one on another machine is dead."""

TAKEN = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES)
WITHOUT = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
"""What file systems without locks say."""


class Held(InputError):
    """Another process is working there."""


class Holder(NamedTuple):
    """A process, and the running system that it is a process of."""

    system: str
    host: str
    pid: int

    @property
    def here(self) -> bool:
        """Whether it is, or was, one of this machine."""
        return self.system == _system()


def _system() -> str:
    """What differs between machines, also between those of one name; containers of a machine are that machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return platform.node()


def holder(folder: Path) -> Holder | None:
    """Who works on a folder now, as far as its lock file tells; reads only."""
    try:
        path = folder / LOCK
        found = Holder(*json.loads(path.read_text(encoding="utf-8")))
        age = time.time() - path.stat().st_mtime
    except (OSError, ValueError, TypeError):
        return None
    alive = _alive(found.pid) if found.here and sys.platform != "win32" else age < STALE
    return found if alive else None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. `Held` when another process does. That of a process that died is free at once, or, where
    the file system doesn't pass locks on to the other machine that it was on, `STALE` seconds later."""
    try:
        file = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror or error}") from None
    with file:
        ours = True
        try:
            lock(file)
        except OSError as error:
            if error.errno in TAKEN:
                raise _held(folder) from None
            if error.errno not in WITHOUT:
                raise InputError(f"cannot lock {folder}: {error.strerror or error}") from None
            ours = False
        before = holder(folder)
        if before and not (ours and before.here):
            raise _held(folder)
        _say(file, json.dumps(Holder(_system(), platform.node(), os.getpid())))
        try:
            with _renewing(file):
                yield
        finally:
            with contextlib.suppress(OSError):  # the disk may be full, or gone; whoever comes next sees that we ended
                _say(file, "")


def _held(folder: Path) -> Held:
    return Held(f"another process is working on {folder}; wait for it, or stop it first")


def _say(file: IO[str], text: str) -> None:
    file.truncate(0)
    file.write(text)
    file.flush()


@contextmanager
def _renewing(file: IO[str]) -> Iterator[None]:
    """Renew the file's time meanwhile, from a thread of its own."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(RENEWED):
            with contextlib.suppress(OSError):
                os.utime(file.name)

    thread = threading.Thread(target=renew, daemon=True, name="lock")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def taking_turns(path: Path, patience: float) -> Iterator[None]:
    """Hold the lock of the file at `path`, made if need be, once no other process does; after `patience` seconds of
    waiting go on without it. OSError when there can be no such file. A process that dies lets go of it."""
    with path.open("a") as file:
        end = time.monotonic() + patience
        while time.monotonic() < end:
            try:
                lock(file)
                break
            except OSError:
                time.sleep(0.02)
        yield


def lock(file: IO[Any]) -> None:
    """The system's lock of an open file, until it is closed. OSError when another process has it, or there are none."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(file.fileno(), 1 << 30, os.SEEK_SET)  # behind what the file says, which others may read
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
