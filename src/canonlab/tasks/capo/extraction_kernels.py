"""The generator of questions about Capo's people, so many to a window.

A question is

    <eos> before , First Middle Last , value

of one attribute: `before` is what its first template has in front of the value. Behind a comma the tokens of a name are
those that it has behind <eos>, where biographies have it, so no token is new to a model that has read these.

The people are those of the stream `people_key`. Streams below the task's own `key`, as (index, split) of
`canonlab.data.random.stream`: (0, 0) a permutation of the people, of which the first `trained` are asked about in the
split train, the others in the split eval; (1 + exposure, split) the order of that half's questions in an exposure.
"""

from typing import NamedTuple

import numpy as np

from canonlab.data.jit import kernel
from canonlab.data.random import Int, permuted, round_keys, stream
from canonlab.tasks.capo.kernels import SENTENCES, VALUE, CapoLaw, tokens_in, write_biography, write_value
from canonlab.tasks.capo.people import COLUMNS, FIRST, LAST, MIDDLE, people_keys, write_person
from canonlab.tasks.capo.pieces import BEFORE, EOS, Kind

FORM = 6
"""The pieces of a question before the value."""

PERSON, ATTRIBUTE, BEGIN, END = range(4)
"""The columns of a question: who is asked about, what, and the tokens of the window that are the value."""


class QuestionLaw(NamedTuple):
    """What the people and the pieces are drawn from, how many people are asked about in training, and the questions of
    a window."""

    capo: CapoLaw
    trained: int
    per_window: int


def windows_of(people: int, per_window: int) -> int:
    """The windows that ask everything about that many people."""
    return -(-people * SENTENCES // per_window)


@kernel
def write_question(plan: np.ndarray, person: np.ndarray, attribute: Int, law: QuestionLaw) -> Int:
    """Write the pieces of a question to `plan` (FORM + VALUE,); returns how many they are."""
    base = law.capo.base
    plan[0] = base[BEFORE + attribute]
    plan[1] = plan[5] = base[Kind.COMMA]
    plan[2] = base[Kind.FIRST] + person[FIRST]
    plan[3] = base[Kind.MIDDLE] + person[MIDDLE]
    plan[4] = base[Kind.LAST] + person[LAST]
    return FORM + write_value(plan[FORM:], person, attribute, law.capo)


@kernel
def fill(
    tokens: np.ndarray,
    mask: np.ndarray,
    asked: np.ndarray,
    key: np.uint64,
    people_key: np.uint64,
    start: Int,
    split: Int,
    law: QuestionLaw,
) -> None:
    """Write windows start, start + 1, ... to the rows of `tokens` (int32) and `mask` (uint8), both (count, context).

    `asked` (count, per_window, 4) says what stands there, with -1 where an exposure's last window has fewer questions.
    """
    values_key, name_keys = people_keys(people_key)
    half_keys = round_keys(stream(key, 0, 0))
    first: Int = law.trained if split else 0
    questions = (law.capo.people - law.trained if split else law.trained) * SENTENCES
    windows = (questions + law.per_window - 1) // law.per_window
    person, plan = np.empty(COLUMNS, np.int64), np.empty(FORM + VALUE, np.int64)
    tokens[:] = EOS
    mask[:] = 0
    asked[:] = -1
    for row in range(len(tokens)):
        exposure = (start + row) // windows
        order_keys = round_keys(stream(key, 1 + exposure, split))
        slot = (start + row - exposure * windows) * law.per_window
        position: Int = 0
        for place in range(min(law.per_window, questions - slot)):
            question = permuted(slot + place, questions, order_keys)
            attribute = question % SENTENCES
            index = permuted(first + question // SENTENCES, law.capo.people, half_keys)
            write_person(person, index, values_key, name_keys, law.capo.redraw_person)
            pieces = write_question(plan, person, attribute, law)
            write_biography(tokens[row], position, plan[:pieces], law.capo)
            begin = position + 1 + tokens_in(plan[:FORM], law.capo)
            position = begin + tokens_in(plan[FORM:pieces], law.capo)
            mask[row, begin:position] = 1
            asked[row, place, PERSON], asked[row, place, ATTRIBUTE] = index, attribute
            asked[row, place, BEGIN], asked[row, place, END] = begin, position
