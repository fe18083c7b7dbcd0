"""Instances of the tasks as pictures: a pure function from a window's tokens to SVG text."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from canonlab.errors import InputError, require_integer
from canonlab.files import write_text
from canonlab.pictures import brevo, capo, copy, depo, lano, mano
from canonlab.pictures.svg import BLUE, GREEN, INK, ORANGE, SOFT, Canvas, Piece, document
from canonlab.tasks.base import Example, Role, Split, Task, require_split
from canonlab.tasks.brevo import Brevo
from canonlab.tasks.capo import Capo, CapoQuestions
from canonlab.tasks.copy import Copy
from canonlab.tasks.depo import Depo
from canonlab.tasks.lano import Lano
from canonlab.tasks.mano import Mano

LARGEST = 20_000
"""An instance of more tokens is not drawn: nobody would see anything."""


class Painter(NamedTuple):
    """How a task is drawn: the drawing of a question with its answer, and the questions in the tokens of a window.

    `questions` None: those of `Task.examples`, and the caption says why the task's scorer finds the answer right.
    """

    draw: Callable[[Any, Example], Canvas]
    questions: Callable[[Any, list[int]], list[Example]] | None = None


PAINTERS: dict[type[Task], Painter] = {
    Brevo: Painter(brevo.draw),
    Capo: Painter(capo.draw, capo.questions),
    Copy: Painter(copy.draw),
    Depo: Painter(depo.draw),
    Lano: Painter(lano.draw),
    Mano: Painter(mano.draw),
}

COLOURS: dict[Role, str] = {"special": SOFT, "query": ORANGE, "length": ORANGE, "operator": BLUE}


def picture(task: Task, seed: int = 0, index: int = 0, split: Split = "train", query: int = 0) -> str:
    """One question of a window, with its answer, as an SVG document.

    Args:
        task: a built-in task, with any parameters.
        seed: of the stream.
        index: of the window.
        split: "train" or "eval".
        query: which of the window's questions, from 0 on, over all its instances; those that its end cuts don't count.

    InputError for capo-questions and a task of the user's own, a query that the window doesn't hold, and an instance
    that is too large.
    """
    kinds = [kind for kind in PAINTERS if isinstance(task, kind) and not isinstance(task, CapoQuestions)]
    painter = PAINTERS[kinds[0]] if kinds else None
    if painter is None:
        drawable = ", ".join(sorted(kind.name for kind in PAINTERS))
        raise InputError(f"no picture of the task {type(task).__name__}: only of {drawable}")
    require_integer("index", index, 0)
    window = task.windows(seed, index, 1, require_split(split)).tokens[0].tolist()
    where = f"{split} window {index} of seed {seed}"
    found = painter.questions(task, window) if painter.questions else task.examples(window)
    if not found:
        raise InputError(f"context = {task.context}: {where} holds no whole question; take another index or context")
    question = found[require_integer("query", query, 0, len(found) - 1)]
    if (length := len(question.prompt) + len(question.answer)) > LARGEST:
        raise InputError(f"an instance of {length} tokens is too large to draw: at most {LARGEST}")
    settings = ", ".join(f"{name} = {value}" for name, value in task.parameters.items())
    drawing = painter.draw(task, question)
    why = "" if painter.questions else task.score(*question).why
    caption = "; ".join(filter(None, [why, drawing.note]))
    return document(
        drawing,
        title=f"{task.name}: {settings}",
        place=f"{where}, query {query} of 0..{len(found) - 1}",
        caption=caption[0].upper() + caption[1:],
        tokens=_tokens(task, question),
    )


def write_picture(svg: str, path: Path) -> None:
    """Write a picture to `path`, which must end in .svg, whole or not at all. InputError when that can't be."""
    if path.suffix != ".svg":
        raise InputError(f"out = {str(path)!r}: must end in .svg, the only format (any browser makes a PNG of it)")
    write_text(path, svg, "out =")


def _tokens(task: Task, question: Example) -> list[Piece]:
    """What a model reads and has to write, the answer in green."""
    asked = [
        Piece(token.name, COLOURS.get(token.role, INK)) for token in map(task.vocabulary.__getitem__, question.prompt)
    ]
    return [*asked, *(Piece(task.vocabulary[i].name, GREEN, bold=True) for i in question.answer)]
