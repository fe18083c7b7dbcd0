"""Bad input: one clear line that names the field, the value, what is allowed and the nearest right word."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from reprlib import Repr

LONGEST = 120
"""Characters of a value that a message shows."""

LONGEST_WORD, LONGEST_LINE = 200, 550
"""Characters of a message between two spaces, where paths of others' making may stand, and of all of it."""

LARGEST_SEED = (1 << 64) - 1
BEYOND_USE = 1 << 40


HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, those that turn the direction of writing or end a line, and bytes of a name that are no text."""


class InputError(Exception):
    """Something the user gave is wrong. The message is one line; the command line prints it and exits with 2.

    Not a ValueError, so that libraries which catch those on the way cannot reword it.
    """

    def __init__(self, message: object) -> None:
        super().__init__(one_line(str(message)))


class Unreadable(InputError):
    """The system does not let us read something that is there; it may be whole, and must not be taken for damaged."""


class Diverged(RuntimeError):
    """The loss or its gradient is no longer a number."""


class Failed(RuntimeError):
    """The run can't go on, for a reason that can be told in a line. What it has saved is kept."""


class Interrupted(Exception):
    """The run was asked to stop, and has saved itself: `state` says where, `command` how to go on."""

    def __init__(self, state: str, command: str) -> None:
        super().__init__(f"{state}; go on with: {command}")
        self.state, self.command = state, command


def visible(text: str) -> str:
    """`text` in which a terminal, a page or LaTeX finds nothing to act on: what is hidden reads as "\\x1b" does."""
    return HIDDEN.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """`text` as one line that a person can read, whatever words are quoted in it: the middles of long ones left out."""
    words = [_cut(visible(word), LONGEST_WORD) for word in text.split()]
    return _cut(" ".join(words), LONGEST_LINE)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest * 2 // 3]}...{text[3 - longest // 3 :]}"


def shown(value: object) -> str:
    """A value as a message names it: as Python writes it, its middle left out when it is long."""
    short = Repr()
    short.maxstring = short.maxother = short.maxlong = LONGEST
    return short.repr(value)


def unknown(field: str, value: object, allowed: Iterable[str]) -> InputError:
    """The error for a `value` of `field` that is none of the `allowed` words."""
    words = sorted(allowed)
    close = get_close_matches(str(value).lower(), [word.lower() for word in words], n=1, cutoff=0.5)
    nearest = next((word for word in words if close and word.lower() == close[0]), None)
    hint = f"; did you mean {nearest!r}?" if nearest else ""
    return InputError(f"unknown {field} {shown(value)}{hint} (allowed: {', '.join(words)})")


def require_integer(field: str, value: object, low: int, high: int | None = None) -> int:
    """`value` itself when it is an integer in low..high (both included), else an InputError that says so."""
    above = high is not None and isinstance(value, int) and value > high
    # a bound far beyond use says nothing to whom it doesn't concern
    shows_high = high is not None and (above or high < BEYOND_USE)
    allowed = f"an integer from {low} to {high}" if shows_high else f"an integer of at least {low}"
    if not isinstance(value, int) or isinstance(value, bool) or value < low or above:
        raise InputError(f"{field} = {shown(value)}: must be {allowed}")
    return value


def require_seed(value: object) -> int:
    """`value` itself when it can seed a generator, else an InputError."""
    return require_integer("seed", value, 0, LARGEST_SEED)
