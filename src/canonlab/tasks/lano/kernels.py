"""The generator of Lano's windows: a sentence grows level by level, from the root to the terminals."""

from typing import NamedTuple

import numpy as np

from canonlab.data.jit import kernel
from canonlab.data.random import ONE, Int, digit, stream, word
from canonlab.tasks.lano.grammar import Grammar

BOS = 0
"""The token id before each sentence and so, to the one who predicts, at its end; terminal t is the token t."""

COPIED = 4
"""Right-hand sides are stored padded to a multiple of this many symbols and copied in such blocks, free of branches."""

PRODUCT_BITS = 48
"""Draws share a random word as long as their product is below 2^48: then one word in 2^16, at most, is drawn anew."""


class LanoLaw(NamedTuple):
    """What the generator draws from; terminals have their number, other symbols follow level by level.

    The right-hand sides of symbol a are sides[first[a]], ..., sides[first[a] + ways[a] - 1], int32 padded with 0, of
    `lengths` symbols. `least[i]` is the fewest terminals from a symbol of level i; `shared` draws share a word.
    """

    root: int
    first: np.ndarray
    ways: np.ndarray
    sides: np.ndarray
    lengths: np.ndarray
    least: np.ndarray
    shared: int


def numbered(grammar: Grammar) -> dict[int, int]:
    """The number that kernels know each symbol by: the terminals theirs, then level by level from the root."""
    others = [symbol for level in grammar.levels[:-1] for symbol in level]
    return {t: t for t in grammar.levels[-1]} | {symbol: grammar.terminals + 1 + i for i, symbol in enumerate(others)}


def generator_law(grammar: Grammar) -> LanoLaw:
    """The arrays that the generator takes."""
    number = numbered(grammar)
    first, ways = np.zeros((2, len(number) + 1), np.int64)
    sides: list[list[int]] = []
    for symbol, rules in grammar.rules.items():
        first[number[symbol]], ways[number[symbol]] = len(sides), len(rules)
        sides += [[number[part] for part in rule] for rule in rules]
    longest = max(map(len, sides))
    padded = np.zeros((len(sides), (longest + COPIED - 1) // COPIED * COPIED), np.int32)
    for row, side in zip(padded, sides, strict=True):
        row[: len(side)] = side
    least = [min(grammar.lengths[symbol][0] for symbol in level) for level in grammar.levels]
    bits = max(int(ways.max() - 1).bit_length(), 1)
    lengths = np.array([len(side) for side in sides], np.int64)
    # A window has room for fewer terminals than 2^40, so that a longer least length says no more.
    short = np.array([min(length, 1 << 40) for length in least], np.int64)
    return LanoLaw(number[grammar.root], first, ways, padded, lengths, short, max(PRODUCT_BITS // bits, 1))


@kernel
def expand(rng: np.ndarray, law: LanoLaw, symbols: np.ndarray, count: Int, out: np.ndarray, limit: Int) -> Int:
    """Replace symbols[:count] by right-hand sides in `out`, until at least `limit` symbols stand there.

    Returns how many do. `law.shared` draws come out of one word, exactly uniform: see `digit`.
    """
    begin: Int = 0
    filled: Int = 0
    while begin < count and filled < limit:
        end = min(begin + law.shared, count)
        fraction, product, at = word(rng), ONE, filled
        for i in range(begin, end):
            symbol = symbols[i]
            ways = law.ways[symbol]
            way, fraction = digit(fraction, ways)
            side = law.first[symbol] + way
            product *= np.uint64(ways)
            for block in range(0, law.sides.shape[1], COPIED):
                a, b = law.sides[side, block], law.sides[side, block + 1]
                c, d = law.sides[side, block + 2], law.sides[side, block + 3]
                out[at + block], out[at + block + 1], out[at + block + 2], out[at + block + 3] = a, b, c, d
            at += law.lengths[side]
        if fraction < product and fraction < (~product + ONE) % product:  # 2^64 mod product
            continue
        begin, filled = end, at
    return filled


@kernel
def write_sentence(rng: np.ndarray, law: LanoLaw, work: np.ndarray, row: np.ndarray, room: Int) -> Int:
    """Write a sentence to `row`, or as much of it as is sure to fill `room` tokens; returns how many were written.

    `work` (2, any) and `row` are longer than `room` by `law.shared` times the longest right-hand side.
    """
    work[0, 0] = law.root
    count: Int = 1
    last = len(law.least) - 1
    for level in range(1, last + 1):
        out = work[level % 2] if level < last else row
        limit = (room + law.least[level] - 1) // law.least[level]
        count = expand(rng, law, work[(level - 1) % 2], count, out, limit)
    return count


@kernel
def fill(tokens: np.ndarray, mask: np.ndarray, key: np.uint64, start: Int, split: Int, law: LanoLaw) -> None:
    """Write windows start, start + 1, ... of the stream `key` to the rows of `tokens` (int32) and `mask` (uint8)."""
    context = tokens.shape[1]
    room = context + law.shared * law.sides.shape[1]
    row, work = np.empty(1 + room, np.int32), np.empty((2, room), np.int32)
    mask[:] = 1
    for window in range(len(tokens)):
        rng = stream(key, start + window, split)
        position: Int = 0
        while position < context:
            row[position] = BOS
            position += 1 + write_sentence(rng, law, work, row[position + 1 :], context - position - 1)
        tokens[window] = row[:context]
        mask[window, 0] = 0  # nothing stands before it that could predict it
