"""The right-hand sides of a grammar as tries, one a level, in flat arrays for kernels."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from canonlab.tasks.lano.grammar import Grammar


class Uses(NamedTuple):
    """What each node is to the symbols of its level: node's rows are starts[node], ..., starts[node + 1] - 1.

    A row says that a share of the `symbol`'s rules has the node's path as a whole, or goes on from there with `part`.
    """

    starts: np.ndarray
    symbol: np.ndarray
    part: np.ndarray
    share: np.ndarray


class Tries(NamedTuple):
    """A trie for each level that has rules. A symbol is known by its place in its level, which is sorted.

    Level i has sizes[i] symbols and the nodes roots[i], ..., roots[i + 1] - 1, parents before their children, with
    child[node, part] = -1 where no right-hand side goes on. `whole` are the right-hand sides that end at a node (their
    `part` is -1), `onward` those that go on.
    """

    sizes: np.ndarray
    roots: np.ndarray
    child: np.ndarray
    whole: Uses
    onward: Uses


def build_tries(grammar: Grammar) -> Tries:
    """The tries of a grammar's right-hand sides."""
    place = {symbol: i for level in grammar.levels for i, symbol in enumerate(sorted(level))}
    child: list[dict[int, int]] = []
    whole: list[Counter[tuple[int, int]]] = []
    onward: list[Counter[tuple[int, int]]] = []

    def new_node() -> int:
        child.append({})
        whole.append(Counter())
        onward.append(Counter())
        return len(child) - 1

    roots, ways = [], []
    for level in grammar.levels[:-1]:
        roots.append(new_node())
        for symbol in level:
            for side in grammar.rules[symbol]:
                node = roots[-1]
                for part in (place[part] for part in side):
                    onward[node][place[symbol], part] += 1
                    if part not in child[node]:
                        child[node][part] = new_node()
                    node = child[node][part]
                whole[node][place[symbol], -1] += 1
        ways += [{place[symbol]: len(grammar.rules[symbol]) for symbol in level}] * (len(child) - roots[-1])
    table = np.full((len(child), max(map(len, grammar.levels))), -1, np.int32)
    for node, children in enumerate(child):
        for part, next_node in children.items():
            table[node, part] = next_node
    sizes = np.array([len(level) for level in grammar.levels], np.int64)
    return Tries(sizes, np.array([*roots, len(child)], np.int64), table, _uses(whole, ways), _uses(onward, ways))


def _uses(counts: list[Counter[tuple[int, int]]], ways: list[dict[int, int]]) -> Uses:
    starts = np.cumsum([0, *map(len, counts)])
    rows = [(*use, n / of[use[0]]) for counter, of in zip(counts, ways, strict=True) for use, n in counter.items()]
    symbol, part, share = (np.array([row[i] for row in rows]) for i in range(3))
    return Uses(starts.astype(np.int64), symbol.astype(np.int32), part.astype(np.int32), share.astype(np.float64))
