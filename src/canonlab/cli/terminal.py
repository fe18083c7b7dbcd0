"""A terminal, or what stands in its place: a line of text, JSON, and rich's console made safe.

Colours and moving bars are for a stream that is a terminal, and for nothing else, whatever FORCE_COLOR says; NO_COLOR
and TERM=dumb do without. Control characters in names are shown, and act on no terminal.
"""

import json
import os
import sys
from collections.abc import Iterable
from typing import Any, NoReturn, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from canonlab.errors import visible


def watched(stream: TextIO) -> bool:
    """Whether a stream is a terminal that knows colours and moving the cursor."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


class Terminal(Console):
    """A console of one stream, which writes text as it is: no markup in it, no escape sequences of somebody else's."""

    def __init__(self, stream: TextIO, **settings: Any) -> None:
        live = watched(stream)
        plain: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False, "force_jupyter": False}
        super().__init__(file=stream, force_terminal=live, force_interactive=live, **plain, **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """See rich.console.Console."""
        for segment in super().render(renderable, options):
            text = "\n".join(map(visible, segment.text.split("\n")))
            yield segment if segment.control else Segment(text, segment.style)

    def on_broken_pipe(self) -> NoReturn:
        """Leave the error, which rich handles here, to `main`."""
        raise


def say(text: str) -> None:
    """One line of standard output."""
    print(visible(text))


def say_all(text: str) -> None:
    """Lines of standard output."""
    for line in text.splitlines():
        say(line)


def note(text: str) -> None:
    """One line of standard error that is no warning."""
    print(visible(text), file=sys.stderr)


def warn(text: str) -> None:
    """One line of standard error."""
    print(visible(f"canonlab: warning: {text}"), file=sys.stderr)


def print_json(value: Any) -> None:
    """One compact JSON document on one line of standard output."""
    sys.stdout.write(json.dumps(value, separators=(",", ":")) + "\n")


PIPED_WIDTH = 160
"""Characters in a line where no terminal says how many it has."""


def wide() -> Console:
    """Standard output for tables."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Terminal(sys.stdout, width=None if known else PIPED_WIDTH)
