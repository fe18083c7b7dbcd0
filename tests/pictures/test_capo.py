"""Capo's picture: every token of a biography in its place, what is known of the person in colour, and the questions."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from canonlab.pictures import picture
from canonlab.pictures.capo import ASKS, BITS, TINTS, WIDE, questions
from canonlab.tasks.base import SPLITS
from canonlab.tasks.capo import Capo
from canonlab.tasks.capo.words import ATTRIBUTES, MONTHS, N0, PRONOUNS, S0, load_words

TASK = Capo(N=300, context=1024)
WORDS = load_words()
VALUES = {
    "birth_city": WORDS.cities,
    "university": WORDS.universities,
    "major": WORDS.majors,
    "employer": WORDS.employers,
    "employer_city": WORDS.employer_cities,
    "pronoun": PRONOUNS,
}
LABELS = ("name", *ATTRIBUTES[:5], "pronoun", "employer_city")
WHAT = {tint: what for what, tint in TINTS.items()}
assert len(WHAT) == 8, "each has a colour of its own"

Row = list[tuple[str, str]]
"""Texts of boxes, with their fills."""


def rows(drawn: Any) -> list[Row]:
    """The boxes of a picture in their order, cut before each <eos>; a label ends the row before it."""
    boxes, words = drawn.shapes("rect"), drawn.words()
    cut: list[Row] = []
    for box in boxes:
        left, top, wide = (float(box.get(key)) for key in ("x", "y", "width"))
        [text] = [word.text for word in words if left <= word.x < left + wide and 0 < word.y - top < 22]
        if text == "<eos>" or (wide > 130 and left == 0):
            cut.append([])
        cut[-1].append((text, box.get("fill")))
    return cut


def coloured(row: Row) -> list[tuple[str, list[str]]]:
    """What a row has in colour: stretches of one colour, and their tokens."""
    found: list[tuple[str, list[str]]] = []
    before = "#ffffff"
    for text, fill in row:
        if fill in WHAT:
            if fill != before:
                found.append((WHAT[fill], []))
            found[-1][1].append(text)
        before = fill
    return found


def is_value(what: str, tokens: list[str]) -> bool:
    """Whether the tokens are a name or value in the lists, spaces apart."""

    def bare(text: str) -> str:
        return text.replace(" ", "")

    text = "".join(tokens)
    if what == "name":
        return any(
            text == bare(f + m + last)
            for f in WORDS.first_names
            if text.startswith(f)
            for last in WORDS.last_names
            if text.endswith(last)
            for m in WORDS.middle_names
        )
    if what == "birth_date":
        return any(text.startswith(month) for month in MONTHS) and 1900 <= int(text.partition(",")[2]) < 2100
    return text in map(bare, VALUES[what])


@pytest.mark.parametrize("index", range(4))
def test_what_is_coloured(index: int, read: Callable[[str], Any]) -> None:
    found = questions(TASK, TASK.windows(0, index, 1).tokens[0].tolist())
    assert len(found) > 8
    orders = set()
    for query, (prompt, answer) in enumerate(found):
        text, *below = rows(read(picture(TASK, 0, index, query=query)))
        tokens = [name.removeprefix("_") for name in TASK.vocabulary.names([*prompt, *answer])]
        assert [token for token, _ in text] == tokens
        marked = coloured(text)
        assert all(is_value(*part) for part in marked)
        assert [what for what, _ in marked[::2]] == ["name"] + 5 * ["pronoun"]
        assert sorted(what for what, _ in marked[1::2]) == sorted(ATTRIBUTES)
        orders.add(tuple(what for what, _ in marked))
        labels, asked = below[::2], below[1::2]
        assert [label for [(label, _)] in labels] == [what.replace("_", " ") for what in LABELS]
        assert [WHAT[fill] for [(_, fill)] in labels] == list(LABELS)
        stated = dict(marked)
        for what, row in zip(LABELS[:-1], asked, strict=True):
            assert coloured(row) == [(what, stated[what])] and row[-1][1] == TINTS[what], "the answer ends the row"
            assert what == "name" or [token for token, _ in row[1:]][: len(stated["name"])] == stated["name"]
    assert len(orders) > 5, "also where the employer comes after its city"


def test_bits_of_all_that_is_asked(read: Callable[[str], Any]) -> None:
    title, *bits = (word.text for word in read(picture(TASK)).words() if word.x == BITS)
    assert title == "bits" and len(bits) == 8 and bits[-1] == "0.0"
    assert sum(map(float, bits)) == pytest.approx(math.log2(N0 / 300) + math.log2(S0), abs=0.4)


@pytest.mark.parametrize("split", SPLITS)
def test_boxes_lie_side_by_side(split: Any, read: Callable[[str], Any]) -> None:
    for query in range(6):
        boxes = read(picture(TASK, 1, 1, split, query)).shapes("rect")
        places = [tuple(float(box.get(key)) for key in ("x", "y", "width")) for box in boxes]
        assert max(x + wide for x, _, wide in places) <= WIDE
        for (x, y, wide), (next_x, next_y, _) in pairwise(places):
            assert next_x in (0, ASKS) if next_y > y else abs(next_x - x - wide) < 0.02 or next_x == ASKS
            assert next_y == y or next_y - y >= 25


def test_a_biography_that_the_window_cuts_is_not_drawn() -> None:
    window = TASK.windows(0, 1, 1).tokens[0].tolist()
    starts = [i for i, token in enumerate(window) if token == 0]
    whole = questions(TASK, window)
    assert [[*prompt, *answer] for prompt, answer in whole] == [window[a:b] for a, b in pairwise(starts)]
    assert len(questions(TASK, window[: starts[3]])) == 3, "one that the window's end follows is whole"
    assert len(questions(TASK, window[: starts[3] - 1])) == 2 and questions(TASK, [0, 0, 0]) == []
