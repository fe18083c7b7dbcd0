"""Running a user's task or mixer: what checking it reports, one promise at a time, and errors that name the culprit."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from canonlab.errors import InputError

MOST_ROUNDS = 10_000
"""How often something is done at most that is done again until some time is over, which it never may be."""


class Check(NamedTuple):
    """One promise: whether it is kept (None: it couldn't be checked), what was seen, and what to do if it isn't."""

    name: str
    passed: bool | None
    seen: str
    advice: str


class Broken(Exception):
    """A promise that isn't kept; with `passed` None, one that couldn't be checked."""

    def __init__(self, seen: str, advice: str, passed: bool | None = False) -> None:
        super().__init__(seen)
        self.seen, self.advice, self.passed = seen, advice, passed


def first_line(error: BaseException) -> str:
    """An error's class and the first line of its message."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


@contextmanager
def of_the_user(what: str, advice: str = "") -> Iterator[None]:
    """The context in which a user's own code runs: whatever it raises is an InputError that begins with `what`."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # an exit of theirs must not be taken for an end of ours
        reason = str(error) if isinstance(error, InputError) else first_line(error)
        raise InputError(f"{what} ({reason}){advice}") from None


def seconds_since(began: float, clock: Callable[[], float] | None = None) -> float:
    """Seconds by a clock, `time.perf_counter` for one; never 0, as rates divide by them and some clocks stand still."""
    return max((clock or time.perf_counter)() - began, 1e-9)


def run_check(name: str, promise: Callable[[], str], what: str) -> Check:
    """`promise` returns what it saw, or raises `Broken`. Anything else that it raises is the fault of `what`."""
    try:
        return Check(name, True, promise(), "")
    except Broken as broken:
        return Check(name, broken.passed, broken.seen, broken.advice)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # what is under test may raise anything
        return Check(name, False, first_line(error), f"find out why the {what} raised this")
