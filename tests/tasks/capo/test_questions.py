"""Capo's questions: token for token their plain twin, about each person once, and nothing given away."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from canonlab.data.plain import Random
from canonlab.tasks.capo import Capo
from canonlab.tasks.capo.questions import ASKED, Questions, ask
from canonlab.tasks.capo.words import ATTRIBUTES, PRONOUNS, load_words
from laws import assert_uniform
from plain_capo import Keys, encode, plain_description, plain_permuted, plain_person, plain_text

WORDS = load_words()
COUNTS = [len(WORDS.templates[attribute]) for attribute in ATTRIBUTES]
ORDERS = list(permutations(range(6)))


def plain_questions(task: Capo, key: int, place: int) -> list[tuple[str, str, str]]:
    """Name, text up to the answer, and answer of each question to one person of the sample."""
    asked = Keys(key, 0, 1)
    index = plain_permuted(place, task.N, asked.rounds)
    person = plain_person(key, index)
    own = plain_description(task, Random(asked.below, index, 0), Keys(key, 0, 0).below, index)
    order, *templates = own.digits([720, *COUNTS])
    name = " ".join([WORDS.first_names[person[0]], WORDS.middle_names[person[1]], WORDS.last_names[person[2]]])
    questions = []
    for attribute in range(5):
        template = WORDS.templates[ATTRIBUTES[attribute]][templates[attribute]]
        sentence = plain_text(WORDS, person, [attribute], templates)
        value = sentence.removeprefix(name + template.before).removesuffix(template.after)
        questions.append((name, name + template.before, value))
    sentence = plain_text(WORDS, person, ORDERS[order if task.permute else 0][:1], templates)
    return [*questions, (name, sentence, f" {PRONOUNS[person[3]]}")]


def texts(task: Capo, questions: Questions, i: int) -> list[tuple[str, str]]:
    """Prompt and answer of each question to person i, without the <eos>."""
    rows = zip(questions.tokens[i], questions.start[i], questions.stop[i], strict=True)
    return [(task.pieces.decode(row[1:start]), task.pieces.decode(row[start:stop])) for row, start, stop in rows]


@pytest.mark.parametrize("variety", [{}, {"simple": True}, {"paraphrases": 3}, {"permute": False}], ids=str)
def test_questions_are_those_of_the_plain_twin(variety: dict[str, Any]) -> None:
    task = Capo(N=60, **variety)
    for seed, first, count in ((0, 0, 60), (5, 57, 3), (5, 0, 20), (7, 31, 1)):
        key = task.stream_key(seed)
        found = ask(key, task.law, first, count)
        assert found.tokens.shape == (count, 6, found.stop.max()) and found.tokens.dtype == np.int32
        for i in range(count):
            for q, (name, prompt, answer) in enumerate(plain_questions(task, key, first + i)):
                row = [0, *encode("own", prompt + answer)]
                assert found.tokens[i, q].tolist() == row + [0] * (found.tokens.shape[2] - len(row))
                assert found.name[i] == 1 + len(encode("own", name))
                assert row[found.start[i, q] : found.stop[i, q]] == encode("own", answer)
                assert found.stop[i, q] == len(row)


@pytest.mark.parametrize("N", [1, 7, 100, 300])
def test_a_sample_of_all_has_each_person_once(N: int) -> None:
    task = Capo(N=N)
    found = ask(task.stream_key(1), task.law, 0, N)
    names = [task.pieces.decode(row[1:end]) for row, end in zip(found.tokens[:, 0], found.name, strict=True)]
    people = task.people(1, np.arange(N))[:, :3].tolist()
    known = [f"{WORDS.first_names[f]} {WORDS.middle_names[m]} {WORDS.last_names[l]}" for f, m, l in people]
    assert sorted(names) == sorted(known)
    if N > 7:
        assert names != known, "in an order of their own"


def test_none_of_the_people_asked() -> None:
    task = Capo(N=9)
    found = ask(task.stream_key(1), task.law, 3, 0)
    assert found.tokens.shape[:2] == (0, 6) and len(found.name) == 0


def test_simple_people_are_described_as_in_their_biographies() -> None:
    task = Capo(N=50, simple=True)
    found = ask(task.stream_key(2), task.law, 0, 50)
    shown = task.pieces.decode(task.windows(2, 0, task.windows_per_exposure).tokens.reshape(-1))
    for i in range(50):
        prompt, answer = texts(task, found, i)[5]
        assert f"<eos>{prompt}{answer}" in shown
        assert all(answer in shown and prompt.split(" ", 3)[3] in shown for prompt, answer in texts(task, found, i))


def test_people_are_described_as_in_one_of_their_biographies() -> None:
    """With each attribute's template from one that is theirs, the pronoun's sentence from the beginning of one."""
    task = Capo(N=20, paraphrases=2)
    found = ask(task.stream_key(2), task.law, 0, 20)
    shown = task.pieces.decode(task.windows(2, 0, 30 * task.windows_per_exposure).tokens.reshape(-1))
    for i in range(20):
        prompt, answer = texts(task, found, i)[5]
        assert f"<eos>{prompt}{answer}" in shown
        assert all(prompt.split(" ", 3)[3] + answer in shown for prompt, answer in texts(task, found, i))


def test_nothing_else_is_given_away() -> None:
    """A prompt has the name and words of a template; a value only in the sentence before the pronoun."""
    task = Capo(N=500)
    found = ask(task.stream_key(3), task.law, 0, 500)
    templates = [WORDS.templates[attribute] for attribute in ATTRIBUTES]
    city = {f" {employer}": f" {city}" for employer, city in zip(WORDS.employers, WORDS.employer_cities, strict=True)}
    first_sentences = np.zeros(6, np.int64)
    for i in range(500):
        rows = texts(task, found, i)
        name = task.pieces.decode(found.tokens[i, 0, 1 : found.name[i]])
        for q, (prompt, _) in enumerate(rows[:5]):
            assert prompt.removeprefix(name) in {template.before for template in templates[q]}, ASKED[q]
        values = [*(answer for _, answer in rows[:5]), city[rows[4][1]]]
        sentences = [
            [t.before + value + t.after for t in group] for group, value in zip(templates, values, strict=True)
        ]
        [about] = [a for a in range(6) if rows[5][0].removeprefix(name) in sentences[a]]
        first_sentences[about] += 1
    assert_uniform(first_sentences.tolist())
