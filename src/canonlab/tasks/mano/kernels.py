"""The generator of Mano's windows."""

from typing import NamedTuple

import numpy as np

from canonlab.data.jit import kernel
from canonlab.data.random import Int, below, digit, stream, word

OPERATORS = 3
FRAME = 4
"""Tokens of an instance around its expression: <bos>, <len_l>, <ans> and the answer."""

BOS, ANSWER, PLUS, MINUS, TIMES = range(5)
NUMBER = TIMES + 1
"""Token ids; the number r is NUMBER + r and, after all numbers, <len_l> is NUMBER + modulus - 1 + l."""


class ManoLaw(NamedTuple):
    """What the generator draws from: expressions of shortest..longest operators, over numbers below `modulus`.

    redraw[m] is 2^64 mod the number of outcomes of the one random word behind a token that begins a part of m
    operators: an operator and how many of the other m - 1 its left operand gets, or, for m = 0, a number.
    """

    shortest: int
    longest: int
    modulus: int
    redraw: np.ndarray


def law(shortest: int, longest: int, modulus: int) -> ManoLaw:
    """The law of expressions whose number of operators is uniform in shortest..longest."""
    outcomes = [modulus, *(OPERATORS * m for m in range(1, longest + 1))]
    return ManoLaw(shortest, longest, modulus, np.array([(1 << 64) % count for count in outcomes], np.uint64))


@kernel
def write_expression(
    rng: np.ndarray, row: np.ndarray, position: Int, operators: Int, stack: np.ndarray, law: ManoLaw
) -> Int:
    """Write a random expression to `row[position:]` in prefix order; returns where the next token goes.

    `stack` (more than `operators` + 1 entries) holds how many operators each part to come has. Operators and numbers
    take the same steps, since a branch between them would be mispredicted again and again.
    """
    stack[0] = operators
    top: Int = 1
    while top > 0:
        size = stack[top - 1]
        base, first = (OPERATORS, PLUS) if size > 0 else (law.modulus, NUMBER)
        value, fraction = digit(word(rng), base)
        left, fraction = digit(fraction, max(size, 1))
        if fraction < law.redraw[size]:
            continue
        row[position] = first + value
        position += 1
        stack[top - 1] = size - 1 - left
        stack[top] = left
        top += 1 if size > 0 else -1
    return position


@kernel
def evaluate(expression: np.ndarray, stack: np.ndarray, modulus: Int) -> np.int64:
    """The value of an expression, from its last token to its first.

    A number goes on the stack; an operator replaces the two values on top, its left operand the topmost. For the
    same reason as above a number, too, reads two values, so two entries that mean nothing lie below the first.
    """
    top: Int = 2
    for position in range(len(expression) - 1, -1, -1):
        token = np.int64(expression[position])
        a, b = stack[top - 1], stack[top - 2]
        value = a + b if token == PLUS else (a * b if token == TIMES else a - b + modulus)
        number = token >= NUMBER
        top += 1 if number else -1
        stack[top - 1] = token - NUMBER if number else value % modulus
    return stack[2]


@kernel
def fill(tokens: np.ndarray, mask: np.ndarray, key: np.uint64, start: Int, split: Int, law: ManoLaw) -> None:
    """Write windows start, start + 1, ... of the stream `key` to the rows of `tokens` (int32) and `mask` (uint8).

    Every token is marked except the first of a window, which has nothing to be predicted from.
    """
    context = tokens.shape[1]
    row = np.empty(context + 2 * law.longest + 1 + FRAME, np.int32)
    stack = np.zeros(law.longest + 3, np.int64)
    for window in range(len(tokens)):
        rng = stream(key, start + window, split)
        position: Int = 0
        while position < context:
            operators = law.shortest + below(rng, law.longest - law.shortest + 1)
            row[position] = BOS
            row[position + 1] = NUMBER + law.modulus - 1 + operators
            begin = position + 2
            position = write_expression(rng, row, begin, operators, stack, law)
            row[position] = ANSWER
            row[position + 1] = NUMBER + evaluate(row[begin:position], stack, law.modulus)
            position += 2
        tokens[window] = row[:context]
        mask[window] = 1
        mask[window, 0] = 0
