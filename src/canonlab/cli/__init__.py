"""The command line: parse, call, print. Exit status 0, 2 for bad input, 1 for a failure, 130 after Ctrl-C.

Loads nothing heavy by itself: the commands are loaded, which takes seconds, when `main` is ready for whatever may come.
"""

import atexit
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from canonlab import __version__
from canonlab.cli import streams
from canonlab.errors import Diverged, Failed, InputError, Interrupted


def main() -> NoReturn:
    """Entry point of the `canonlab` command."""
    streams.prepare()
    try:
        status = streams.finish(_status())
    except KeyboardInterrupt:  # once more, while it was stopping
        status = streams.stop(130, "interrupted")
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # Python's own end is a moment, and no place for it
    sys.exit(status)


def _status() -> int:
    """Run the command that was asked for; the exit status."""
    if sys.argv[1:] == ["--version"]:
        print(f"canonlab {__version__}")
        return 0
    try:
        with _ctrl_c_ends_at_once():
            from canonlab.cli.commands import load, run

            commands = load(sys.argv[1:])
    except ValueError as error:  # what numba raises of NUMBA_NUM_THREADS=0
        return streams.stop(2, f"a library can't be loaded: {error} Look at NUMBA_NUM_THREADS and other variables.")
    try:
        run(commands)
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    except InputError as error:
        return streams.stop(2, error)
    except Interrupted as stopped:
        return streams.stop(0, stopped)
    except KeyboardInterrupt:
        return streams.stop(130, "interrupted")
    except (Diverged, Failed) as error:
        return streams.stop(1, error)
    except OSError as error:
        if streams.unread():
            return 0
        return streams.stop(1, _said(error))
    return 0


def _said(error: OSError) -> object:
    """What the system says, and of what."""
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or error


@contextmanager
def _ctrl_c_ends_at_once() -> Iterator[None]:
    """For a time in which there is nothing to lose, and an exception in the middle of an import might be swallowed."""

    def end(*_: object) -> None:
        with suppress(OSError):
            os.write(2, b"canonlab: interrupted\n")
        os._exit(130)

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # ignored: we are in the background
        yield
        return
    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
