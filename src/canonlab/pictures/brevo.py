"""Brevo's graph in layers, parents above what depends on them, and the answer numbered in its order."""

from collections.abc import Sequence
from itertools import pairwise

from canonlab.pictures.layers import Layered
from canonlab.pictures.svg import BLUE, FAINT, GREEN, INK, ORANGE, PAPER, SOFT, WHITE, Canvas, number, text_width
from canonlab.tasks.base import Example
from canonlab.tasks.brevo import Brevo
from canonlab.tasks.brevo.kernels import EOS
from canonlab.tasks.brevo.score import Name, read_prompt

ROW, HIGH, SIZE = 78, 26, 13
LIGHT = "#dceefa"


def draw(task: Brevo, question: Example) -> Canvas:
    """What the query depends on in blue, with its place in the answer; the query in orange; all else in grey."""
    prompt = read_prompt(task.vocabulary, task.names, task.N, question.prompt)
    place = {vertex: i for i, vertex in enumerate(_listed(task, question.answer), start=1)}
    wide = max(text_width(task.vocabulary.decode(vertex), SIZE) for vertex in prompt.parents) + 18
    graph = Layered(prompt.parents)
    middle = graph.middles(wide + 26)
    canvas = Canvas(
        max(middle.values()) + wide / 2 + 13,
        ROW * (len(graph.layers) - 1) + HIGH + 20,
        "edges go down, from parent to child",
    )
    where = {stop: (x, 12 + HIGH / 2 + ROW * stop[1]) for stop, x in middle.items()}
    lines = {line for edge in graph.edges for line in pairwise(edge)}
    asked = {line for edge in graph.edges if edge[-1][0] in place for line in pairwise(edge)}
    for line in [*sorted(lines - asked), *sorted(asked)]:
        upper, lower = line
        _draw_line(canvas, where[upper], where[lower], BLUE if line in asked else FAINT, ends=lower in graph.own)
    for vertex, depth in sorted(graph.own):
        x, y = where[vertex, depth]
        needed, query = vertex in place, vertex == prompt.query
        fill, stroke = (ORANGE, ORANGE) if query else (LIGHT, BLUE) if needed else (WHITE, FAINT)
        canvas.box(x - wide / 2, y - HIGH / 2, wide, HIGH, fill, stroke, HIGH / 2, 1.5)
        canvas.text(x, y, task.vocabulary.decode(vertex), SIZE, WHITE if query else INK if needed else SOFT, bold=query)
        if needed:
            badge = x + wide / 2, y - HIGH / 2
            canvas.circle(*badge, 9, GREEN, PAPER)
            canvas.text(*badge, str(place[vertex]), 10.5, WHITE, bold=True)
    return canvas


def _listed(task: Brevo, answer: Sequence[int]) -> list[Name]:
    """The vertices of an answer that ends with <eos>."""
    listed: list[Name] = []
    position = 0
    while answer[position] != EOS:
        listed.append(task.names.read(answer, position))
        position += len(listed[-1])
    return listed


def _draw_line(canvas: Canvas, start: tuple[float, float], end: tuple[float, float], colour: str, ends: bool) -> None:
    """From one layer to the next; with an arrow's head if it `ends` there, and else on through the layer."""
    (x1, y1), (x2, y2) = (start[0], start[1] + HIGH / 2), (end[0], end[1] - HIGH / 2 - 1)
    bend = (y2 - y1) * 0.5
    points = [(x1, y1 + bend), (x2, y2 - bend), (x2, y2 - 6)]
    curve = " ".join(f"{number(x)} {number(y)}" for x, y in points)
    through = "" if ends else f"V{number(end[1] + HIGH / 2)}"
    canvas.path(f"M{number(x1)} {number(y1)}C{curve}{through}", colour, 1.2 if colour == FAINT else 1.8)
    if ends:
        canvas.arrow(x2, y2, 0, 1, 7, colour)
