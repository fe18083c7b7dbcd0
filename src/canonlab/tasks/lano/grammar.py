"""Level-structured context-free grammars: what they are, where they come from, and what is wrong with one.

A grammar's symbols stand in levels, the root alone in the first and the terminals 1..T in the last, and every rule
replaces a symbol by symbols of the next level (arXiv 2305.13673, section 2; arXiv 2512.17351, section 2).
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from canonlab.errors import InputError, require_integer, shown, unknown
from canonlab.files import read_bytes
from canonlab.typed import user_path

FOLDER = Path(__file__).parent / "grammars"
FIELDS = ("name", "root", "levels", "rules")
MOST_BYTES = 1 << 20
"""Of a grammar's file, a thousand times a shipped one's."""

LARGEST = 10**6
"""The largest number that a symbol may be, far beyond use."""

Rule = tuple[int, ...]
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Grammar:
    """A probabilistic grammar in which the rules of a symbol are equally likely.

    Args:
        levels: the symbols, level by level; the first level is the root alone, the last the terminals 1, ..., T.
        rules: the right-hand sides of every symbol that is no terminal, each of one or more symbols of the next level.

    InputError, naming the symbol or rule, for anything else.
    """

    levels: tuple[tuple[int, ...], ...]
    rules: Mapping[int, tuple[Rule, ...]]

    def __post_init__(self) -> None:
        self._check_levels()
        self._check_rules()

    @property
    def root(self) -> int:
        """The symbol that sentences are derived from."""
        return self.levels[0][0]

    @property
    def terminals(self) -> int:
        """How many terminals there are; they are 1, ..., T."""
        return len(self.levels[-1])

    @property
    def sha256(self) -> str:
        """A hash of levels and rules, as lower-case hex: what makes two grammars the same."""
        rules = [[symbol, self.rules[symbol]] for level in self.levels[:-1] for symbol in level]
        return hashlib.sha256(json.dumps([self.levels, rules], separators=(",", ":")).encode()).hexdigest()

    @cached_property
    def lengths(self) -> dict[int, tuple[int, int]]:
        """The fewest and the most terminals that each symbol derives."""
        found = dict.fromkeys(self.levels[-1], (1, 1))
        for level in self.levels[-2::-1]:
            for symbol in level:
                ends = [[sum(found[part][end] for part in rule) for rule in self.rules[symbol]] for end in (0, 1)]
                found[symbol] = min(ends[0]), max(ends[1])
        return found

    def length_law(self, most: int) -> np.ndarray:
        """The probabilities (float64) that a sentence has 0, 1, ..., `most` tokens."""
        laws = dict.fromkeys(self.levels[-1], np.array([0.0, 1.0]))
        for level in self.levels[-2::-1]:
            for symbol in level:
                total = np.zeros(1 + min(most, self.lengths[symbol][1]))
                for rule in self.rules[symbol]:
                    law = laws[rule[0]]
                    for part in rule[1:]:
                        law = np.convolve(law, laws[part])[: most + 1]
                    total[: len(law)] += law[: len(total)] / len(self.rules[symbol])
                laws[symbol] = total
        return np.pad(laws[self.root], (0, most + 1 - len(laws[self.root])))

    def _check_levels(self) -> None:
        if len(self.levels) < 2 or len(self.levels[0]) != 1:
            raise InputError("grammar: levels must be two or more, the first of them the root alone")
        for symbol in _repeated(symbol for level in self.levels for symbol in level):
            raise InputError(f"grammar: symbol {symbol} stands twice in levels")
        if not self.levels[-1] or sorted(self.levels[-1]) != list(range(1, self.terminals + 1)):
            raise InputError(f"grammar: the last of levels = {list(self.levels[-1])}: must be the terminals 1, ..., T")

    def _check_rules(self) -> None:
        levels = {symbol: i for i, level in enumerate(self.levels) for symbol in level}
        last = len(self.levels) - 1
        for symbol in self.rules:
            if levels.get(symbol, last) == last:
                what = "is a terminal" if symbol in levels else "stands in no level"
                raise InputError(f"grammar: rules of {symbol}, which {what}")
        used = {self.root}
        for symbol, level in levels.items():
            if symbol not in used and level < last:
                raise InputError(f"grammar: {symbol} of levels[{level}] is unreachable from the root {self.root}")
            if level < last:
                self._check_right_hand_sides(symbol, level + 1, levels)
                used.update(part for rule in self.rules[symbol] for part in rule)
        if idle := sorted(set(self.levels[-1]) - used):
            raise InputError(f"grammar: terminal {idle[0]} is unreachable from the root {self.root}")

    def _check_right_hand_sides(self, symbol: int, next_level: int, levels: Mapping[int, int]) -> None:
        rules = self.rules.get(symbol, ())
        if not rules:
            raise InputError(f"grammar: symbol {symbol} has no rules")
        for rule in _repeated(rules):
            raise InputError(f"grammar: rules[{symbol}]: {shown(list(rule))} stands twice")
        for i, rule in enumerate(rules):
            where = f"grammar: rules[{symbol}][{i}] = {shown(list(rule))}"
            if not rule:
                raise InputError(f"{where}: must have at least one symbol")
            for part in rule:
                if part not in levels:
                    raise InputError(f"{where}: {part} stands in no level")
                if levels[part] != next_level:
                    raise InputError(f"{where}: {part} is of levels[{levels[part]}], must be of levels[{next_level}]")


def grammar_from(content: object) -> Grammar:
    """The grammar in a JSON object: `root`, `levels` (lists of symbols), `rules` (lists by symbol), maybe `name`."""
    if not isinstance(content, Mapping):
        raise InputError("grammar: must be an object with root, levels and rules")
    for key in content:
        if key not in FIELDS:
            raise unknown("grammar field", key, FIELDS)
    for key in FIELDS[1:]:
        if key not in content:
            raise InputError(f"grammar: {key} is missing")
    levels = tuple(_symbols(f"levels[{i}]", level) for i, level in enumerate(_list("levels", content["levels"])))
    if not isinstance(content["rules"], Mapping):
        raise InputError("grammar: rules must be an object, symbol to list of right-hand sides")
    rules: dict[int, tuple[Rule, ...]] = {}
    for key, sides in content["rules"].items():
        symbol = _symbol(key)
        if symbol in rules:
            raise InputError(f"grammar: rules of {symbol} stand twice")
        listed = _list(f"rules[{key}]", sides)
        rules[symbol] = tuple(_symbols(f"rules[{key}][{i}]", side) for i, side in enumerate(listed))
    if levels and (content["root"],) != levels[0]:
        one = f"must be the one symbol of levels[0] = {list(levels[0])}"
        raise InputError(f"grammar: root = {content['root']!r}: {one}")
    return Grammar(levels, rules)


def read_grammar(reference: str) -> Grammar:
    """The grammar that a shipped name, such as cfg3f, or the path of a JSON file stands for."""
    if not isinstance(reference, str):
        raise InputError(f"grammar = {shown(reference)}: must be a name, such as cfg3f, or the path of a JSON file")
    if not reference.endswith(".json"):
        names = sorted(path.stem for path in FOLDER.glob("*.json"))
        if reference not in names:
            raise unknown("grammar", reference, [*names, "path.json"])
        reference = str(FOLDER / f"{reference}.json")
    try:
        content = read_bytes(user_path(reference), MOST_BYTES)
    except InputError as error:
        raise InputError(f"grammar = {shown(reference)}: {error}") from None
    try:
        return grammar_from(json.loads(content, object_pairs_hook=_once))
    except (ValueError, RecursionError) as error:
        raise InputError(f"the grammar {shown(reference)} is not valid JSON: {error}") from None
    except InputError as error:
        raise InputError(f"{reference}: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON would silently keep the last of two entries with the same key."""
    for key in _repeated(key for key, _ in pairs):
        raise InputError(f"grammar: {shown(key)} stands twice in one object")
    return dict(pairs)


def _repeated(values: Iterable[T]) -> Iterator[T]:
    """Those that stand there before."""
    seen: set[T] = set()
    for value in values:
        if value in seen:
            yield value
        seen.add(value)


def _list(field: str, value: object) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise InputError(f"grammar: {field} = {shown(value)}: must be a list")
    return value


def _symbols(field: str, value: object) -> tuple[int, ...]:
    parts = enumerate(_list(field, value))
    return tuple(require_integer(f"grammar: {field}[{i}]", part, 1, LARGEST) for i, part in parts)


def _symbol(key: object) -> int:
    if isinstance(key, str) and key.isascii() and key.isdigit():
        key = int(key)
    return require_integer("grammar: a key of rules", key, 1, LARGEST)
