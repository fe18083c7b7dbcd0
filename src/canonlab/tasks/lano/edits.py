"""The fewest edits that turn tokens into a sentence of a grammar: a diagnosis of what is wrong, not a score."""

import numpy as np

from canonlab.data.jit import inlined, kernel
from canonlab.data.random import Int
from canonlab.tasks.lano.tries import Tries

FAR = 1 << 29
"""More edits than any number that is counted, and less than half of what an int32 holds."""


@inlined
def relax(out: np.ndarray, cost: Int, more: np.ndarray) -> None:
    """out = min(out, cost + more), which compiles to vector instructions."""
    for i in range(len(out)):
        out[i] = min(out[i], np.int32(cost + more[i]))


@kernel
def terminal_costs(sentence: np.ndarray, terminals: Int) -> np.ndarray:
    """Edits (terminals, start, end) that make sentence[start:end] the terminal: keep one that fits, delete the rest.

    A sentence of one or more terminals is aligned so with any tokens, as deleted ones can be put to a neighbour.
    """
    length = len(sentence)
    costs = np.full((terminals, length + 1, length + 1), FAR, np.int32)
    for terminal in range(terminals):
        for start in range(length + 1):
            costs[terminal, start, start] = 1
            wrong: Int = 1
            for end in range(start + 1, length + 1):
                wrong = 0 if sentence[end - 1] == terminal + 1 else wrong
                costs[terminal, start, end] = end - start - 1 + wrong
    return costs


@kernel
def fewest_edits(sentence: np.ndarray, tries: Tries, most: Int) -> Int:
    """The fewest tokens to insert, delete or replace so that `sentence` (int32) is in the language.

    Anything above `most` when more are needed: paths that take more are not followed, which makes small numbers cheap.
    Otherwise the time grows with the cube of the length. Error-correcting parsing (Aho and Peterson, 1972) on a table
    (symbol, start, end) a level.
    """
    length, last = len(sentence), len(tries.sizes) - 1
    parts = terminal_costs(sentence, tries.sizes[last])
    paths = np.empty((np.diff(tries.roots).max(), length + 1), np.int32)
    for level in range(last - 1, -1, -1):
        root, stop = tries.roots[level], tries.roots[level + 1]
        costs = np.full((tries.sizes[level], length + 1, length + 1), FAR, np.int32)
        for start in range(length + 1 if level > 0 else 1):
            paths[:] = FAR
            paths[0, start] = 0
            for node in range(root, stop):
                for part in range(tries.sizes[level + 1]):
                    child = tries.child[node, part]
                    if child >= 0:
                        for middle in range(start, length + 1):
                            if paths[node - root, middle] <= most:
                                cost = paths[node - root, middle]
                                relax(paths[child - root, middle:], cost, parts[part, middle, middle:])
                for use in range(tries.whole.starts[node], tries.whole.starts[node + 1]):
                    relax(costs[tries.whole.symbol[use], start, start:], 0, paths[node - root, start:])
        parts = costs
    return parts[0, 0, length]
