"""What the evaluation asks: prompts that name a person, and the answers that show what a model knows of the person.

A prompt is a beginning of a biography, as the stream has it:

    <eos> First Middle Last + before          -> the value        (birth date, birth city, university, major, employer)
    <eos> First Middle Last + sentence        -> the pronoun      (that opens the second sentence)

`before` is what the attribute's template has in front of the value; nothing else of the biography is given, as it might
tell (the employer's city tells the employer). The pronoun's prompt cannot do without a sentence: it has its true value,
which tells nothing that the name doesn't, since pronouns are drawn independently of everything else.

The templates are drawn for every person, and so is the attribute of the pronoun's sentence, the first of a biography.
Where people have descriptions of their own, they are those of one of them.
"""

import numpy as np

from canonlab.data.jit import kernel
from canonlab.data.random import Int, permuted, round_keys, stream, word
from canonlab.tasks.capo.kernels import ORDERS, SENTENCES, VALUE, CapoLaw, description, write_templates, write_value
from canonlab.tasks.capo.people import COLUMNS, FIRST, LAST, MIDDLE, PRONOUN, people_keys, write_person
from canonlab.tasks.capo.pieces import AFTER, BEFORE, EOS, Kind
from canonlab.tasks.capo.words import ATTRIBUTES
from canonlab.tasks.knowledge import Questions

ASKED = (*ATTRIBUTES[:5], "pronoun")
"""The questions about a person. The employer's city is not among them, since it follows from the employer."""

QUESTIONS = len(ASKED)
ASK = 1
"""The split of the stream (0, ASK), from which the sample and the templates are drawn; (0, 0) are the people."""


def ask(key: int, law: CapoLaw, first: int, count: int) -> Questions:
    """The questions to people first .. first + count - 1 of the sample, a keyed permutation of all, in ASKED's order.

    Args:
        key: of the task's stream.
        law: the task's.
        first, count: within 0 .. N.
    """
    tokens = np.zeros((count, QUESTIONS, law.longest), np.int32)
    name = np.empty(count, np.int64)
    start, stop = np.empty((2, count, QUESTIONS), np.int64)
    _ask(tokens, name, start, stop, np.uint64(key), first, law)
    return Questions(tokens[..., : stop.max(initial=1)], name, start, stop)


@kernel
def _write(row: np.ndarray, position: Int, piece: Int, law: CapoLaw) -> np.int64:
    """Write the tokens of a piece to `row[position:]`; returns where the next go."""
    for source in range(law.start[piece], law.start[piece + 1]):
        row[position] = law.tokens[source]
        position += 1
    return np.int64(position)


@kernel
def _ask(
    tokens: np.ndarray,
    name: np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
    key: np.uint64,
    first: Int,
    law: CapoLaw,
) -> None:
    values_key, name_keys = people_keys(key)
    rng = stream(key, 0, ASK)
    templates_key = word(rng)
    sample_keys = round_keys(rng)
    person, templates = np.empty(COLUMNS, np.int64), np.empty(SENTENCES, np.int64)
    value = np.empty(VALUE, np.int64)
    for i in range(len(tokens)):
        index = permuted(first + i, law.people, sample_keys)
        write_person(person, index, values_key, name_keys, law.redraw_person)
        own = description(stream(templates_key, index, 0), values_key, index, law)
        order = write_templates(templates, own, law)
        for question in range(QUESTIONS):
            row = tokens[i, question]
            row[0] = EOS
            position = _write(row, 1, law.base[Kind.FIRST] + person[FIRST], law)
            position = _write(row, position, law.base[Kind.MIDDLE] + person[MIDDLE], law)
            position = _write(row, position, law.base[Kind.LAST] + person[LAST], law)
            name[i] = position
            attribute = question if question < SENTENCES - 1 else ORDERS[order, 0]
            position = _write(row, position, law.base[BEFORE + attribute] + templates[attribute], law)
            start[i, question] = position
            for piece in value[: write_value(value, person, attribute, law)]:
                position = _write(row, position, piece, law)
            if question == QUESTIONS - 1:
                position = _write(row, position, law.base[AFTER + attribute] + templates[attribute], law)
                start[i, question] = position
                position = _write(row, position, law.base[Kind.PRONOUN] + person[PRONOUN], law)
            stop[i, question] = position
