"""What the evaluation asks: beginnings of biographies, and what only those who know the person can write next.

    <eos> First Middle Last + before       -> the value       (birth date, birth city, university, major, employer)
    <eos> First Middle Last + sentence     -> the pronoun     (the subject of the second sentence)

`before` is what a template of the attribute has in front of the value: the prompt is the beginning of a first sentence,
and no other attribute is given, as it might tell (the employer's city tells the employer). A pronoun needs a sentence
before it, which has its true value; that tells nothing, as pronouns are independent of all else.

The templates, and the sentence before the pronoun, are those of a biography of the person: the person's only one in
bioS-simple, else one that is drawn for these questions as an exposure draws it. So a sentence in front of the pronoun
is about any of the six attributes, equally likely.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from canonlab.data.jit import kernel
from canonlab.data.random import stream, word
from canonlab.tasks.capo.kernels import BIRTH_DATE, PIECES, SENTENCES, Law, write_plan
from canonlab.tasks.capo.people import COLUMNS, PRONOUN, people_keys, write_person
from canonlab.tasks.capo.permutation import permuted, round_keys
from canonlab.tasks.capo.pieces import BEFORE, EOS, Kind
from canonlab.tasks.capo.words import ATTRIBUTES

QUESTIONS = (*ATTRIBUTES[:-1], "pronoun")
"""What is asked about each person: all but the employer's city, which the employer determines."""

ASKED = len(QUESTIONS)


class Prompts(NamedTuple):
    """Question q of draw d about person i, with its right answer, is row (i draws + d) ASKED + q of these arrays.

    tokens (rows, width) int32: <eos>, name, the rest of the prompt, the answer, then <eos> up to the width. The name
    ends before position `name_end` (rows,), and the answer is tokens[answer : end].
    """

    tokens: NDArray[np.int32]
    name_end: NDArray[np.int64]
    answer: NDArray[np.int64]
    end: NDArray[np.int64]


def sample(key: int, people: int, count: int) -> NDArray[np.int64]:
    """The first `count` of the people 0 .. `people` - 1 in an order that the stream `key` determines: int64 (count,)."""
    out = np.empty(count, np.int64)
    _write_sample(out, np.uint64(key), people)
    return out


def ask(key: int, law: Law, indices: NDArray[np.int64], draws: int = 1) -> Prompts:
    """All questions about the people `indices` (n,) of the stream `key`, in `draws` draws of the biography.

    A draw is the same whatever the number of draws and the other people asked. Releases the GIL.
    """
    rows = len(indices) * draws * ASKED
    tokens = np.full((rows, width(law)), EOS, np.int32)
    spans = np.empty((3, rows), np.int64)
    _write_prompts(tokens, spans, np.uint64(key), np.ascontiguousarray(indices, np.int64), draws, law)
    return Prompts(tokens, *spans)


def width(law: Law) -> int:
    """A length that no prompt with its answer exceeds."""
    return law.longest


# Stream (0, 1) below the stream of the task (see `canonlab.tasks.capo.kernels`) is the one of the questions: the key of
# the biographies, below which (draw 2^32 + person, 0) is one, and the order in which people are asked.


@kernel
def _write_sample(out: np.ndarray, key: np.uint64, people: int) -> None:
    rng = stream(key, 0, 1)
    word(rng)
    order = round_keys(rng)
    for i in range(len(out)):
        out[i] = permuted(i, people, order)


@kernel
def _write_prompts(
    tokens: np.ndarray, spans: np.ndarray, key: np.uint64, indices: np.ndarray, draws: int, law: Law
) -> None:
    values_key, name_keys = people_keys(key)
    draws_key = word(stream(key, 0, 1))
    person = np.empty(COLUMNS, np.int64)
    plan = np.empty(PIECES, np.int64)
    row = 0
    for index in indices:
        write_person(person, index, values_key, name_keys, law.redraw_person)
        for draw in range(draws):
            rng = stream(values_key, index, 1) if law.simple else stream(draws_key, (draw << 32) + index, 0)
            write_plan(plan, person, rng, law)
            _write_questions(tokens[row : row + ASKED], spans[:, row : row + ASKED], plan, law)
            row += ASKED


@kernel
def _write_questions(tokens: np.ndarray, spans: np.ndarray, plan: np.ndarray, law: Law) -> None:
    """The questions that a biography with these pieces gives rise to: a row of `tokens`, a column of `spans`, each."""
    sentence = 3
    for place in range(SENTENCES):
        attribute = np.searchsorted(law.base, plan[sentence], side="right") - 1 - BEFORE
        value = sentence + 1
        after = value + (4 if attribute == BIRTH_DATE else 1)
        if attribute < ASKED - 1:
            _write_question(tokens[attribute], spans[:, attribute], plan, sentence, value, value, after, law)
        if place == 0:
            _write_question(tokens[ASKED - 1], spans[:, ASKED - 1], plan, sentence, after + 1, after + 1, after + 2, law)
        sentence = after + 2  # past what follows the value, and the next pronoun


@kernel
def _write_question(
    tokens: np.ndarray, span: np.ndarray, plan: np.ndarray, begin: int, end: int, answer: int, stop: int, law: Law
) -> None:
    """Write <eos>, the name, and the pieces plan[begin:end]; then those of the answer, plan[answer:stop]."""
    position = _write_pieces(tokens, 1, plan[:3], law)
    span[0] = position
    position = _write_pieces(tokens, position, plan[begin:end], law)
    span[1] = position
    span[2] = _write_pieces(tokens, position, plan[answer:stop], law)


@kernel
def _write_pieces(out: np.ndarray, position: int, pieces: np.ndarray, law: Law) -> np.int64:
    """Write the tokens of pieces to `out[position:]`; returns where they end."""
    for piece in pieces:
        for source in range(law.start[piece], law.start[piece + 1]):
            out[position] = law.tokens[source]
            position += 1
    return np.int64(position)
