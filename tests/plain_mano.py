"""Mano in plain Python: the generator's slow twin, and an independent reader and solver of windows."""

from typing import NamedTuple

import numpy as np

from canonlab.data.plain import Random
from canonlab.tasks.base import SPLITS, Split
from canonlab.tasks.mano import Mano


def plain_window(task: Mano, seed: int, index: int, split: Split) -> tuple[list[int], list[int]]:
    """Tokens and mask of one window, made step by step as the task's definition says."""
    rng = Random(task.stream_key(seed), index, SPLITS.index(split))

    def expression(l: int) -> tuple[list[int], int]:
        """Tokens and value of a random expression of l operators."""
        if l == 0:
            [number] = rng.digits([task.P])
            return [5 + number], number
        operator, left = rng.digits([3, l])
        a_tokens, a = expression(left)
        b_tokens, b = expression(l - 1 - left)
        return [2 + operator, *a_tokens, *b_tokens], [a + b, a - b, a * b][operator]

    tokens: list[int] = []
    while len(tokens) < task.context:
        l = 1 + rng.below(task.L) if split == "train" else task.L + rng.below(1)
        expression_tokens, value = expression(l)
        tokens += [0, 4 + task.P + l, *expression_tokens, 1, 5 + value % task.P]
    return tokens[: task.context], [0] + [1] * (task.context - 1)


class Instance(NamedTuple):
    """An instance as it stands in a window, as the names of its tokens; `answer` is "" if the window's end cuts it."""

    begin: int
    length: str
    expression: list[str]
    answer: str


def read_window(task: Mano, tokens: np.ndarray) -> list[Instance]:
    """All instances of a window, read through the vocabulary's names alone."""
    names, instances = [task.vocabulary[i].name for i in tokens], []
    begins = [i for i, name in enumerate(names) if name == "<bos>"]
    for begin, stop in zip(begins, [*begins[1:], len(names)], strict=True):
        part = names[begin:stop]
        cut = part.index("<ans>") if "<ans>" in part else len(part)
        length, *expression = part[1:cut] or [""]
        instances.append(Instance(begin, length, expression, "".join(part[cut + 1 :])))
    return instances


def infix(expression: list[str]) -> str:
    """A prefix expression in the notation that Python can evaluate; it takes its tokens off the list."""
    name = expression.pop(0)
    if name in "+-*":
        return f"({infix(expression)} {name} {infix(expression)})"
    return name
