"""What a grammar has to say of sentences: whether they parse, how, and what can come next."""

import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from canonlab.errors import InputError
from canonlab.tasks.lano import chart
from canonlab.tasks.lano.edits import fewest_edits
from canonlab.tasks.lano.grammar import Grammar
from canonlab.tasks.lano.trees import Forest, Tree
from canonlab.tasks.lano.tries import build_tries

Sentence = Sequence[int] | np.ndarray
T = TypeVar("T")


class Parser:
    """An exact parser for one grammar. A sentence is a sequence of integers; those that are no terminals fit nowhere.

    Methods spend their time without the GIL, so `each` runs them on all cores.
    """

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        self.tries = build_tries(grammar)

    def recognise(self, sentence: Sentence) -> bool:
        """Whether the grammar derives the sentence."""
        return bool(chart.recognise(self._ids(sentence), self.tries))

    def distributions(self, sentence: Sentence) -> np.ndarray:
        """The true probabilities of what comes next, at every position: float64 (tokens + 1, terminals + 1).

        Row i follows sentence[:i]; column t is the terminal t, column 0 the end. InputError when no sentence of the
        grammar begins like this one: there is no next token then.
        """
        ids = self._ids(sentence)
        fitting, numbers = self._prefixes(ids)
        if fitting < len(ids):
            token = f"sentence[{fitting}] = {sentence[fitting]}"
            raise InputError(f"{token}: no sentence of the grammar begins with these {fitting + 1} tokens")
        tokens = np.arange(len(ids))
        m, e = np.append(1.0, numbers.m[tokens, ids]), np.append(0, numbers.e[tokens, ids])
        return numbers.m / m[:, None] * np.exp2(-256.0 * (numbers.e - e[:, None]))

    def fitting(self, sentence: Sentence) -> int:
        """How many of the first tokens some sentence of the grammar begins with."""
        return self._prefixes(self._ids(sentence))[0]

    def log_probability(self, sentence: Sentence) -> float:
        """The natural logarithm of the sentence's probability; minus infinity when it doesn't parse."""
        filled = chart.inside(self._ids(sentence), self.tries)
        span, (m, e) = chart.whole_span(filled), filled.spans.numbers
        return math.log(m[span]) - 256 * math.log(2) * int(e[span]) if span >= 0 else -math.inf

    def count(self, sentence: Sentence) -> int:
        """How many parse trees the sentence has."""
        return self._forest(sentence).count()

    def best_parse(self, sentence: Sentence) -> Tree | None:
        """The most likely parse tree; None when the sentence doesn't parse."""
        return self._forest(sentence).best()

    def edits(self, sentence: Sentence) -> int:
        """The fewest tokens to insert, delete or replace to get a sentence of the grammar.

        A fraction of a second for a few edits in 500 tokens; the time grows with the cube of the length.
        """
        ids, most = self._ids(sentence), 4
        while (found := fewest_edits(ids, self.tries, most)) > most:
            most *= 4
        return int(found)

    @staticmethod
    def each(method: Callable[[Sentence], T], sentences: Iterable[Sentence], threads: int | None = None) -> list[T]:
        """`method` of every sentence, in order, on `threads` threads: by default one for each core."""
        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            return list(pool.map(method, sentences))

    def _prefixes(self, ids: np.ndarray) -> tuple[int, chart.Numbers]:
        """How many of the first tokens fit, and the probabilities of all prefixes with one token more."""
        numbers = chart.prefixes(chart.inside(ids, self.tries), self.tries)
        lost = (ids == 0) | (numbers.e[np.arange(len(ids)), ids] == chart.NOTHING)
        return int(lost.argmax()) if lost.any() else len(ids), numbers

    def _forest(self, sentence: Sentence) -> Forest:
        return Forest(self.grammar, chart.inside(self._ids(sentence), self.tries))

    def _ids(self, sentence: Sentence) -> np.ndarray:
        """The tokens as int32, 0 for those that are no terminals."""
        ids = np.asarray(sentence if len(sentence) else np.empty(0, np.int32))
        if ids.ndim != 1 or ids.dtype.kind not in "iu":
            raise InputError("a sentence must be a sequence of integers")
        return np.where((ids >= 1) & (ids <= self.grammar.terminals), ids, 0).astype(np.int32)
