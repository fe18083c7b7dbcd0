"""Depo's cycle, clockwise, and the way that one query takes on it."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from canonlab.pictures.svg import BLUE, FAINT, GREEN, INK, ORANGE, SOFT, WHITE, Canvas, Piece, number, text_width
from canonlab.tasks.base import Example
from canonlab.tasks.depo import Depo
from canonlab.tasks.depo.score import Name, Reader

FEW = 24
"""So many nodes are all named and evenly spaced; of more, only the way is named, and spread out on the right."""

SPREAD = math.radians(140)
SIZE = 13


class Layout(NamedTuple):
    """A circle with node i at angles[i], in radians clockwise from the right, as a dot of radius dots[i].

    Both go on to node n, which is node 0 again. The first `named` nodes have names.
    """

    radius: float
    angles: list[float]
    dots: list[float]
    named: int


def draw(task: Depo, question: Example) -> Canvas:
    """The queried node in orange, the steps in blue, the answer in green; nodes on the way are numbered by steps."""
    successor, node, hops = Reader(task.vocabulary, task.names, task.N, question.prompt).read_prompt()
    cycle = list(_cycle(successor, node))
    n = len(cycle)
    inside = max(text_width(task.vocabulary.decode(cycle[i]), SIZE + 2) for i in (0, hops % n))
    layout = _layout(n, min(hops, n - 1), inside / 2 + 35)
    labels = [task.vocabulary.decode(name) for name in cycle[: layout.named]]
    laps = [
        f"\N{MIDDLE DOT} steps {_visits(i, n, hops)}" if hops >= n and i <= hops else "" for i in range(layout.named)
    ]
    side = 40 + max(text_width(f"{label} {lap}", SIZE) for label, lap in zip(labels, laps, strict=True))
    left, top = (side, 50.0) if n <= FEW else (10.0, 10.0)
    canvas = Canvas(
        left + 2 * layout.radius + side, 2 * (top + layout.radius), f"the cycle of {n} nodes goes clockwise"
    )
    x, y = left + layout.radius, top + layout.radius
    for i in range(n):
        _step(canvas, x, y, layout, i, on_way=i < hops)
    for i in reversed(range(n)):
        angle, dot = layout.angles[i], layout.dots[i]
        colour = ORANGE if i == 0 else GREEN if i == hops % n else BLUE if i <= hops else FAINT
        at = x + layout.radius * math.cos(angle), y + layout.radius * math.sin(angle)
        canvas.circle(
            *at, dot, colour if i in (0, hops % n) or i > hops else WHITE, colour, 2 if i < layout.named else 1
        )
        if hops % n == i == 0:
            canvas.circle(*at, dot + 4, "none", GREEN, 2.5)
        if i <= hops:
            canvas.text(*at, str(i), dot * 0.95, WHITE if i in (0, hops % n) else BLUE, bold=True)
        if i < layout.named:
            tint = INK if colour == BLUE else SOFT if colour == FAINT else colour
            _label(canvas, at, dot + 9, angle if n <= FEW else angle / 2, labels[i], laps[i], tint)
    canvas.text(x, y - 30, labels[0], SIZE + 2, ORANGE, bold=True)
    canvas.text(x, y, f"\N{DOWNWARDS ARROW} {hops} step{'s' * (hops > 1)}", SIZE, BLUE)
    canvas.text(x, y + 30, labels[hops % n], SIZE + 2, GREEN, bold=True)
    return canvas


def _cycle(successor: dict[Name, Name], first: Name) -> Iterator[Name]:
    """The nodes in order, from `first` on."""
    node = first
    for _ in successor:
        yield node
        node = successor[node]


def _layout(n: int, way: int, least: float) -> Layout:
    """Evenly from the top on when nodes are few; else the `way` steps from top to bottom on the right.

    The radius is `least` pixels or more, as names need room.
    """
    if n <= FEW:
        angles = [2 * math.pi * i / n - math.pi / 2 for i in range(n + 1)]
        return Layout(max(105.0, least, n * 56 / (2 * math.pi)), angles, [15.0] * (n + 1), n)
    spread = min(SPREAD, math.radians(18) * way)
    radius = max(n * 9 / (2 * math.pi), 200.0, least, 20.0 * way)
    rest = (2 * math.pi - spread) / (n - way)
    angles = [i * spread / way if i <= way else spread + (i - way) * rest for i in range(n + 1)]
    dot = min(12.0, 0.28 * radius * spread / way)
    dots = [dot if i <= way or i == n else 2.0 for i in range(n + 1)]
    return Layout(radius, [angle - spread / 2 for angle in angles], dots, way + 1)


def _step(canvas: Canvas, x: float, y: float, layout: Layout, i: int, on_way: bool) -> None:
    """The edge from node i to the next, as an arc, with an arrow's head when there is room."""
    radius, (begin, end) = layout.radius, layout.angles[i : i + 2]
    begin, end = begin + (layout.dots[i] + 2) / radius, end - (layout.dots[i + 1] + 3) / radius
    head = (end - begin) * radius > (10 if on_way else 16)
    stop = end - 5 / radius if head else end
    if stop <= begin:
        return
    corners = [f"{number(x + radius * math.cos(a))} {number(y + radius * math.sin(a))}" for a in (begin, stop)]
    colour, r, large = BLUE if on_way else SOFT if head else FAINT, number(radius), int(stop - begin > math.pi)
    canvas.path(f"M{corners[0]}A{r} {r} 0 {large} 1 {corners[1]}", colour, 3 if on_way else 1.5)
    if head:
        tip = x + radius * math.cos(end), y + radius * math.sin(end)
        canvas.arrow(*tip, -math.sin(end), math.cos(end), 9 if on_way else 7, colour)


def _label(canvas: Canvas, at: tuple[float, float], gap: float, angle: float, name: str, lap: str, colour: str) -> None:
    """A node's name in the direction `angle` from it."""
    right, down = math.cos(angle), math.sin(angle)
    anchor = "middle" if abs(right) < 0.2 else "start" if right > 0 else "end"
    x, y = at[0] + gap * right, at[1] + (gap + 4) * down
    words = [Piece(name, colour, colour in (ORANGE, GREEN)), *([Piece(lap, SOFT)] if lap else [])]
    canvas.pieces(x, y + 0.35 * SIZE, words, SIZE, anchor)


def _visits(i: int, n: int, hops: int) -> str:
    """After how many steps the way comes to node i."""
    visits = range(i, hops + 1, n)
    return ", ".join(map(str, visits)) if len(visits) <= 4 else f"{visits[0]}, {visits[1]}, ..., {visits[-1]}"
