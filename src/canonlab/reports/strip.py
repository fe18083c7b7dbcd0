"""The picture of a skill profile: a row for each skill, on which architectures stand from worst to best."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

from canonlab.pictures.svg import (
    AMBER,
    BLUE,
    FAINT,
    GREEN,
    INK,
    MARGIN,
    ORANGE,
    PAPER,
    PINK,
    SANS,
    SKY,
    SOFT,
    WHITE,
    Canvas,
    number,
    printable,
)
from canonlab.results.cells import Cell
from canonlab.results.profile import Name, Profile, Skill, mean
from canonlab.results.words import metric_label

MODELS, REFERENCES = (ORANGE, INK, SKY), (BLUE, GREEN, PINK, AMBER)
"""Colours of the models and of the references, one for all Canon sets of a model."""

WIDTH, LEFT, HEIGHT, HEAD = 900, 200, 52, 64
"""Of the drawing: its width, where axes begin, the height of a row of one lane and that of what stands above all."""

LANE, WIDE, NARROW = 15, 6.5, 5.0
"""The height of a lane, in which nothing overlaps, and the radii of the models' dots and the references'."""


class Mark(NamedTuple):
    """How an architecture is drawn: filled if it has Canon layers."""

    colour: str
    radius: float
    filled: bool


def strip(profile: Profile) -> str:
    """The SVG document. Further right is better; each row has a scale of its own, with the value at either end."""
    marks = _marks(profile)
    names = {name: cell.architecture for skill in profile.skills for name, cell in skill.cells.items()}
    legend = _legend(marks, names)
    canvas = Canvas(WIDTH, legend.height)
    for skill in profile.skills:
        canvas.height += _row(canvas, canvas.height, skill, marks)
    whole, height = WIDTH + 2 * MARGIN, MARGIN + HEAD + canvas.height + MARGIN / 2
    size = {"width": number(whole), "height": number(height), "viewBox": f"0 0 {number(whole)} {number(height)}"}
    root = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", **size})
    title = f"Skill profile of {heading(profile)}"
    caption = (
        "Further right is better, each row on its own scale. Dots: means over seeds; lines: from the least seed to the "
        "greatest. Filled: with Canon layers."
    )
    SubElement(root, "title").text = printable(title)
    SubElement(root, "desc").text = printable(caption)
    SubElement(root, "rect", {"width": number(whole), "height": number(height), "rx": "10", "fill": PAPER})
    for y, text, font, colour, weight in ((14, title, 17, INK, "600"), (38, caption, 12.5, SOFT, "400")):
        attributes = {"x": number(MARGIN), "y": number(MARGIN + y), "font-family": SANS, "font-size": number(font)}
        SubElement(root, "text", {**attributes, "fill": colour, "font-weight": weight}).text = printable(text)
    for drawing in (canvas, legend):
        drawing.group.set("transform", f"translate({MARGIN} {MARGIN + HEAD})")
        root.append(drawing.group)
    return tostring(root, encoding="unicode") + "\n"


def heading(profile: Profile) -> str:
    """The models by name, each once: "MovingAverage and gdn"."""
    return " and ".join(dict.fromkeys(_short(model) for model, _ in profile.models))


def _short(model: str) -> str:
    return model.rpartition(".py:")[2]


def _marks(profile: Profile) -> dict[Name, Mark]:
    found = {}
    for group, colours, radius in ((profile.references, REFERENCES, NARROW), (profile.models, MODELS, WIDE)):
        models = list(dict.fromkeys(model for model, _ in group))
        for name in group:
            colour = colours[models.index(name[0]) % len(colours)]
            found[name] = Mark(colour, radius, name[1] not in ("none", "b", "original", ""))
    return found


def _legend(marks: dict[Name, Mark], names: dict[Name, str]) -> Canvas:
    """Models first, in as many columns as fit."""
    shown = [name for name in reversed(marks) if name in names]
    shown.sort(key=lambda name: -marks[name].radius)
    columns = 3
    lines = -(-len(shown) // columns)
    canvas = Canvas(WIDTH, 22 * lines + 18)
    for place, name in enumerate(shown):
        x, y = WIDTH / columns * (place % columns) + WIDE, 22 * (place // columns) + 4
        _dot(canvas, x, y, marks[name])
        canvas.text(x + 14, y, names[name], 12, anchor="start", bold=marks[name].radius == WIDE)
    return canvas


def _row(canvas: Canvas, top: float, skill: Skill, marks: dict[Name, Mark]) -> float:
    """Draw a skill below `top`; returns the height that it takes."""
    shown = {name: skill.cells[name] for name in marks if name in skill.cells}
    seeds = [cell.sign * each.value for cell in shown.values() for each in cell.values(cell.metric).values()]
    worst, best = min(seeds, default=0.0), max(seeds, default=0.0)
    right = WIDTH - 2 * WIDE

    def x(value: float) -> float:
        return LEFT + (right - LEFT) * ((value - worst) / (best - worst) if best > worst else 0.5)

    ordered = sorted(shown, key=lambda name: -marks[name].radius)
    lanes = _lanes([_reach(shown[name], x, marks[name]) for name in ordered])
    y = top + HEIGHT / 2 - LANE * min(lanes, default=0)
    height = HEIGHT + LANE * (max(lanes, default=0) - min(lanes, default=0))
    canvas.text(0, y - 7, skill.name, 14, anchor="start", bold=True)
    canvas.text(0, y + 9, metric_label(skill.metric), 10, SOFT, anchor="start")
    canvas.line(LEFT, y, right, y, FAINT)
    sign = next((cell.sign for cell in shown.values()), 1)
    for end, at, anchor in ((worst, LEFT, "start"), (best, right, "end")):
        canvas.text(at, top + height - 8, f"{sign * end:.3g}", 10, SOFT, anchor)
    for name, lane in zip(ordered, lanes, strict=True):
        _range(canvas, shown[name], x, y + lane * LANE, marks[name])
        _dot(canvas, x(mean(shown[name])), y + lane * LANE, marks[name])
    return height


def _reach(cell: Cell, x: Callable[[float], float], mark: Mark) -> tuple[float, float]:
    """From where to where an architecture is drawn, with a little room."""
    places = [x(cell.sign * each.value) for each in cell.values(cell.metric).values()]
    middle, half = x(mean(cell)), mark.radius + 2
    return min(*places, middle - half) - 2, max(*places, middle + half) + 2


def _lanes(reaches: Sequence[tuple[float, float]]) -> list[int]:
    """For each the nearest lane to the axis, which is 0, where it touches nothing that came before it."""
    taken: list[tuple[int, float, float]] = []
    for low, high in reaches:
        lanes = (lane for step in count() for lane in (-step, step))
        free = next(
            lane for lane in lanes if all(at != lane or high < low_ or high_ < low for at, low_, high_ in taken)
        )
        taken.append((free, low, high))
    return [lane for lane, _, _ in taken]


def _range(canvas: Canvas, cell: Cell, x: Callable[[float], float], y: float, mark: Mark) -> None:
    values = [cell.sign * each.value for each in cell.values(cell.metric).values()]
    canvas.line(x(min(values)), y, x(max(values)), y, mark.colour, 1.5)


def _dot(canvas: Canvas, x: float, y: float, mark: Mark) -> None:
    canvas.circle(x, y, mark.radius, mark.colour if mark.filled else WHITE, mark.colour, 2)
