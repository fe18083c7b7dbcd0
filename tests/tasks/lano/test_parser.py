"""The parser against a plain recogniser, and against the whole language of small grammars."""

import math
import random
from collections.abc import Iterator
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from canonlab.errors import InputError
from canonlab.tasks.lano import Grammar, Lano, Parser, read_grammar
from canonlab.tasks.lano.evaluate import first_sentences
from canonlab.tasks.lano.trees import Tree
from plain_lano import TINY, below, distance, language, recognise

NAMES = [f"cfg3{letter}" for letter in "bfghijk"]
DOUBLING = Grammar(tuple((i,) for i in range(11, 0, -1)), {i: ((i - 1,), (i - 1, i - 1)) for i in range(2, 12)})
"""Every number of 1s up to 1024, in more ways than an int64 can count."""


def sentences(name: str, count: int, context: int = 3000) -> list[np.ndarray]:
    return first_sentences(Lano(name, context).windows(11, 0, count, "eval").tokens)


def mutated(rng: random.Random, sentence: list[int], terminals: int = 3) -> list[int]:
    """The sentence with one token inserted, deleted or replaced."""
    at, token = rng.randrange(len(sentence)), rng.randint(1, terminals)
    kind = rng.randrange(3)
    return sentence[:at] + [token] * (kind > 0) + sentence[at + (kind < 2) :]


def short_strings(rng: random.Random, grammar: Grammar, count: int) -> Iterator[list[int]]:
    """Half of them random, half of them sentences or nearly so."""

    def derived(symbol: int) -> list[int]:
        sides = grammar.rules.get(symbol)
        return [symbol] if sides is None else [t for part in rng.choice(sides) for t in derived(part)]

    low, high = grammar.lengths[grammar.root]
    for i in range(count):
        if i % 2:
            yield [rng.randint(1, grammar.terminals) for _ in range(rng.randint(low - 1, min(high + 1, low + 8)))]
        else:
            found = derived(grammar.root)
            yield mutated(rng, found, grammar.terminals) if i % 4 else found


def test_agrees_with_a_plain_recogniser_on_short_strings() -> None:
    rng, seen = random.Random(0), {True: 0, False: 0}
    grammars = [TINY, DOUBLING]
    for name in NAMES:
        whole = read_grammar(name)
        grammars += [below(whole, symbol) for level in whole.levels[-3:-1] for symbol in level]
    for grammar in grammars:
        parser = Parser(grammar)
        for string in short_strings(rng, grammar, 250):
            expected = recognise(grammar, string)
            assert parser.recognise(string) == expected, (grammar, string)
            seen[expected] += 1
    assert sum(seen.values()) >= 10_000 and min(seen.values()) > 2000


