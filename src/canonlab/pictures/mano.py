"""Mano's expression as a tree, with the value of every part."""

from collections.abc import Sequence
from typing import NamedTuple

from canonlab.pictures.svg import BLUE, FAINT, GREEN, INK, PAPER, SOFT, WHITE, Canvas, text_width
from canonlab.tasks.base import Example, Token
from canonlab.tasks.mano import Mano
from canonlab.tasks.mano.score import OPERATIONS, read_expression

COLUMN, ROW, DOT, SIZE = 54, 72, 17, 15
SYMBOLS = {"+": "+", "-": "\N{MINUS SIGN}", "*": "\N{MULTIPLICATION SIGN}"}


class Part(NamedTuple):
    """A part of the expression: its first token, its value, where its middle is, in columns, and its operands."""

    token: Token
    value: int
    column: float
    operands: tuple["Part", ...] = ()


def draw(task: Mano, question: Example) -> Canvas:
    """Operators as circles with the value of their part beside them, numbers as boxes, the answer on top."""
    expression = read_expression(task.vocabulary, question.prompt)
    levels = [[tree(expression, task.P)]]
    while below := [operand for part in levels[-1] for operand in part.operands]:
        levels.append(below)
    canvas = Canvas(
        COLUMN * (len(expression) // 2 + 1), ROW * (len(levels) - 1) + 2 * DOT + 24, f"all values are modulo {task.P}"
    )
    for depth, level in enumerate(levels):
        for part in level:
            x, y = _middle(part, depth)
            for operand in part.operands:
                canvas.line(x, y, *_middle(operand, depth + 1), SOFT, 1.5)
    for depth, level in enumerate(levels):
        for part in level:
            _draw_part(canvas, part, *_middle(part, depth), answer=depth == 0)
    return canvas


def tree(expression: Sequence[Token], modulus: int) -> Part:
    """The tree of an expression in prefix order."""
    column = len(expression) // 2
    done: list[Part] = []
    for token in reversed(expression):
        if token.value is None:
            left, right = done.pop(), done.pop()
            value = OPERATIONS[token.name](left.value, right.value) % modulus
            done.append(Part(token, value, (left.column + right.column) / 2, (left, right)))
        else:
            done.append(Part(token, token.value, column))
            column -= 1
    return done.pop()


def _middle(part: Part, depth: int) -> tuple[float, float]:
    return COLUMN * (part.column + 0.5), DOT + 8 + ROW * depth


def _draw_part(canvas: Canvas, part: Part, x: float, y: float, answer: bool) -> None:
    if not part.operands:
        canvas.box(x - DOT, y - DOT + 2, 2 * DOT, 2 * DOT - 4, WHITE, INK, 6, 1.5)
        canvas.text(x, y, str(part.value), SIZE, INK)
        return
    canvas.circle(x, y, DOT, BLUE, BLUE)
    canvas.text(x, y, SYMBOLS[part.token.name], SIZE + 4, WHITE, bold=True)
    width = text_width(str(part.value), SIZE) + 12
    canvas.box(x + DOT + 4, y - 12, width, 24, GREEN if answer else PAPER, GREEN if answer else FAINT, 12)
    canvas.text(x + DOT + 4 + width / 2, y, str(part.value), SIZE, WHITE if answer else GREEN, bold=True)
