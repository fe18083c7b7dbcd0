"""Depo's picture: the cycle is the window's, and the way ends at the answer."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from canonlab.pictures import picture
from canonlab.pictures.depo import FEW
from canonlab.pictures.svg import GREEN, INK, ORANGE
from canonlab.tasks.catalog import build_task


def successors(names: list[str]) -> dict[str, str]:
    """The successor of each name in a prompt's tokens, names joined by spaces."""
    whole, parts = [], []
    for token in names[1:]:
        if token.startswith("<"):
            break
        parts.append(token)
        if token.startswith("b"):
            whole.append(" ".join(parts))
            parts = []
    return dict(zip(whole[::2], whole[1::2], strict=True))


@pytest.mark.parametrize("query", range(8))
def test_few_nodes(query: int, read: Callable[[str], Any]) -> None:
    task = build_task("depo1", {"N": 8, "K": 3})
    found = read(picture(task, 0, 4, "eval", query))
    following = successors(found.tokens())
    middle = found.shapes("circle")
    x, y = (sum(float(c.get(key)) for c in middle) / len(middle) for key in ("cx", "cy"))
    *around, start, _, answer = found.words()
    named = [word for word in around if word.text in following]
    clockwise = sorted(named, key=lambda word: math.atan2(word.y - 0.35 * 13 - y, word.x - x))
    assert len(middle) == len(clockwise) == 8
    for word, after in pairwise([*clockwise, clockwise[0]]):
        assert following[word.text] == after.text
    hops = int(found.caption.split()[1].rstrip("stndrh"))
    steps = {word.text: (round(word.x, 1), round(word.y - 0.35 * 0.95 * 15, 1)) for word in around}
    assert {str(i) for i in range(hops + 1)} <= set(steps) and str(hops + 1) not in steps
    node = start.text
    for _ in range(hops):
        node = following[node]
    assert node == answer.text and f"{start.text!r} is {answer.text!r}" in found.caption
    fills = {tuple(round(float(dot.get(key)), 1) for key in ("cx", "cy")): dot.get("fill") for dot in middle}
    assert fills[steps["0"]] == ORANGE and fills[steps[str(hops)]] == GREEN


def test_many_nodes(read: Callable[[str], Any]) -> None:
    task = build_task("depo1")
    found = read(picture(task, 0, 0, "eval", 2))
    assert len(found.shapes("circle")) == 225 > FEW
    way = [word for word in found.words() if word.colour in (INK, ORANGE, GREEN)][:-2]
    assert len(way) == 9 and [word.y for word in way] == sorted((word.y for word in way), reverse=True)
    assert all(below.y - above.y > 14 for above, below in zip(way[::-1], way[-2::-1], strict=False))


def test_more_steps_than_nodes(read: Callable[[str], Any]) -> None:
    task = build_task("depo1", {"N": 3, "K": 9})
    captions = {}
    for query in range(60):
        found = read(picture(task, 0, 0, "train", query))
        captions[int(found.caption.split()[1].rstrip("stndrh"))] = found
    words = {word.text for word in captions[8].words()}
    assert {text.partition("· ")[2] for text in words if "·" in text} == {
        "steps 0, 3, 6",
        "steps 1, 4, 7",
        "steps 2, 5, 8",
    }
    assert len(captions[9].shapes("circle")) == 4, "a ring around the node that is its own answer"
