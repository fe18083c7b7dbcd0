"""Lano's generator: token for token its plain twin, sentences of the grammar, and of the right law."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from canonlab.data.plain import Random
from canonlab.data.random import stream
from canonlab.tasks.base import SPLITS, Split
from canonlab.tasks.lano import Grammar, Lano, read_grammar
from canonlab.tasks.lano.evaluate import first_sentences
from canonlab.tasks.lano.kernels import expand, generator_law, numbered
from laws import assert_follows
from plain_lano import TINY, language, plain_window, recognise

NAMES = [f"cfg3{letter}" for letter in "bfghijk"]
WIDE = Grammar(
    ((7,), (5, 6), (1, 2, 3, 4)),
    {7: ((5,) * 9, (5, 6) * 6), 5: tuple((1, 2)[: 1 + i % 2] + (3,) * (i // 2) for i in range(37)), 6: ((4,) * 5,)},
)
"""Long right-hand sides, a symbol with 37 rules and one with a single one."""


class Given(Lano):
    """Lano of a grammar that no file holds."""

    definition: Grammar  # type: ignore[assignment]


def task_of(grammar: Grammar, context: int) -> Lano:
    given = Given.__new__(Given)
    given.__dict__.update(definition=grammar, grammar="given", context=context)
    return given


TASKS = {name: Lano(name, 512 if name < "cfg3j" else 1536) for name in NAMES} | {
    "short": Lano("cfg3f", 70),
    "tiny": task_of(TINY, 40),
    "wide": task_of(WIDE, 300),
}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", TASKS)
def test_windows_are_those_of_the_plain_twin(name: str, split: Split) -> None:
    task = TASKS[name]
    for seed, start in ((0, 0), (123, 10**12)):
        tokens, mask = task.windows(seed, start, 4, split)
        for i in range(4):
            assert tokens[i].tolist() == plain_window(task, seed, start + i, split)
        assert mask.tolist() == [[0] + [1] * (task.context - 1)] * 4


def test_draws_from_a_word_that_must_be_drawn_anew() -> None:
    """37^12 is so close to 2^64 that some words are rejected; the law as it is rejects one in millions."""
    law = generator_law(WIDE)._replace(shared=12)
    plain, expected, words = Random(99, 0, 0), [], 0
    for _ in range(50):
        before = plain.state
        for way in plain.digits([37] * 12):
            expected += WIDE.rules[5][way]
        words += (plain.state - before) * pow(plain.gamma, -1, 1 << 64) % (1 << 64)
    assert words > 50
    symbols, out = np.full(600, numbered(WIDE)[5], np.int32), np.zeros(600 * 40, np.int32)
    count = expand(stream(np.uint64(99), 0, 0), law, symbols, 600, out, 10**6)
    assert out[:count].tolist() == expected


@pytest.mark.parametrize("name", TASKS)
def test_every_whole_sentence_parses(name: str) -> None:
    """Of the last one, which the window may cut, the tokens that are there begin a sentence."""
    task = TASKS[name]
    for window in task.windows(7, 0, 6, "eval").tokens:
        assert window[0] == 0
        parts = np.split(window, np.flatnonzero(window == 0))[1:]
        for part in parts[:-1]:
            assert recognise(task.definition, part[1:].tolist())
        assert task.parser.fitting(parts[-1][1:]) == len(parts[-1]) - 1


def test_sentences_follow_the_law() -> None:
    """The commonest sentences of a small grammar one by one, all others together."""
    drawn = Counter(tuple(s.tolist()) for s in first_sentences(TASKS["tiny"].windows(0, 0, 20_000).tokens))
    assert drawn.total() == 20_000
    shares = sorted(((float(p), s) for s, p in language(TINY)[0].items()), reverse=True)[:200]
    common = [drawn[s] for _, s in shares]
    assert_follows([*common, 20_000 - sum(common)], [*(p for p, _ in shares), 1 - sum(p for p, _ in shares)])


@pytest.mark.parametrize("name", ["cfg3f", "cfg3j"])
def test_lengths_follow_the_law(name: str) -> None:
    task = TASKS[name]
    lengths = [len(s) for s in first_sentences(task.windows(1, 0, 4000).tokens)]
    law = read_grammar(name).length_law(task.context - 2)
    edges = [np.searchsorted(law.cumsum(), q / 20) for q in range(1, 20)]
    cells = [*(part.sum() for part in np.split(law, edges)), 1 - law.sum()]
    counts = np.bincount(np.searchsorted(edges, lengths, side="right"), minlength=20).tolist()
    # Hardly any sentence is too long for the window: those join the longest.
    assert_follows([*counts[:-1], counts[-1] + 4000 - len(lengths)], [*cells[:-2], cells[-2] + cells[-1]])


def test_windows_depend_on_their_index_alone() -> None:
    task = TASKS["cfg3f"]
    at_once = task.windows(5, 100, 24)
    with ThreadPoolExecutor(3) as pool:
        parts = list(pool.map(lambda start: task.windows(5, start, 8), (116, 100, 108)))
    assert np.array_equal(np.concatenate([parts[1].tokens, parts[2].tokens, parts[0].tokens]), at_once.tokens)
