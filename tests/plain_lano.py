"""Lano in plain Python: the generator's twin, a recogniser, and the language of a small grammar by enumeration."""

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from itertools import product

from canonlab.data.plain import Random
from canonlab.tasks.base import SPLITS, Split
from canonlab.tasks.lano import Grammar, Lano

TINY = Grammar(
    levels=((9,), (6, 7), (4, 5), (1, 2, 3)),
    rules={
        9: ((6, 7), (6, 6), (7,)),
        6: ((4, 5), (5, 4), (4,)),
        7: ((5, 5), (4, 4, 5, 4)),
        4: ((1,), (1, 1), (2, 3)),
        5: ((1, 1), (3,), (1, 2, 1), (2, 3)),
    },
)
"""Ambiguous, with right-hand sides of one to four symbols, and a part that two symbols have in common."""


def below(grammar: Grammar, symbol: int) -> Grammar:
    """The part of a grammar that derives from `symbol`."""
    level = next(i for i, symbols in enumerate(grammar.levels) if symbol in symbols)
    levels, rules = [(symbol,)], {}
    for _ in grammar.levels[level + 1 :]:
        rules |= {s: grammar.rules[s] for s in levels[-1]}
        levels.append(tuple(sorted({part for s in levels[-1] for side in rules[s] for part in side})))
    return Grammar(tuple(levels), rules)


def plain_window(task: Lano, seed: int, index: int, split: Split) -> list[int]:
    """The tokens of one window."""
    grammar, rng = task.definition, Random(task.stream_key(seed), index, SPLITS.index(split))
    most = max(map(len, grammar.rules.values()))
    shared = 48 // max(1, (most - 1).bit_length())
    tokens: list[int] = []
    while len(tokens) < task.context:
        room = task.context - len(tokens) - 1
        symbols = [grammar.root]
        for level in grammar.levels[1:]:
            least = min(grammar.lengths[symbol][0] for symbol in level)
            grown: list[int] = []
            while symbols and len(grown) * least < room:
                block, symbols = symbols[:shared], symbols[shared:]
                for symbol, way in zip(block, rng.digits([len(grammar.rules[s]) for s in block]), strict=True):
                    grown += grammar.rules[symbol][way]
            symbols = grown
        tokens += [0, *symbols]
    return tokens[: task.context]


def recognise(grammar: Grammar, sentence: Sequence[int]) -> bool:
    """Whether the grammar derives the sentence, from the root down."""

    @cache
    def ends(symbol: int, start: int) -> set[int]:
        if symbol not in grammar.rules:
            return {start + 1} if list(sentence[start : start + 1]) == [symbol] else set()
        found: set[int] = set()
        for side in grammar.rules[symbol]:
            here = {start}
            for part in side:
                here = set().union(*(ends(part, end) for end in here))
            found |= here
        return found

    return len(sentence) in ends(grammar.root, 0)


def language(grammar: Grammar) -> tuple[dict[tuple[int, ...], Fraction], Counter[tuple[int, ...]]]:
    """All sentences with their probabilities, and with their numbers of parse trees."""

    @cache
    def trees(symbol: int) -> list[tuple[tuple[int, ...], Fraction]]:
        if symbol not in grammar.rules:
            return [((symbol,), Fraction(1))]
        sides = grammar.rules[symbol]
        found = []
        for side in sides:
            for parts in product(*map(trees, side)):
                probability = Fraction(1, len(sides))
                for _, p in parts:
                    probability *= p
                found.append((sum((tokens for tokens, _ in parts), ()), probability))
        return found

    shares: dict[tuple[int, ...], Fraction] = {}
    for tokens, probability in trees(grammar.root):
        shares[tokens] = shares.get(tokens, Fraction(0)) + probability
    return shares, Counter(tokens for tokens, _ in trees(grammar.root))


def distance(a: Sequence[int], b: Sequence[int]) -> int:
    """The fewest tokens to insert, delete or replace to make b of a."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]
