"""Lano's picture: a derivation by the grammar's rules of exactly the window's sentence, in both forms."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from canonlab.pictures import picture
from canonlab.pictures.lano import SHORT
from canonlab.tasks.catalog import build_task
from plain_lano import TINY


def rows(found: Any) -> list[list[Any]]:
    """The words of a picture, row by row, each from left to right."""
    words = found.words()
    tops = sorted({word.y - 0.35 * size for word, size in zip(words, sizes(found), strict=True)})
    tops = [top for i, top in enumerate(tops) if i == 0 or top - tops[i - 1] > 1]
    found_rows: list[list[Any]] = [[] for _ in tops]
    for word, size in zip(words, sizes(found), strict=True):
        nearest = min(range(len(tops)), key=lambda i: abs(tops[i] - (word.y - 0.35 * size)))
        found_rows[nearest].append(word)
    return [sorted(row, key=lambda word: word.x) for row in found_rows]


def sizes(found: Any) -> list[float]:
    """The font sizes of a picture's words."""
    return [float(line.get("font-size")) for line in found.shapes("text")]


@pytest.mark.parametrize("index", range(4))
def test_long_sentences(index: int, read: Callable[[str], Any]) -> None:
    task = build_task("lano-cfg3f")
    found = read(picture(task, 1, index, "eval"))
    sentence = task.windows(1, index, 1, "eval").tokens[0].tolist()
    sentence = sentence[1 : sentence.index(0, 1)]
    boxes = [(float(b.get("x")), float(b.get("x")) + float(b.get("width"))) for b in found.shapes("rect")]
    symbols = [int(word.text) for word in found.words()]
    levels: dict[float, list[tuple[float, float, int]]] = {}
    for box, (start, end), symbol in zip(found.shapes("rect"), boxes, symbols, strict=True):
        levels.setdefault(float(box.get("y")), []).append((start, end, symbol))
    ordered = [sorted(levels[y]) for y in sorted(levels)]
    assert [symbol for _, _, symbol in ordered[0]] == [task.definition.root]
    assert [symbol for _, _, symbol in ordered[-1]] == sentence and len(sentence) > SHORT
    assert len(ordered) == len(task.definition.levels)
    for level in ordered:
        assert all(0 < right[0] - left[1] < 2 for left, right in pairwise(level)), "side by side"
    for above, below in pairwise(ordered):
        for start, end, symbol in above:
            inside = tuple(part for s, e, part in below if s > start - 0.1 and e < end + 0.1)
            assert inside in task.definition.rules[symbol]


def test_short_sentences(tmp_path: Path, read: Callable[[str], Any]) -> None:
    path = tmp_path / "tiny.json"
    content = {"root": TINY.root, "levels": TINY.levels, "rules": {str(s): sides for s, sides in TINY.rules.items()}}
    path.write_text(json.dumps(content))
    task = build_task("lano-cfg3f", {"grammar": str(path), "context": 64})
    captions = []
    for index in range(6):
        found = read(picture(task, 0, index, "eval"))
        sentence = task.windows(0, index, 1, "eval").tokens[0].tolist()
        sentence = sentence[1 : sentence.index(0, 1)]
        drawn = rows(found)
        assert [int(word.text) for word in drawn[-1]] == sentence and [int(w.text) for w in drawn[0]] == [9]
        ends = [[float(line.get(key)) for key in ("x1", "y1", "x2", "y2")] for line in found.shapes("line")]
        assert len(ends) == sum(map(len, drawn[1:]))
        for above, below in pairwise(drawn):
            for word in above:
                to = {x2 for x1, y1, x2, y2 in ends if abs(x1 - word.x) < 0.1 and abs(y1 + 4.9 - word.y) < 0.1}
                assert tuple(int(part.text) for part in below if part.x in to) in TINY.rules[int(word.text)]
        captions.append(found.caption)
        trees = task.parser.count(sentence)
        assert (f"the most likely of its {trees} parse trees" in found.caption) == (trees > 1)
    assert len({"most likely" in caption for caption in captions}) == 2, "both kinds are among them"
