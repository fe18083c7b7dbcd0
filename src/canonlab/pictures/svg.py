"""SVG as text: a canvas of a few shapes, and the frame around it with title, caption and the tokens themselves.

Everything is an attribute of its element: no style sheet, script, font, reference or id, so that a picture stands alone
and many of them fit in one HTML page. Numbers are rounded, so that platforms agree.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

INK, SOFT, FAINT, PAPER, WHITE = "#1d2329", "#5b6670", "#c9d0d6", "#fbfbf9", "#ffffff"
BLUE, ORANGE, GREEN, PINK, AMBER, SKY = "#0072b2", "#d55e00", "#007a59", "#cc79a7", "#e69f00", "#56b4e9"
"""The palette of Okabe and Ito without its yellow and black; green is a little darker, to be read as text."""

SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif"
MONO = "ui-monospace, 'SF Mono', Consolas, 'Liberation Mono', 'DejaVu Sans Mono', monospace"
ADVANCE = 0.61
"""The width of a letter of MONO, in font sizes; at most, in the fonts named."""

MARGIN = 28
STRIP_SIZE = 12
STRIP_LINES = 6


class Piece(NamedTuple):
    """A word in a line of text with a colour of its own."""

    text: str
    colour: str
    bold: bool = False


def number(value: float) -> str:
    """A coordinate, rounded to hundredths."""
    return f"{round(value, 2) + 0:.10g}"


def printable(text: str) -> str:
    """`text` without the characters that XML has no way to write."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def text_width(text: str, size: float) -> float:
    """The width of `text` in MONO."""
    return ADVANCE * size * len(text)


class Canvas:
    """A drawing of width x height pixels; later shapes lie on top of earlier ones. `note` says how to read it."""

    def __init__(self, width: float, height: float, note: str = "") -> None:
        self.width, self.height, self.note = width, height, note
        self.group = Element("g")

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> None:
        """A straight line."""
        self._add("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=colour, stroke_width=width)

    def path(self, d: str, colour: str, width: float = 1) -> None:
        """An open line given as path data."""
        self._add("path", d=d, fill="none", stroke=colour, stroke_width=width)

    def arrow(self, x: float, y: float, dx: float, dy: float, size: float, colour: str) -> None:
        """An arrow's head with its tip at (x, y), pointing along the unit vector (dx, dy)."""
        back, side = size * 1.3, size * 0.55
        corners = [(x, y), *((x - back * dx + s * side * dy, y - back * dy - s * side * dx) for s in (1, -1))]
        self._add("polygon", points=" ".join(f"{number(a)},{number(b)}" for a, b in corners), fill=colour)

    def circle(self, x: float, y: float, radius: float, fill: str, stroke: str, width: float = 1.5) -> None:
        """A filled circle."""
        self._add("circle", cx=x, cy=y, r=radius, fill=fill, stroke=stroke, stroke_width=width)

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: str,
        stroke: str,
        round_: float = 4,
        line: float = 1,
    ) -> None:
        """A filled rectangle with corners of radius `round_`."""
        rest = {"rx": round_, "fill": fill, "stroke": stroke, "stroke_width": line}
        self._add("rect", x=x, y=y, width=width, height=height, **rest)

    def text(
        self,
        x: float,
        y: float,
        content: str,
        size: float,
        colour: str = INK,
        anchor: str = "middle",
        bold: bool = False,
    ) -> None:
        """A line of MONO, centred on y."""
        self.pieces(x, y + 0.35 * size, [Piece(content, colour, bold)], size, anchor)

    def pieces(self, x: float, y: float, words: Iterable[Piece], size: float, anchor: str = "start") -> None:
        """A line of MONO made of words with spaces between, its baseline at y."""
        line = self._add("text", x=x, y=y, font_family=MONO, font_size=size, text_anchor=anchor)
        for word in words:
            weight = {"font-weight": "bold"} if word.bold else {}
            part = SubElement(line, "tspan", {"fill": word.colour, **weight})
            part.text = printable(word.text)
        for part in line[:-1]:
            part.tail = " "

    def _add(self, tag: str, **attributes: object) -> Element:
        texts = {
            key.replace("_", "-"): number(value) if isinstance(value, int | float) else str(value)
            for key, value in attributes.items()
        }
        return SubElement(self.group, tag, texts)


def document(drawing: Canvas, title: str, place: str, caption: str, tokens: Sequence[Piece]) -> str:
    """The SVG document of a drawing: `title` and `caption` above it, where it comes from, and its tokens below."""
    width = max(drawing.width, 420, 10.6 * len(title), 7.6 * len(caption))
    lines = wrap(tokens, int(width / (ADVANCE * STRIP_SIZE)))
    head, strip = 74, 24 + 18 * len(lines)
    whole, height = width + 2 * MARGIN, MARGIN + head + drawing.height + strip + MARGIN
    size = {"width": number(whole), "height": number(height), "viewBox": f"0 0 {number(whole)} {number(height)}"}
    root = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", **size})
    SubElement(root, "title").text = printable(title)
    SubElement(root, "desc").text = printable(f"{caption} ({place})")
    SubElement(root, "rect", {"width": number(whole), "height": number(height), "rx": "10", "fill": PAPER})
    for y, text, font, colour, weight in (
        (14, title, 17, INK, "600"),
        (36, caption, 13.5, INK, "400"),
        (55, place, 11.5, SOFT, "400"),
    ):
        attributes = {"x": number(MARGIN), "y": number(MARGIN + y), "font-family": SANS, "font-size": number(font)}
        SubElement(root, "text", {**attributes, "fill": colour, "font-weight": weight}).text = printable(text)
    left = MARGIN + (width - drawing.width) / 2
    drawing.group.set("transform", f"translate({number(left)} {number(MARGIN + head)})")
    root.append(drawing.group)
    below = Canvas(width, strip)
    below.line(0, 12, width, 12, FAINT)
    for row, line in enumerate(lines):
        below.pieces(0, 34 + 18 * row, line, STRIP_SIZE)
    below.group.set("transform", f"translate({number(MARGIN)} {number(MARGIN + head + drawing.height)})")
    root.append(below.group)
    return tostring(root, encoding="unicode") + "\n"


def wrap(words: Sequence[Piece], letters: int) -> list[list[Piece]]:
    """Words in at most STRIP_LINES lines of so many letters, those in the middle left out if there are too many."""
    lines = _fill(words, letters)
    if len(lines) <= STRIP_LINES:
        return lines
    top = STRIP_LINES // 2
    last = [line[::-1] for line in _fill(words[::-1], letters)[: STRIP_LINES - top][::-1]]
    gap = Piece("...", SOFT)
    return [*lines[:top], [gap, *last[0][2:]], *last[1:]]


def _fill(words: Sequence[Piece], letters: int) -> list[list[Piece]]:
    lines: list[list[Piece]] = []
    used = letters
    for word in words:
        if used + 1 + len(word.text) > letters:
            lines.append([])
            used = -1
        lines[-1].append(word)
        used += 1 + len(word.text)
    return lines
