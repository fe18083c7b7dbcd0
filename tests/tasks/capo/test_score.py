"""Reading biographies, and judging the city of an employer that a prompt names."""

import numpy as np
import pytest

from canonlab.errors import InputError
from canonlab.tasks.base import SPLITS
from canonlab.tasks.capo import Capo
from canonlab.tasks.capo.lengths import mean
from canonlab.tasks.capo.people import EMPLOYER
from canonlab.tasks.capo.score import Reader
from canonlab.tasks.capo.words import PRONOUNS, load_words
from plain_capo import encode, plain_block, plain_text

TASK = Capo(N=100)
WORDS = load_words()
PERSON = [0, 1, 2, 1, 4, 6, 30, 5, 7, 9, 11]


def ids(text: str) -> list[int]:
    return [0, *encode("own", text)]


def prompt(order: list[int], sentences: int) -> list[int]:
    """The first sentences of a biography, the last of them cut before its value."""
    text = plain_text(WORDS, PERSON, order[:sentences], [3] * 6)
    template = WORDS.templates["employer_city"][3]
    return ids(text.removesuffix(f" {WORDS.employer_cities[11]}{template.after}"))


CITY = encode("own", f" {WORDS.employer_cities[11]}")
OTHER_CITY = encode("own", f" {next(city for city in WORDS.cities if city != WORDS.employer_cities[11])}")


def test_right_and_wrong_answers() -> None:
    known = TASK.vocabulary.decode(CITY)
    question = prompt([0, 4, 2, 5, 1, 3], 4)
    assert TASK.score(question, CITY) == (True, f"the employer's city is {known!r}")
    assert TASK.score(question, np.array(CITY)).right
    assert TASK.score(question, []) == (False, f"empty answer: the employer's city is {known!r}")
    assert TASK.score(question, [*CITY, 0]).why.startswith("trailing tokens in ")
    for wrong in (CITY[:-1], [0, *CITY], [*CITY[:-1], 0], [99999], OTHER_CITY):
        assert not TASK.score(question, wrong).right


def test_examples_are_the_city_questions_of_a_window() -> None:
    """All biographies that lie whole in a window and have the employer before its city: about half of them."""
    task, found = Capo(N=1000, context=1024), 0
    people = task.people(0, np.arange(1000))[:, EMPLOYER]
    for split in SPLITS:
        for tokens in task.windows(0, 0, 40, split).tokens:
            for example in task.examples(tokens.tolist()):
                text = task.pieces.decode(example.answer).strip()
                assert text in {WORDS.employer_cities[employer] for employer in people}
                assert task.score(*example).right
                found += 1
    whole = 2 * 40 * 1024 / mean(task.lengths)
    assert 0.35 * whole < found < 0.5 * whole


def test_readings_are_what_was_written() -> None:
    for text in plain_block(TASK, 1, 0, "train", 0):
        readings = list(Reader(TASK.pieces, ids(text)).readings())
        facts = readings[0]
        assert len({tuple((fact.attribute, fact.begin, fact.end) for fact in reading) for reading in readings}) == 1
        assert {fact.attribute for fact in facts} == set(range(6))
        for fact in facts:
            value = TASK.pieces.decode(ids(text)[fact.begin : fact.end])
            assert value in text and fact.begin < fact.end
            if fact.attribute == 3:
                assert value == f" {WORDS.majors[fact.value]}"


DEPENDS = "prompt: must name the employer and end before the employer's city"


@pytest.mark.parametrize(
    ("question", "complaint"),
    [
        ([], r"prompt\[0\]: no biography goes on like this"),
        ([0], r"prompt\[1\]: no biography goes on like this; it begins with <eos> and a name"),
        ([0, *encode("own", f" {PRONOUNS[0]}")], r"prompt\[1\]: no biography"),
        (prompt([0, 4, 2, 5, 1, 3], 4)[1:], r"prompt\[0\]: no biography"),
        (prompt([0, 4, 2, 5, 1, 3], 4)[:-1], r"prompt\[\d+\]: no biography"),
        ([*prompt([0, 4, 2, 5, 1, 3], 4), CITY[0]], r"prompt\[\d+\]: no biography"),
        (prompt([0, 1, 2, 5, 4, 3], 4), DEPENDS),
        (prompt([0, 4, 2, 1, 5, 3], 4), DEPENDS),
        ([*prompt([4, 5], 2), *CITY, *encode("own", WORDS.templates["employer_city"][3].after)], DEPENDS),
        (ids(" ".join([WORDS.first_names[0], WORDS.middle_names[0], WORDS.last_names[0]])), DEPENDS),
        ([0, 99999], r"prompt\[1\] = 99999: must be a token id from 0 to"),
    ],
)
def test_other_prompts(question: list[int], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        TASK.score(question, CITY)
    assert "\n" not in str(caught.value)
