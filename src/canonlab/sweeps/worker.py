"""One worker of a sweep: it makes runs of the list for as long as there are some that nobody else makes or has made.

Workers know nothing of one another: a run's folder says what has become of it, and its lock who is at it. So any
number of them, on any machines that share the folder, make each run once.
"""

import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from canonlab.checks import first_line
from canonlab.errors import Diverged, Failed, InputError, Interrupted
from canonlab.files import exists, write_json
from canonlab.locks import Held, holder
from canonlab.sweeps.worklist import Entry, Worklist
from canonlab.training.loop import Listener
from canonlab.training.parts import DONE, ENDED, FAILED, OUTPUT, ended
from canonlab.training.plan import plan_run
from canonlab.training.quantized import produce
from canonlab.training.run import make_run

WAIT = 0.5
"""Seconds between two looks at runs that others are making."""

BEGUN, LEFT = "begun: ", "left: "
"""How lines of a worker's log begin that say which folder it works in from here on, or no longer."""

TAIL = 20
"""Last lines of what a run said that are kept with its failure."""


def work(
    worklist: Worklist,
    listener: Listener,
    around: Callable[[Path], AbstractContextManager[Any]] = lambda folder: nullcontext(),
    patience: float = math.inf,
) -> list[str]:
    """Make what is left of the list, the longest runs first and those that quantize last; return when all of it is
    done, whoever did it, or when others have been making all that is left for `patience` seconds.

    A run that fails or diverges stops no other, and is not tried again before that is asked for (`retry`). Each is made
    `around` its folder. Returns a line for each run that can't even have a folder. Raises Interrupted when a run was
    asked to stop, with what goes on with the sweep.
    """
    left = sorted(worklist.entries, key=lambda each: (bool(each.origin), -each.flops))
    numbers = {each.folder: number for number, each in enumerate(worklist.entries, start=1)}
    shared: dict[str, Any] = {}
    hopeless: list[str] = []
    told: set[str] = set()
    idle = 0.0
    while left and idle <= patience:
        held, waiting = [], {}
        for each in left:
            folder = worklist.folder(each)
            if ended(folder):
                continue
            title = f"run {numbers[each.folder]} of {len(numbers)}"
            try:
                for busy in (worklist.parent / each.origin, folder) if each.origin else (folder,):
                    if by := holder(busy):
                        raise Held(f"{folder}: waiting for process {by.pid} on {by.host}, which works on {busy}")
                with around(folder):
                    _make(each, worklist, title, listener, shared)
            except Held as error:
                held.append(each)
                waiting[each.folder] = str(error)
            except Interrupted as stopped:
                raise Interrupted(f"{title} {stopped.state}", worklist.command) from None
            except Exception as error:  # whatever became of one run must not cost the others
                reason = str(error) if isinstance(error, InputError | Failed) else first_line(error)
                listener.message(f"{folder} failed: {reason}")
                if not record_failure(folder, reason, traceback.format_exception(error)):
                    hopeless.append(f"{folder}: {reason}")
        if held == left:
            for line in waiting.keys() - told:
                listener.message(waiting[line])
            told |= waiting.keys()
            time.sleep(WAIT)
        idle = idle + WAIT if held == left else 0.0
        left = held
    return hopeless


def _make(each: Entry, worklist: Worklist, title: str, listener: Listener, shared: dict[str, Any]) -> None:
    plan = plan_run(each.config, shared=shared)
    if plan.identity != each.identity:
        raise InputError(f"this machine or version makes another run of it: {plan.name} instead of {each.folder}")
    run = make_run(plan, worklist.folder(each))
    listener.message(title)
    if each.origin and (state := ended(worklist.parent / each.origin)) not in (None, DONE):
        raise Failed(f"{worklist.parent / each.origin}, which is to be quantized, {state}")
    try:
        produce(run, listener, worklist.command, worklist.keep)
    except Diverged as error:
        listener.message(f"{run.folder}: {error}")


def record_failure(folder: Path, reason: str, trace: list[str]) -> bool:
    """Leave the reason in a run's folder; whether that could be done."""
    with suppress(OSError, InputError):  # a full disk or a closed folder may be the very reason
        if exists(folder / "config.json"):
            write_json(folder / FAILED, {"reason": reason, "traceback": trace, "said": tail(folder)})
            return True
    return False


def tail(folder: Path, lines: int = TAIL) -> list[str]:
    """The last lines of what a run's worker said."""
    try:
        text = (folder / OUTPUT).read_bytes()[-(1 << 16) :].decode("utf-8", "replace")
    except OSError:
        return []
    return text.splitlines()[-lines:]


@contextmanager
def speaking_in(folder: Path) -> Iterator[None]:
    """The context in which what this process says, kernels and libraries included, goes to a run's output.log.

    Standard output, a worker's log, is told where the worker is.
    """
    print(f"{BEGUN}{folder.name}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    before = os.dup(1), os.dup(2)
    try:
        with (folder / OUTPUT).open("ab") as output:
            for number in (1, 2):
                os.dup2(output.fileno(), number)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, file in enumerate(before, start=1):
            os.dup2(file, number)
            os.close(file)
        print(f"{LEFT}{folder.name}", flush=True)


def retry(worklist: Worklist) -> None:
    """Have runs that failed or diverged made again."""
    for each in worklist.entries:
        for file, state in ENDED.items():
            if state != DONE:
                (worklist.folder(each) / file).unlink(missing_ok=True)


def unmade(worklist: Worklist) -> Iterator[Entry]:
    """The runs that are still to be made, or being made."""
    return (each for each in worklist.entries if not ended(worklist.folder(each)))
