"""One process at a time works on a folder, on one machine or on several that share it."""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from canonlab import locks
from canonlab.errors import InputError
from canonlab.locks import LOCK, STALE, Held, Holder, holder, locked, taking_turns

ELSEWHERE = Holder("another boot", "node-7", 17)


def test_a_turn_ends_with_its_block_and_is_not_waited_for_forever(tmp_path: Path) -> None:
    with (
        taking_turns(tmp_path / ".lock", patience=60),
        pytest.raises(InputError, match="another process"),
        locked(tmp_path),
    ):
        pass
    with locked(tmp_path), taking_turns(tmp_path / ".lock", patience=0.01):
        pass
    with pytest.raises(OSError), taking_turns(tmp_path / "missing" / ".lock", patience=60):
        pass


def test_who_works_on_a_folder_is_told_and_forgotten(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    with locked(tmp_path):
        found = holder(tmp_path)
        assert found is not None and found.here and found.pid == os.getpid()
        with pytest.raises(Held), locked(tmp_path):
            pass
        assert holder(tmp_path) == found
    assert holder(tmp_path) is None
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        print(1 / 0)
    assert holder(tmp_path) is None


def test_a_process_that_died_holds_nothing(tmp_path: Path) -> None:
    code = f"""
import os, pathlib, signal
from canonlab.locks import locked
with locked(pathlib.Path({str(tmp_path)!r})):
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert (tmp_path / LOCK).read_text() != ""
    assert holder(tmp_path) is None
    with locked(tmp_path):
        assert holder(tmp_path) is not None


@pytest.mark.parametrize("age", [0.0, STALE / 2, 2 * STALE])
def test_a_machine_whose_locks_are_not_passed_on_is_believed_for_a_while(tmp_path: Path, age: float) -> None:
    """As where a file system keeps the locks of each machine to itself."""
    path = tmp_path / LOCK
    path.write_text(json.dumps(ELSEWHERE))
    os.utime(path, (time.time() - age,) * 2)
    assert holder(tmp_path) == (ELSEWHERE if age < STALE else None)
    if age < STALE:
        with pytest.raises(Held, match="another process is working on"), locked(tmp_path):
            pass
        assert json.loads(path.read_text()) == list(ELSEWHERE)
    else:
        with locked(tmp_path):
            assert holder(tmp_path) != ELSEWHERE


def test_the_holder_renews_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "RENEWED", 0.01)
    path = tmp_path / LOCK
    with locked(tmp_path):
        os.utime(path, (0, 0))
        end = time.monotonic() + 30
        while path.stat().st_mtime == 0 and time.monotonic() < end:
            time.sleep(0.01)
        assert path.stat().st_mtime > 0


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_without_locks_of_the_system_the_file_alone_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def none(file: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks, "lock", none)
    with locked(tmp_path), pytest.raises(Held), locked(tmp_path):
        pass
    (tmp_path / LOCK).write_text(json.dumps(Holder(locks._system(), "here", 2**22 + 1)))  # of a process that is gone
    with locked(tmp_path):
        pass


def test_what_the_system_says_otherwise_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(file: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(locks, "lock", broken)
    with pytest.raises(InputError, match="cannot lock .*: Input/output error"), locked(tmp_path):
        pass
