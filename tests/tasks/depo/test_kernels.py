"""Depo's generator: token for token its plain twin, right by an independent solver, and lawful."""

import dataclasses
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations

import numpy as np
import pytest

from canonlab.tasks.base import SPLITS, Split, Windows
from canonlab.tasks.catalog import build_task
from canonlab.tasks.depo import Depo
from laws import assert_follows, assert_uniform
from plain_depo import plain_window, read_window, solve

PRESETS = {name: build_task(name) for name in ("depo1", "depo2")}
LAPTOP = Depo(N=10, K=4, V=50, lengths=(1, 1), context=96)
TASKS = [
    *PRESETS.values(),
    LAPTOP,
    Depo(N=3, K=1, V=3, lengths=(1, 1), context=64),
    Depo(N=6, K=32, V=2, lengths=(1, 2), context=300),  # all names that there are, k up to several rounds
    Depo(N=7, K=3, V=1, lengths=(2, 9), context=500),  # one value: names differ by their length
    Depo(N=12, K=5, V=3, lengths=(9, 11), context=1000),
    Depo(N=5, K=2, V=10**6, lengths=(3, 3), context=200),  # one draw of a name in 40 is rejected
    Depo(N=60, K=8, V=50, lengths=(1, 2), context=401),
]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", TASKS, ids=str)
def test_windows_are_those_of_the_plain_twin(task: Depo, split: Split) -> None:
    for seed, start, count in ((0, 0, 6), (123, 10**12, 3)):
        windows = task.windows(seed, start, count, split)
        for i in range(count):
            tokens, mask = plain_window(task, seed, start + i, split)
            assert windows.tokens[i].tolist() == tokens
            assert windows.mask[i].tolist() == mask


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", [*PRESETS.values(), LAPTOP], ids=str)
def test_every_answer_is_right(task: Depo, split: Split) -> None:
    for tokens, mask in zip(*task.windows(7, 0, 60, split), strict=True):
        instances = read_window(task, tokens)
        marked = np.zeros_like(mask)
        for instance in instances:
            sources = [source for source, _ in instance.edges]
            for query in instance.queries:
                marked[query.start - 1 : query.stop] = 1
                assert query.k in (task.evaluated_hops if split == "eval" else range(1, task.K + 1))
                if query.stop:
                    answer = tuple(task.vocabulary[i].name for i in tokens[query.start : query.stop])
                    assert answer == solve(instance.edges, query.node, query.k)
            if instance.whole:
                n = len(instance.edges)
                assert n == task.N or (split == "train" and 3 <= n <= task.N)
                assert len(set(sources)) == len({solve(instance.edges, sources[0], k) for k in range(n)}) == n
                assert len({query.node for query in instance.queries}) == min(10, n)
                assert all(task.lengths[0] <= len(name) <= task.lengths[1] for name in sources)
        assert instances[0].begin == 0 and all(instance.whole for instance in instances[:-1])
        assert mask.tolist() == marked.tolist()


@pytest.mark.parametrize("task", [PRESETS["depo1"], LAPTOP], ids=str)
def test_windows_depend_on_their_index_alone(task: Depo) -> None:
    at_once = task.windows(5, 100, 24)
    with ThreadPoolExecutor(3) as pool:
        parts = list(pool.map(lambda start: task.windows(5, start, 8), (100, 108, 116)))
    for start, part in zip((0, 8, 16), parts, strict=True):
        assert np.array_equal(part.tokens, at_once.tokens[start : start + 8])
        assert np.array_equal(part.mask, at_once.mask[start : start + 8])
    backwards = Windows(np.full_like(at_once.tokens, -1), np.full_like(at_once.mask, 255))
    for i in reversed(range(24)):
        task.fill(Windows(backwards.tokens[i : i + 1], backwards.mask[i : i + 1]), 5, 100 + i)
    assert np.array_equal(backwards.tokens, at_once.tokens) and np.array_equal(backwards.mask, at_once.mask)


def test_streams_differ() -> None:
    tasks = LAPTOP, dataclasses.replace(LAPTOP, context=97)
    firsts = [task.windows(seed, 0, 1, "eval").tokens[0, :61].tobytes() for task in tasks for seed in (0, 1)]
    firsts += [LAPTOP.windows(0, index, 1, split).tokens[0, :61].tobytes() for index in (1, 2) for split in SPLITS]
    assert len(set(firsts)) == len(firsts)


def first_sizes(task: Depo, windows: int) -> list[int]:
    """The number of nodes of each window's first instance, which always fits: the names before the first query."""
    tokens = task.windows(1, 0, windows).tokens
    ends = np.cumsum(tokens >= task.names.end.start, axis=1)
    first_query = ((tokens > 1) & (tokens < task.names.first)).argmax(axis=1)
    return (ends[np.arange(windows), first_query] // 2).tolist()


@pytest.mark.parametrize("task", [PRESETS["depo1"], LAPTOP, Depo(4, 2, 4, (1, 1), 64)], ids=str)
def test_law_of_sizes(task: Depo) -> None:
    weights = [1 / (task.N**0.5 + n) for n in range(3, task.N + 1)]
    sizes = Counter(first_sizes(task, 8000))
    assert_follows([sizes[n] for n in range(3, task.N + 1)], [w / sum(weights) for w in weights])


@pytest.mark.parametrize("split", SPLITS)
def test_law_of_hops_and_queried_edges(split: Split) -> None:
    task, hops, places = Depo(N=12, K=32, V=50, lengths=(1, 1), context=96), Counter(), Counter()
    for tokens in task.windows(2, 0, 3000, split).tokens:
        edges, queries = read_window(task, tokens)[0][1:3]
        hops.update(query.k for query in queries)
        if len(edges) == 12:
            sources = [source for source, _ in edges]
            places[tuple(sources.index(query.node) for query in queries[:2])] += 1
    allowed = [1, 2, 4, 8, 16, 24, 32] if split == "eval" else range(1, 33)
    assert set(hops) == set(allowed)
    assert_uniform([hops[k] for k in allowed])
    assert len(places) <= 132  # two different ones of 12
    if split == "eval":
        assert_uniform([places[pair] for pair in permutations(range(12), 2)])


def test_cycles_and_orders_are_uniform() -> None:
    """Four nodes with all four names: 4! orders of the edges, 3! cycles, 4 first queries, all equally probable."""
    task, seen = Depo(N=4, K=1, V=4, lengths=(1, 1), context=25), Counter()
    for tokens in task.windows(3, 0, 8000, "eval").tokens.tolist():
        seen[tuple(tokens[1:9]), tokens[10]] += 1
    assert len(seen) == 24 * 6 * 4
    assert_uniform(list(seen.values()))


def test_law_of_name_lengths_does_not_depend_on_the_place() -> None:
    """With V = 1 and lengths 1..3, three nodes have these three names, in any order, but drawn short ones first."""
    task = Depo(N=3, K=1, V=1, lengths=(1, 3), context=40)
    lengths = Counter(tuple(len(s) for s, _ in read_window(task, t)[0].edges) for t in task.windows(0, 0, 3000).tokens)
    assert_uniform([lengths[order] for order in permutations((1, 2, 3))])