@pytest.mark.parametrize("count", [4, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_a_plain_recogniser_on_full_sentences(name: str, count: int) -> None:
    rng, grammar = random.Random(1), read_grammar(name)
    parser = Parser(grammar)
    whole = [sentence.tolist() for sentence in sentences(name, count)]
    assert len(whole) == count
    changed = [mutated(rng, sentence) for sentence in whole]
    expected = [recognise(grammar, sentence) for sentence in changed]
    assert parser.each(parser.recognise, whole) == [True] * count == [recognise(grammar, s) for s in whole]
    assert parser.each(parser.recognise, changed, threads=2) == expected
    assert not all(expected) and (any(expected) or count < 50)


def test_tiny_language() -> None:
    """All of it, and all other strings up to some length."""
    parser, (shares, trees) = Parser(TINY), language(TINY)
    assert sum(shares.values()) == 1 and max(trees.values()) > 5
    for length in range(7):
        for string in product((1, 2, 3), repeat=length):
            assert parser.recognise(string) == (string in shares)
            assert parser.count(string) == trees[string]
            assert (parser.best_parse(string) is None) == (string not in shares)
    for sentence in random.Random(0).sample(sorted(shares), 500):
        assert parser.count(sentence) == trees[sentence]
        assert math.exp(parser.log_probability(sentence)) == pytest.approx(float(shares[sentence]), rel=1e-12)
    assert parser.log_probability([1, 2]) == -math.inf


def test_distributions_by_enumeration() -> None:
    parser, (shares, _) = Parser(TINY), language(TINY)
    begins: dict[tuple[int, ...], Fraction] = {}
    for sentence, probability in shares.items():
        for stop in range(len(sentence) + 1):
            begins[sentence[:stop]] = begins.get(sentence[:stop], Fraction(0)) + probability
    prefixes = random.Random(0).sample(sorted(begins), 300)
    for prefix in [(), *prefixes]:
        found = parser.distributions(prefix)
        assert found.shape == (len(prefix) + 1, 4)
        for stop in range(len(prefix) + 1):
            start = prefix[:stop]
            true = [shares.get(start, 0), *(begins.get((*start, t), 0) for t in (1, 2, 3))]
            assert found[stop] == pytest.approx([float(p / begins[start]) for p in true], rel=1e-12, abs=0)


@pytest.mark.parametrize("name", NAMES)
def test_distributions_add_up(name: str) -> None:
    """Each sums to one, although none is divided by its sum, and together they give the inside probability."""
    parser = Parser(read_grammar(name))
    for sentence in sentences(name, 10):
        found = parser.distributions(sentence)
        assert abs(found.sum(axis=1) - 1).max() < 1e-12
        chain = np.log(found[np.arange(len(sentence)), sentence]).sum() + np.log(found[-1, 0])
        assert chain == pytest.approx(parser.log_probability(sentence), rel=1e-12)
        assert parser.fitting(sentence) == len(sentence)


def test_long_sentences_lose_no_precision() -> None:
    """2000 tokens: of cfg3j with its longest sentences, and of a law that is known, with probability 4^-2000."""
    grammar = read_grammar("cfg3j")

    def longest(symbol: int) -> list[int]:
        if symbol not in grammar.rules:
            return [symbol]
        side = max(grammar.rules[symbol], key=lambda side: sum(grammar.lengths[part][1] for part in side))
        return [token for part in side for token in longest(part)]

    sentence, parser = longest(grammar.root), Parser(grammar)
    assert len(sentence) == 2052 and parser.recognise(sentence)
    found = parser.distributions(sentence)
    assert abs(found.sum(axis=1) - 1).max() < 1e-12
    chain = np.log(found[np.arange(2052), sentence]).sum() + np.log(found[-1, 0])
    assert chain == pytest.approx(parser.log_probability(sentence), rel=1e-13)
    fair = Grammar(((6,), (5,), (1, 2, 3, 4)), {6: ((5,) * 2000,), 5: ((1,), (2,), (3,), (4,))})
    coins = np.random.default_rng(0).integers(1, 5, 2000)
    assert np.array_equal(Parser(fair).distributions(coins[:-1]), [[0, 0.25, 0.25, 0.25, 0.25]] * 2000)
    assert Parser(fair).log_probability(coins) == pytest.approx(-2000 * math.log(4), rel=1e-15)


def test_counts_are_exact() -> None:
    """The number of ways to write n as a sum, level by level, in Python's integers."""
    ways = [0, 1] + [0] * 119
    for _ in range(10):
        ways = [ways[n] + sum(ways[i] * ways[n - i] for i in range(n + 1)) for n in range(121)]
    parser = Parser(DOUBLING)
    assert parser.count([1] * 120) == ways[120] > 1 << 64
    assert parser.count([1] * 7) == ways[7]


def all_trees(grammar: Grammar, sentence: tuple[int, ...]) -> list[tuple[Fraction, Tree]]:
    def of(symbol: int, start: int) -> list[tuple[Fraction, Tree]]:
        if symbol not in grammar.rules:
            here = sentence[start : start + 1] == (symbol,)
            return [(Fraction(1), Tree(symbol, start, start + 1))] if here else []
        found = []
        for side in grammar.rules[symbol]:
            share = Fraction(1, len(grammar.rules[symbol]))
            partial: list[tuple[Fraction, int, tuple[Tree, ...]]] = [(share, start, ())]
            for part in side:
                partial = [(p * q, t.end, (*ts, t)) for p, end, ts in partial for q, t in of(part, end)]
            found += [(p, Tree(symbol, start, end, ts)) for p, end, ts in partial]
        return found

    return [(p, tree) for p, tree in of(grammar.root, 0) if tree.end == len(sentence)]


def test_best_parse_is_the_most_likely() -> None:
    parser, (shares, trees) = Parser(TINY), language(TINY)
    chosen = 0
    for sentence in random.Random(0).sample(sorted(shares), 200):
        every = all_trees(TINY, sentence)
        assert len(every) == trees[sentence]
        best = parser.best_parse(sentence)
        assert max(p for p, _ in every) == {tree: p for p, tree in every}[best]
        chosen += len({p for p, _ in every}) > 1
    assert chosen > 20


def test_fewest_edits_by_enumeration() -> None:
    rng, grammar = random.Random(0), below(TINY, 7)
    parser, known = Parser(grammar), list(language(grammar)[0])
    found = []
    for _ in range(300):
        string = [rng.randint(1, 3) for _ in range(rng.randrange(14))]
        found.append(parser.edits(string))
        assert found[-1] == min(distance(string, sentence) for sentence in known)
    assert {0, 1, 2, 3, 4, 5} <= set(found)  # also more than are looked for at first


def test_edits_of_full_sentences() -> None:
    rng, parser = random.Random(0), Parser(read_grammar("cfg3b"))
    for sentence in sentences("cfg3b", 3):
        assert parser.edits(sentence) == 0
        changed = sentence.tolist()
        for most in range(1, 4):
            changed = mutated(rng, changed)
            assert (parser.edits(changed) == 0) == parser.recognise(changed) and parser.edits(changed) <= most
    assert parser.edits([]) == 138 and parser.edits([1] * 432) > 100


def test_tokens_that_are_no_terminals() -> None:
    parser = Parser(below(TINY, 7))
    for wrong in (0, -1, 4, 2**40, -(2**31)):
        assert parser.recognise([1, wrong, 1]) is False
        assert (parser.fitting([1, wrong, 1]), parser.edits([1, 1, wrong, 1, 1, 1])) == (1, 1)
        with pytest.raises(InputError, match=rf"sentence\[1\] = {wrong}: no sentence of the grammar begins"):
            parser.distributions([1, wrong])
    with pytest.raises(InputError, match="sequence of integers"):
        parser.recognise([1.0, 2.0])  # type: ignore[list-item]


def test_prefixes_of_probability_zero() -> None:
    parser, (shares, _) = Parser(TINY), language(TINY)
    begins = {sentence[:stop] for sentence in shares for stop in range(len(sentence) + 1)}
    rng, cut = random.Random(0), 0
    for _ in range(200):
        string = tuple(rng.randint(1, 3) for _ in range(12))
        fitting = next(n for n in range(12, -1, -1) if string[:n] in begins)
        assert parser.fitting(string) == fitting
        if fitting < 12:
            cut += 1
            with pytest.raises(InputError, match=rf"sentence\[{fitting}\] = {string[fitting]}: no sentence"):
                parser.distributions(string)
    assert cut > 20
