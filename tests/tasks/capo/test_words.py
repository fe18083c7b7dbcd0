"""The word lists: their sizes, and what keeps them apart from each other."""

import re
import shutil
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest

from canonlab.errors import InputError
from canonlab.tasks.capo import Capo
from canonlab.tasks.capo.words import (
    ATTRIBUTES,
    DATES,
    DAYS,
    FILES,
    FOLDER,
    MONTHS,
    N0,
    PRONOUNS,
    S0,
    SIZES,
    YEARS,
    Template,
    load_words,
)

PERSONAL = re.compile(r"\b(s?he|him|his|hers?|they|their|theirs|them|it|its|\w+sel(f|ves)|\w+'s)\b", re.IGNORECASE)
"""A pronoun or a possessive: what a sentence must not say of its subject a second time."""


def prefixes(values: Iterable[str]) -> list[str]:
    """The values that others start with. In sorted order, all values that start with one follow it."""
    return [value for value, following in pairwise(sorted(values)) if following.startswith(value)]


def lines(attribute: str) -> list[str]:
    """The templates of an attribute as they are written."""
    return (FOLDER / f"templates_{attribute}.txt").read_text("ascii").splitlines()


def test_prefixes() -> None:
    assert prefixes(["b", "aa", "ab", "a"]) == ["a"]
    assert prefixes(["a", "b", "a"]) == ["a"], "the same twice"
    assert prefixes(["aa", "ab", "b"]) == []


def test_sizes_are_those_of_the_paper() -> None:
    words = load_words()
    sizes = [len(words.first_names), len(words.middle_names), len(words.last_names)]
    assert sizes == [400, 400, 1000]
    sizes = [len(words.cities), len(words.universities), len(words.majors), len(words.employers)]
    assert sizes == [200, 300, 100, 263]
    assert {name: len(getattr(words, name)) for name in SIZES} == SIZES
    assert [len(words.templates[attribute]) for attribute in ATTRIBUTES] == [50] * 6
    assert (len(MONTHS), len(DAYS), len(YEARS)) == (12, 28, 200) and DATES == 12 * 28 * 200
    assert N0 == 400 * 400 * 1000 and S0 == 2 * DATES * 200 * 300 * 100 * 263


@pytest.mark.parametrize("name", [*SIZES, "employer_cities"])
def test_values_are_clean(name: str) -> None:
    """ASCII, single inner spaces, and no underscore, which stands for a space in the names of tokens."""
    values = getattr(load_words(), name)
    assert [value for value in values if not re.fullmatch(r"[A-Za-z0-9&.,'-]+( [A-Za-z0-9&.,'-]+)*", value)] == []


@pytest.mark.parametrize("name", SIZES)
def test_no_value_is_the_beginning_of_another(name: str) -> None:
    assert prefixes(getattr(load_words(), name)) == []


def test_no_date_is_the_beginning_of_another() -> None:
    dates = [f"{month} {day}, {year}" for month in MONTHS for day in DAYS for year in YEARS]
    assert len(dates) == DATES and prefixes(dates) == []


def test_names_are_single_words() -> None:
    words = load_words()
    for names in (words.first_names, words.middle_names, words.last_names):
        assert [name for name in names if not re.fullmatch(r"[A-Z][A-Za-z]+", name)] == []


