"""What the pictures of all tasks see of a window."""

from typing import NamedTuple


class Question(NamedTuple):
    """The token ids of a prompt and of its right answer, as `Task.score` takes them."""

    prompt: list[int]
    answer: list[int]


def instances(window: list[int], bos: int) -> list[list[int]]:
    """A window cut before each <bos>; its end may have cut the last instance."""
    starts = [position for position, token in enumerate(window) if token == bos]
    return [window[start:stop] for start, stop in zip(starts, [*starts[1:], len(window)], strict=True)]
