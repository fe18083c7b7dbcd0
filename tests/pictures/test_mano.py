"""Mano's picture: the tree of the expression, every value right."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from canonlab.pictures import picture
from canonlab.pictures.mano import Part, tree
from canonlab.tasks.catalog import build_task
from canonlab.tasks.mano.score import read_expression, solve


def prefix(part: Part) -> list[Any]:
    """The tokens of a part in prefix order."""
    return [part.token, *(token for operand in part.operands for token in prefix(operand))]


def parts(part: Part) -> Iterator[Part]:
    """A part and all in it, from left to right."""
    left, right = part.operands or (None, None)
    yield from parts(left) if left else ()
    yield part
    yield from parts(right) if right else ()


@pytest.mark.parametrize("index", range(5))
def test_tree(index: int, read: Callable[[str], Any]) -> None:
    task = build_task("mano")
    found = read(picture(task, 0, index, "eval", query=3))
    ids = [task.vocabulary.id(name) for name in found.tokens()]
    expression = read_expression(task.vocabulary, ids[:-1])
    root = tree(expression, 23)
    assert prefix(root) == expression
    assert all(part.value == solve(prefix(part), 23) for part in parts(root))
    assert [part.column for part in parts(root) if not part.operands] == list(range(11))
    level = [root]
    while level:
        assert all(right.column - left.column >= 1 for left, right in pairwise(level)), "nothing overlaps"
        assert all(p.operands[0].column < p.column < p.operands[1].column for p in level if p.operands)
        level = [operand for part in level for operand in part.operands]
    assert len(found.shapes("circle")) == 10 and len(found.shapes("rect")) == 21 and len(found.shapes("line")) == 20
    shown = sorted(int(word.text) for word in found.words() if word.text.isdigit())
    assert shown == sorted(part.value for part in parts(root))
    assert found.caption == f"The value is {found.tokens()[-1]}; all values are modulo 23"


def test_a_deep_expression() -> None:
    task = build_task("mano", {"L": 3000, "context": 8192})
    names = ["<bos>", "<len_3000>", *["+"] * 3000, *["1"] * 3001, "<ans>"]
    root = tree(read_expression(task.vocabulary, [task.vocabulary.id(name) for name in names]), 23)
    assert root.value == 3001 % 23 and root.column < 3000
