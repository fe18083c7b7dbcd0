"""Reading a picture as XML."""

from collections.abc import Callable
from typing import NamedTuple
from xml.etree.ElementTree import Element, fromstring

import pytest

SVG = "{http://www.w3.org/2000/svg}"


class Word(NamedTuple):
    """A line of text with its place in the drawing, and its fill where it begins."""

    x: float
    y: float
    text: str
    colour: str


class Picture(NamedTuple):
    """A picture's root element; its drawing and its line of tokens are groups."""

    root: Element

    @property
    def caption(self) -> str:
        """The text below the title."""
        return self.root.findall(f"{SVG}text")[1].text or ""

    def shapes(self, tag: str) -> list[Element]:
        """The elements of the drawing with this tag, from bottom to top."""
        return self.root.findall(f"{SVG}g")[0].findall(SVG + tag)

    def words(self) -> list[Word]:
        """The lines of text of the drawing."""
        return [
            Word(float(line.get("x", "")), float(line.get("y", "")), "".join(line.itertext()), line[0].get("fill", ""))
            for line in self.shapes("text")
        ]

    def tokens(self) -> list[str]:
        """The words below the drawing."""
        return [part.text or "" for part in self.root.findall(f"{SVG}g")[1].iter(f"{SVG}tspan")]


@pytest.fixture
def read() -> Callable[[str], Picture]:
    """The picture in an SVG document."""
    return lambda svg: Picture(fromstring(svg))
