"""The standard streams as they may be: closed, without a reader, of few characters.

Loads nothing heavy, so that all of it holds while the rest of the program is loaded.
"""

import codecs
import io
import os
import re
import sys
from collections.abc import Callable
from typing import Any, TextIO, cast

from canonlab.errors import visible

SPELLED = {"–": "-", "—": "-", "−": "-", "↔": "<->", "…": "...", "×": "x", "≤": "<=", "≥": ">="}
"""What stands for a character that an encoding doesn't have; others are written as Python writes them, é as \\xe9."""


class Stream:
    """A stream that knows whether it is `lost`, as nobody reads it any more; nothing is written to it from then on.

    What tells of work that goes on is `dispensable`: its loss must not cost the work, so no error is raised.
    """

    def __init__(self, stream: TextIO, dispensable: bool) -> None:
        self.stream, self.dispensable, self.lost = stream, dispensable, False

    def write(self, text: str) -> int:
        """Write `text`, if there is anybody to read it."""
        self._attempt(lambda: self.stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Write what is buffered, if there is anybody to read it."""
        self._attempt(self.stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _attempt(self, action: Callable[[], object]) -> None:
        if self.lost:
            return
        try:
            action()
        except (OSError, ValueError) as error:  # ValueError: it is closed
            busy = isinstance(error, BlockingIOError)  # these words are lost, but not the stream
            self.lost = not busy and (self.dispensable or isinstance(error, BrokenPipeError))
            if not self.dispensable:
                raise


def prepare() -> None:
    """Make the streams safe to write to: those that are closed exist and lead nowhere, none refuses a character."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # else the next file that is opened would take its number
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (for as long as the process lives)
    codecs.register_error("spelled", _spelled)
    if not re.fullmatch("[1-9][0-9]{0,3}", os.environ.get("COLUMNS", "80")):
        del os.environ["COLUMNS"]  # nothing fits into no columns, and nothing was printed
    for stream, errors in ((sys.stdin, "backslashreplace"), (sys.stdout, "spelled"), (sys.stderr, "spelled")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    for name in ("stdout", "stderr"):
        if not isinstance(stream := getattr(sys, name), Stream):
            setattr(sys, name, Stream(stream, dispensable=name == "stderr"))


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    plain = (SPELLED.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in letters)
    return "".join(plain), error.end


def unread() -> bool:
    """Whether the reader of standard output has gone."""
    return cast(Stream, sys.stdout).lost


def finish(status: int) -> int:
    """Write what is buffered, and return the exit status: `status`, unless the output can't be written."""
    failure = None
    try:
        sys.stdout.flush()
    except OSError as error:
        failure = error
    if failure or unread():  # or Python would try, and complain, once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if failure is None or unread():  # whoever read it has seen enough
        return status
    return stop(1, f"cannot write the output: {failure.strerror or failure}")


def stop(status: int, reason: object) -> int:
    """Say in one line why the program ends, and return the exit status."""
    text = visible(" ".join(str(reason).split()))
    print(f"canonlab: error: {text}" if status in (1, 2) else f"canonlab: {text}", file=sys.stderr)
    return status
