"""Copy's picture: two rows of the same numbers, in bands."""

from collections.abc import Callable
from typing import Any

import pytest

from canonlab.pictures import picture
from canonlab.pictures.copy import BAND
from canonlab.tasks.catalog import build_task


@pytest.mark.parametrize("n", [2, BAND, BAND + 1, 60])
def test_rows(n: int, read: Callable[[str], Any]) -> None:
    found = read(picture(build_task("copy", {"N": n}), 0, 0))
    numbers = [word for word in found.words() if word.text.isdigit()]
    rows: dict[float, list[Any]] = {}
    for word in numbers:
        rows.setdefault(word.y, []).append(word)
    ordered = [[int(w.text) for w in sorted(rows[y], key=lambda word: word.x)] for y in sorted(rows)]
    assert ordered[::2] == ordered[1::2] and len(ordered) == 2 * -(-n // BAND)
    given = [number for row in ordered[::2] for number in row]
    assert given == [int(t) for t in picture_tokens(n)] and max(map(len, ordered)) <= BAND
    fills = {word.text: set() for word in numbers}  # type: ignore[var-annotated]
    for word, box in zip(numbers, found.shapes("rect"), strict=True):
        fills[word.text].add(box.get("fill"))
    assert all(len(colours) == 1 for colours in fills.values()), "a number has one colour"


def picture_tokens(n: int) -> list[str]:
    """The numbers to copy in the first window."""
    task = build_task("copy", {"N": n})
    return task.vocabulary.names(task.windows(0, 0, 1).tokens[0].tolist()[1 : n + 1])