def test_employers_have_cities_of_the_list() -> None:
    words = load_words()
    assert len(words.employer_cities) == len(words.employers)
    assert set(words.employer_cities) <= set(words.cities)


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_templates(attribute: str) -> None:
    """The subject first, the value once, and nobody named a second time, so a template fits every person."""
    written = lines(attribute)
    assert len(set(written)) == len(written)
    for line in written:
        assert line.isascii() and "_" not in line and "  " not in line
        assert line.startswith("{subject} ") and line.count("{") == line.count("}") == 2, line
        assert line.count(" {value}") == 1 and line.endswith(".") and line.count(".") == 1, line
        assert PERSONAL.search(line) is None, line


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_templates_say_what_is_written(attribute: str) -> None:
    for line, template in zip(lines(attribute), load_words().templates[attribute], strict=True):
        for subject in ("Ada Lou Ray", *PRONOUNS):
            text = f"{subject}{template.before} 7{template.after}"
            assert text == line.replace("{subject}", subject).replace("{value}", "7")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with copies of the shipped lists."""
    return Path(shutil.copytree(FOLDER, tmp_path / "words"))


def test_own_lists(own: Path) -> None:
    """Other values, and other numbers of templates, are another task; the same ones elsewhere are not."""
    assert sorted(path.name for path in own.iterdir()) == sorted(FILES)
    mine = Capo(N=2048, words=str(own))
    assert load_words(str(own)) == load_words() and mine.identity == Capo(N=2048).identity and mine.warnings() == []
    majors = (own / "majors.txt").read_text().splitlines()
    (own / "majors.txt").write_text("\n".join(["Alchemy", "Alchemy of gold", *majors[2:]]))
    (own / "templates_major.txt").write_text("{subject} knows {value} well.\n{subject}'s field is {value}.\n")
    shutil.move(own, own.with_name("mine"))
    task = Capo(N=2048, words=str(own.with_name("mine")))
    assert task.identity["parameters"].keys() == {"N", "simple", "pieces"} and task.identity != mine.identity
    text = task.pieces.decode(task.windows(0, 0, task.windows_per_exposure).tokens.ravel().tolist())
    assert " well." in text and "'s field is" in text and task.law.templates.tolist() == [50, 50, 50, 2, 50, 50]
    (warning,) = task.warnings()
    assert warning.startswith("words: 'Alchemy' begins another of majors.txt: ")


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("cities", "Ur\n" * 199, "cities.txt has 199 lines: must have 200"),
        ("cities", "Ur\n" * 200, "cities.txt has 'Ur' twice: entries must differ"),
        (
            "cities",
            "Ur \n" * 200,
            "cities.txt, line 1: must be words with single spaces between them, in printable ASCII",
        ),
        ("cities", "K\u00f6ln\n" * 200, "cities.txt, line 1: must be words"),
        ("employers", "Acme\n" * 263, "employers.txt, line 1: must be an employer, a tab and its city"),
        ("templates_major", "", "templates_major.txt has 0 lines: must have one or more"),
        ("templates_major", "{value} is what {subject} likes.", "templates_major.txt, line 1: must be as {subject} "),
        (
            "templates_major",
            "{subject} likes {value}.\n" * 2,
            "templates_major.txt has '{subject} likes {value}.' twice",
        ),
    ],
)
def test_wrong_lists(own: Path, name: str, content: str, complaint: str) -> None:
    (own / f"{name}.txt").write_text(content, "utf-8")
    with pytest.raises(InputError, match=re.escape(complaint)) as caught:
        Capo(N=20, words=str(own))
    assert str(caught.value).startswith("words = ") and "\n" not in str(caught.value)


def test_missing_lists(own: Path) -> None:
    (own / "majors.txt").unlink()
    for folder in (own, own / "nowhere", own / "cities.txt"):
        with pytest.raises(InputError, match="^words = .*: must be own or a folder with first_names.txt, "):
            load_words(str(folder))


def test_too_many_templates(own: Path) -> None:
    for attribute in ATTRIBUTES:
        lines = "\n".join(f"{{subject}} has {number} of {{value}}." for number in range(600))
        (own / f"templates_{attribute}.txt").write_text(lines)
    with pytest.raises(InputError, match="too many templates"):
        load_words(str(own))


def test_parse() -> None:
    assert Template.parse("{subject} was {value}.") == Template(" was", ".")
    assert Template.parse("{subject} was {value} at home.") == Template(" was", " at home.")


@pytest.mark.parametrize(
    "text", ["He was his own man.", "in her youth", "as she said", "they", "THEIR", "himself", "the city's"]
)
def test_a_second_mention_is_seen(text: str) -> None:
    assert PERSONAL.search(text) and not PERSONAL.search(
        "the theory of heat, hence shells, in the history of Sheffield"
    )
