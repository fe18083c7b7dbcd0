"""Capo's word lists: the names, the attributes' values and the sentence templates, as shipped in `words/`.

A user's own (docs/capo.md) are a folder with files of the same names: `NAME.txt` for each of `SIZES`, one entry a line
and as many as it says, in employers.txt the employer's city after a tab; and `templates_ATTRIBUTE.txt` for each of
`ATTRIBUTES`, one or more, as `{subject} was born on {value}.`

The text of a biography is six sentences joined by one space, one per attribute. A sentence is its subject, the
template's `before`, a space, the value and the template's `after`; the first subject is "First Middle Last", the
others are the person's pronoun. The shipped values of a list are no prefixes of each other, so they are prefix-free as
tokens too; of a user's, who would be told, a value that begins others is somewhat easier to know than it should be.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

from canonlab.errors import InputError, shown
from canonlab.files import read_bytes
from canonlab.typed import user_path

FOLDER = Path(__file__).parent / "words"

ATTRIBUTES = ("birth_date", "birth_city", "university", "major", "employer", "employer_city")
"""A person's attributes; the employer determines the last."""

PRONOUNS = ("He", "She")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
DAYS = range(1, 29)
YEARS = range(1900, 2100)

SIZES = {
    "first_names": 400,
    "middle_names": 400,
    "last_names": 1000,
    "cities": 200,
    "universities": 300,
    "majors": 100,
    "employers": 263,
}
"""How many entries each list has (arXiv 2404.05405, definition 2.2)."""

FILES = (*(f"{name}.txt" for name in SIZES), *(f"templates_{attribute}.txt" for attribute in ATTRIBUTES))
"""The files of a folder of word lists."""

MOST_DESCRIPTIONS = 1 << 64
"""Orders of sentences times templates of all attributes: a description is drawn from one random word."""

_WORDS = "[!-^`-~]+(?: [!-^`-~]+)*"  # printable ASCII without the underscore, which means a space in tokens' names
ENTRIES = {
    "values": (re.compile(_WORDS), "words with single spaces between them"),
    "employers": (re.compile(f"{_WORDS}\t{_WORDS}"), "an employer, a tab and its city"),
    "templates": (re.compile(r"\{subject\}[ !-^`-z|~]+ \{value\}[ !-^`-z|~]+"), "as {subject} lives in {value}."),
}
"""What lines of the files look like, and how to say it."""

DATES = len(MONTHS) * len(DAYS) * len(YEARS)

N0 = SIZES["first_names"] * SIZES["middle_names"] * SIZES["last_names"]
"""How many full names there are."""

S0 = len(PRONOUNS) * DATES * math.prod(SIZES[values] for values in ("cities", "universities", "majors", "employers"))
"""How many different people of one name there are: pronouns times values of the five free attributes."""


@dataclasses.dataclass(frozen=True)
class Template:
    """A sentence about one attribute: subject + before + " " + value + after."""

    before: str
    after: str

    @classmethod
    def parse(cls, line: str) -> "Template":
        """The template of a line such as `{subject} was born on {value}.`"""
        before, after = line.removeprefix("{subject}").split("{value}")
        return cls(before.removesuffix(" "), after)


@dataclasses.dataclass(frozen=True)
class Words:
    """Every list that biographies are made of; `employer_cities[i]` is the city of `employers[i]`."""

    first_names: tuple[str, ...]
    middle_names: tuple[str, ...]
    last_names: tuple[str, ...]
    cities: tuple[str, ...]
    universities: tuple[str, ...]
    majors: tuple[str, ...]
    employers: tuple[str, ...]
    employer_cities: tuple[str, ...]
    templates: Mapping[str, tuple[Template, ...]]


@cache
def load_words(folder: str = "own") -> Words:
    """The shipped lists ("own"), or those in the folder at the path `folder`.

    Raises:
        InputError: a file is missing, has another number of entries than the mathematics needs (`SIZES`), or an entry
            that is none.
    """
    values = {name: _entries(folder, name, "values", size) for name, size in SIZES.items() if name != "employers"}
    pairs = [line.split("\t") for line in _entries(folder, "employers", "employers", SIZES["employers"])]
    found = Words(
        **values,
        employers=tuple(name for name, _ in pairs),
        employer_cities=tuple(city for _, city in pairs),
        templates={name: _templates(folder, f"templates_{name}") for name in ATTRIBUTES},
    )
    for name in SIZES:
        _require_distinct(folder, name, getattr(found, name))
    descriptions = math.factorial(len(ATTRIBUTES)) * math.prod(map(len, found.templates.values()))
    if descriptions > MOST_DESCRIPTIONS:
        raise InputError(f"words = {shown(folder)}: too many templates: they and orders make {descriptions} > 2^64")
    return found


def beginnings(words: Words) -> dict[str, str]:
    """By list, a value that another value of it begins with, in lists that have one."""
    found = {}
    for name in SIZES:
        # In sorted order, all values that start with one follow it.
        pairs = pairwise(sorted(getattr(words, name)))
        if begun := next((value for value, following in pairs if following.startswith(value)), None):
            found[name] = begun
    return found


def _entries(folder: str, name: str, kind: str, size: int | None = None) -> tuple[str, ...]:
    """The lines of a file, as many as `size` says, each as those of the kind are."""
    path = words_path(folder) / f"{name}.txt"
    try:
        lines = read_bytes(path).decode("ascii", "replace").splitlines()
    except InputError as error:
        wanted = f"must be own or a folder with {', '.join(FILES)}"
        raise InputError(f"words = {shown(folder)}: {wanted} ({error})") from None
    if len(lines) != (size or len(lines) or 1):
        where = f"words = {shown(folder)}: {path.name} has {len(lines)} lines"
        raise InputError(f"{where}: must have {size or 'one or more'}")
    pattern, says = ENTRIES[kind]
    for number, line in enumerate(lines, 1):
        if not pattern.fullmatch(line):
            where = f"words = {shown(folder)}: {path.name}, line {number}"
            raise InputError(f"{where}: must be {says}, in printable ASCII without underscores")
    return tuple(lines)


def _templates(folder: str, name: str) -> tuple[Template, ...]:
    lines = _entries(folder, name, "templates")
    _require_distinct(folder, name, lines)
    return tuple(map(Template.parse, lines))


def _require_distinct(folder: str, name: str, values: Sequence[str]) -> None:
    if twice := next((value for value, following in pairwise(sorted(values)) if value == following), None):
        raise InputError(f"words = {shown(folder)}: {name}.txt has {shown(twice)} twice: entries must differ")


def words_path(folder: str) -> Path:
    """Where lists are."""
    return FOLDER if folder == "own" else user_path(folder)
