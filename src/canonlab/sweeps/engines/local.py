"""Workers on this machine: processes that stay for many runs, so that what takes seconds to load is loaded once."""

import os
import platform
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import IO

from canonlab.errors import Failed, Interrupted
from canonlab.files import entry, exists, read_json
from canonlab.sweeps.places import SWEEP
from canonlab.sweeps.worker import BEGUN, LEFT, record_failure, unmade
from canonlab.sweeps.worklist import Worklist
from canonlab.training.loop import stop_on_signal

TICK = 0.25
"""Seconds between two looks at the workers."""

ATTEMPTS = 3
"""How many processes in a row may die in one run, or before any, without getting on."""


def command(worklist: Worklist, tracker: str | None = None, patience: int | None = None) -> list[str]:
    """The command that is a worker, which stops when its standard input is closed."""
    words = [sys.executable, "-m", "canonlab", "work", str(worklist.path), "--attached"]
    words += [] if patience is None else ["--patience", str(patience)]
    return [*words, *(["--log", tracker] if tracker else [])]


def run(
    worklist: Worklist,
    environments: Sequence[dict[str, str]],
    tracker: str | None = None,
    patience: int | None = None,
) -> Generator[None]:
    """Have workers make the list, one for each of the `environments`, which are laid over this process's.

    Yields a few times a second. A worker that dies is replaced; a run in which `ATTEMPTS` of them die counts as failed.
    When this process is asked to stop, the workers save what they are at, and it raises Interrupted; when it dies, they
    do the same.
    """
    words = command(worklist, tracker, patience)
    crew = [_Slot(worklist, number, words, each) for number, each in enumerate(environments)]
    deaths = _Deaths(worklist)
    with stop_on_signal() as stop:
        try:
            for slot in crew:
                slot.start()
            while any(not slot.finished for slot in crew) and not stop.is_set():
                yield
                time.sleep(TICK)
                for slot in crew:
                    if not stop.is_set() and (code := slot.died()):  # else it may have been asked to stop as we were
                        deaths.note(slot, code)
                        slot.start()
        finally:
            _end(crew, at_once=not stop.is_set())
    if stop.is_set() and any(unmade(worklist)):
        left = sum(1 for _ in unmade(worklist))
        raise Interrupted(f"stopped with {left} of {len(worklist.entries)} runs left", worklist.command)


def _end(crew: Sequence["_Slot"], at_once: bool) -> None:
    """Wait for workers that have been asked to stop; a second Ctrl-C waits no longer."""
    try:
        for slot in crew:
            slot.ask_to_stop(at_once)
        for slot in crew:
            slot.wait()
    finally:
        for slot in crew:
            slot.kill()


class _Slot:
    """A place for a worker."""

    def __init__(self, worklist: Worklist, number: int, words: list[str], environment: dict[str, str]) -> None:
        self.command, self.environment = words, os.environ | environment
        self.log = worklist.parent / SWEEP / "logs" / f"worker-{platform.node()}-{os.getpid()}-{number}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """A worker in a session of its own: a terminal's Ctrl-C is for us, who pass it on."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=sys.platform != "win32",
            )

    @property
    def finished(self) -> bool:
        """Whether the worker found nothing more to do."""
        return self.process is not None and self.process.poll() == 0

    def died(self) -> int:
        """The exit status of a worker that ended before its time, else 0."""
        return (self.process.poll() or 0) if self.process else 0

    def ask_to_stop(self, at_once: bool) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT if at_once and sys.platform != "win32" else signal.SIGTERM)

    def wait(self) -> None:
        if self.process:
            self.process.wait()

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            stdin: IO[bytes] | None = self.process.stdin
            if stdin:
                stdin.close()

    @property
    def last_lines(self) -> list[str]:
        return self.log.read_text(encoding="utf-8", errors="replace").splitlines()


class _Deaths:
    """In which runs workers died: one that kills every worker must not keep the others from being made."""

    def __init__(self, worklist: Worklist) -> None:
        self.worklist = worklist
        self.counts: Counter[tuple[str, int]] = Counter()

    def note(self, slot: _Slot, code: int) -> None:
        """Note the death of a slot's worker. Failed when workers die before they begin."""
        lines = slot.last_lines
        last = lines[-1] if lines else ""
        name = last.removeprefix(BEGUN) if last.startswith(BEGUN) else ""
        folder = self.worklist.parent / name
        key = (name, _reached(folder) if name else 0)
        self.counts[key] += 1
        if self.counts[key] < ATTEMPTS:
            return
        how = f"signal {-code}" if code < 0 else f"status {code}"
        if not name:
            said = [line for line in lines if not line.startswith((BEGUN, LEFT))]
            reason = " ".join(said[-1:])
            raise Failed(f"{ATTEMPTS} workers ended with {how} before they had a run: {reason}; see {slot.log}")
        memory = ", as when memory is not enough" if code == -getattr(signal, "SIGKILL", 9) else ""
        record_failure(folder, f"{ATTEMPTS} processes that worked on it ended with {how}{memory}", [])


def _reached(folder: Path) -> int:
    """The step at which the last attempt at a run began."""
    path = folder / "environment.json"
    sessions = entry(read_json(path), "sessions", list, path) if exists(path) else []
    return entry(sessions[-1], "step", int, path) if sessions else 0
