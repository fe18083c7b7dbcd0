"""Brevo's picture: its vertices and edges are the window's, the answer is numbered, parents stand above children."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from canonlab.pictures import picture
from canonlab.pictures.svg import BLUE, GREEN, ORANGE, WHITE
from canonlab.tasks.catalog import build_task


@pytest.mark.parametrize("index", range(6))
def test_graph_and_answer(index: int, read: Callable[[str], Any]) -> None:
    task = build_task("brevo1", {"N": 9})
    found = read(picture(task, 0, index, "eval"))
    tokens = found.tokens()
    ask, mark = tokens.index("<query>"), tokens.index("<ans>")
    edges = set(zip(tokens[1:ask:2], tokens[2:ask:2], strict=True))
    answer = tokens[mark + 1 : -1]
    place = {word.text: word for word in found.words() if word.text.startswith("b")}
    assert set(place) == {vertex for edge in edges for vertex in edge}
    assert all(place[parent].y < place[child].y for parent, child in edges)
    assert place[tokens[ask + 1]].colour == WHITE
    assert len(found.shapes("rect")) == len(place)
    assert sum(box.get("fill") == ORANGE for box in found.shapes("rect")) == 1
    assert sum(box.get("stroke") == BLUE for box in found.shapes("rect")) == len(answer) - 1
    badges = {word.text: word for word in found.words() if word.text.isdigit()}
    assert len(badges) == len(answer) == sum(circle.get("fill") == GREEN for circle in found.shapes("circle"))
    for i, vertex in enumerate(answer, start=1):
        right, above = badges[str(i)].x - place[vertex].x, place[vertex].y - badges[str(i)].y
        assert 0 < right < 30 and 0 < above < 20
    lines = [[float(n) for n in re.findall(r"-?[\d.]+", path.get("d"))] for path in found.shapes("path")]
    at = {(round(word.x, 1), round(word.y - 0.35 * 13)): vertex for vertex, word in place.items()}
    drawn = {(at[x, y - 13], end) for x, y in starts(lines) if (x, y - 13) in at for end in ends(x, y, lines, at)}
    assert drawn == edges and len(found.shapes("polygon")) == len(edges)


def starts(lines: list[list[float]]) -> set[tuple[float, int]]:
    """Where lines begin."""
    return {(round(line[0], 1), round(line[1])) for line in lines}


def ends(x: float, y: int, lines: list[list[float]], at: dict[tuple[float, int], str]) -> Iterator[str]:
    """The vertices that lines from (x, y) lead to; a line that goes through a layer has its end as a ninth number."""
    for line in lines:
        if (round(line[0], 1), round(line[1])) == (x, y):
            if len(line) == 9:
                yield from ends(round(line[6], 1), round(line[8]), lines, at)
            else:
                yield at[round(line[6], 1), round(line[7]) + 6 + 14]
