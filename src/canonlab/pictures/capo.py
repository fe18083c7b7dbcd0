"""Capo's biography, token by token, with what the evaluation asks about the person below it."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from canonlab.pictures.svg import ADVANCE, AMBER, BLUE, FAINT, INK, PINK, SKY, SOFT, WHITE, Canvas
from canonlab.tasks.base import Example
from canonlab.tasks.capo import Capo
from canonlab.tasks.capo.bits import KINDS
from canonlab.tasks.capo.pieces import EOS
from canonlab.tasks.capo.questions import ASKED
from canonlab.tasks.capo.score import Fact, Reader
from canonlab.tasks.capo.words import ATTRIBUTES, N0
from canonlab.tasks.prompts import instances

WIDE, LABEL, BITS, ASKS = 1010.0, 136.0, 188.0, 206.0
SIZE, HIGH, ROW, GAP = 14, 22, 28, 9

TINTS = dict(zip(ATTRIBUTES, (AMBER, SKY, "#5fc9a8", PINK, "#f0a878", "#b9c4cc"), strict=True))
TINTS |= {"name": BLUE, "pronoun": "#f0e442"}
"""Okabe and Ito's colours, light enough for dark text, but the name's."""

Tints = dict[int, str]
"""The attribute that a token belongs to, by position."""


class Asked(NamedTuple):
    """What is asked, the positions of the prompt's tokens, and those of the answer's."""

    what: str
    prompt: list[int]
    answer: range


def questions(task: Capo, window: list[int]) -> list[Example]:
    """The biographies of a window that are whole."""
    return [Example(one[:1], one[1:]) for one in instances(window, EOS) if _facts(task, one)]


def draw(task: Capo, question: Example) -> Canvas:
    """A box a token, the name's and the values' in colours; below, in the same colours, prompts and their answers."""
    ids = [*question.prompt, *question.answer]
    facts = _facts(task, ids)
    names = [task.pieces.names[i] for i in ids]
    tints = _tints(facts)
    templates = "these templates" if task.simple else "templates that it draws"
    canvas = Canvas(WIDE, 0, f"{len(ids)} tokens; the evaluation asks for the coloured ones, with {templates}")
    y = _flow(canvas, names, range(len(ids)), tints, 0, 0) + 2 * GAP
    canvas.text(BITS, y, "bits", SIZE, SOFT, "end")
    canvas.text(ASKS, y, "asked, each by itself", SIZE, SOFT, "start")
    y += 2 * GAP
    bits = dict(zip(ASKED, map(math.log2, KINDS), strict=True)) | {"name": math.log2(N0 / task.N)}
    for what, prompt, answer in asked(facts):
        _label(canvas, what, bits[what], y)
        y = _flow(canvas, names, [*prompt, *answer], dict.fromkeys(answer, what), ASKS, y) + GAP
    _label(canvas, "employer_city", 0, y)
    canvas.text(ASKS, y + HIGH / 2, "not asked: it follows from the employer", SIZE, SOFT, "start")
    canvas.height = y + HIGH
    return canvas


def _label(canvas: Canvas, what: str, bits: float, y: float) -> None:
    """What a row is about, and how many bits those have who know it."""
    canvas.box(0, y, LABEL, HIGH, TINTS[what], "none")
    canvas.text(8, y + HIGH / 2, what.replace("_", " "), SIZE, _ink(what), "start")
    canvas.text(BITS, y + HIGH / 2, f"{bits:.1f}", SIZE, INK, "end")


def asked(facts: Sequence[Fact]) -> Iterator[Asked]:
    """The name, then the questions of `canonlab.tasks.capo.questions`, with the templates of this biography."""
    name = range(1, facts[0].before)
    yield Asked("name", [0], name)
    about = {ATTRIBUTES[fact.attribute]: fact for fact in facts}
    for what in ASKED:
        if fact := about.get(what):
            yield Asked(what, [0, *name, *range(fact.before, fact.begin)], range(fact.begin, fact.end))
        else:
            second = facts[1]
            yield Asked(what, list(range(second.subject)), range(second.subject, second.before))


def _facts(task: Capo, ids: list[int]) -> list[Fact]:
    """The six facts of a whole biography, in its order; none for anything else."""
    whole = (facts for facts in Reader(task.pieces, ids).readings() if len(facts) == len(ATTRIBUTES))
    return next((facts for facts in whole if facts[-1].value is not None), [])


def _tints(facts: Sequence[Fact]) -> Tints:
    tints: Tints = {}
    for place, fact in enumerate(facts):
        tints |= dict.fromkeys(range(fact.subject, fact.before), "pronoun" if place else "name")
        tints |= dict.fromkeys(range(fact.begin, fact.end), ATTRIBUTES[fact.attribute])
    return tints


def _flow(canvas: Canvas, names: list[str], at: Sequence[int], tints: Tints, left: float, y: float) -> float:
    """Draw the tokens at some positions, as wide as their text with its space, from (left, y) on; returns the bottom.

    Lines break where a word begins.
    """
    letter, x = ADVANCE * SIZE, left
    starts = [i for i, position in enumerate(at) if i == 0 or names[position].startswith("_")]
    for start, stop in zip(starts, [*starts[1:], len(at)], strict=True):
        if x + letter * sum(len(names[position]) for position in at[start:stop]) > WIDE:
            x, y = left, y + ROW
        for position in at[start:stop]:
            text, tint = names[position], tints.get(position)
            wide, space = letter * len(text), letter * text.startswith("_")
            fill, stroke = (TINTS[tint], WHITE) if tint else (WHITE, FAINT)
            canvas.box(x, y, wide, HIGH, fill, stroke, 3)
            colour = _ink(tint) if tint else SOFT if position == 0 else INK
            canvas.text(x + (wide + space) / 2, y + HIGH / 2, text.removeprefix("_"), SIZE, colour, bold=bool(tint))
            x += wide
    return y + HIGH


def _ink(what: str) -> str:
    return WHITE if what == "name" else INK
