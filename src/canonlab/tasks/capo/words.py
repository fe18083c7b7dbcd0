"""Capo's word lists: the names, the attributes' values and the sentence templates, as shipped in `words/`.

The text of a biography is six sentences joined by one space, one per attribute. A sentence is its subject, the
template's `before`, a space, the value and the template's `after`; the first subject is "First Middle Last", the
others are the person's pronoun. Values of a list are no prefixes of each other, so they are prefix-free as tokens too.
"""

import dataclasses
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path

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
def load_words() -> Words:
    """The shipped lists."""
    pairs = [line.split("\t") for line in _lines("employers")]
    plain = {name: _lines(name) for name in SIZES if name != "employers"}
    return Words(
        **plain,
        employers=tuple(name for name, _ in pairs),
        employer_cities=tuple(city for _, city in pairs),
        templates={name: tuple(map(Template.parse, _lines(f"templates_{name}"))) for name in ATTRIBUTES},
    )


def _lines(name: str) -> tuple[str, ...]:
    return tuple((FOLDER / f"{name}.txt").read_text("ascii").splitlines())
