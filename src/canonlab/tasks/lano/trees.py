"""Parse trees: how many a sentence has, and the most likely one, in exact integers on the spans of its chart."""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from canonlab.tasks.lano.chart import Chart
from canonlab.tasks.lano.grammar import Grammar, Rule


class Tree(NamedTuple):
    """A symbol that derives sentence[start:end], with its children from left to right; a terminal has none."""

    symbol: int
    start: int
    end: int
    children: tuple["Tree", ...] = ()


class Forest:
    """All parse trees of a sentence, packed: where the spans of each symbol end, by symbol and start."""

    def __init__(self, grammar: Grammar, chart: Chart) -> None:
        self.grammar = grammar
        starts, keys = chart.spans.starts, chart.spans.keys
        self.length = starts.shape[1] - 2
        self.ends: dict[tuple[int, int], set[int]] = {}
        for level, symbols in enumerate(grammar.levels):
            names = sorted(symbols)
            for s in range(self.length):
                for symbol, end in keys[starts[level, s] : starts[level, s + 1]].tolist():
                    self.ends.setdefault((names[symbol], s), set()).add(end)

    def has(self, symbol: int, start: int, end: int) -> bool:
        """Whether `symbol` derives sentence[start:end]."""
        return end in self.ends.get((symbol, start), ())

    def cuts(self, side: Rule, start: int, end: int) -> Iterator[int]:
        """Where the first symbol of a right-hand side of two or more can end, if the whole ends at `end`."""
        return (cut for cut in sorted(self.ends.get((side[0], start), ())) if cut < end)

    def count(self) -> int:
        """The number of parse trees."""

        @cache
        def of_symbol(symbol: int, start: int, end: int) -> int:
            if not self.has(symbol, start, end):
                return 0
            return sum(of_side(side, start, end) for side in self.grammar.rules.get(symbol, ())) or 1

        @cache
        def of_side(side: Rule, start: int, end: int) -> int:
            if len(side) == 1:
                return of_symbol(side[0], start, end)
            cuts = self.cuts(side, start, end)
            return sum(of_symbol(side[0], start, cut) * of_side(side[1:], cut, end) for cut in cuts)

        return of_symbol(self.grammar.root, 0, self.length)

    def best(self) -> Tree | None:
        """The most likely parse tree, the first in the order of rules and cuts among equals; None if there is none.

        A tree's probability is 1 / the product of its symbols' numbers of rules, so that product is made least.
        """
        Found = tuple[int, tuple[Tree, ...]]

        @cache
        def of_symbol(symbol: int, start: int, end: int) -> Found | None:
            if not self.has(symbol, start, end):
                return None
            rules = self.grammar.rules.get(symbol)
            if rules is None:
                return 1, (Tree(symbol, start, end),)
            ways, children = least([found for side in rules if (found := of_side(side, start, end))])
            return ways * len(rules), (Tree(symbol, start, end, children),)

        @cache
        def of_side(side: Rule, start: int, end: int) -> Found | None:
            if len(side) == 1:
                return of_symbol(side[0], start, end)
            found = []
            for cut in self.cuts(side, start, end):
                first, rest = of_symbol(side[0], start, cut), of_side(side[1:], cut, end)
                if first and rest:
                    found.append((first[0] * rest[0], first[1] + rest[1]))
            return least(found) if found else None

        def least(found: list[Found]) -> Found:
            return min(found, key=lambda one: one[0])

        whole = of_symbol(self.grammar.root, 0, self.length)
        return whole[1][0] if whole else None
