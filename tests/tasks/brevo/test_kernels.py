"""Brevo's generator: token for token its plain twin, right by an independent solver, and lawful."""

from collections import Counter
from collections.abc import Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest

from canonlab.tasks.base import SPLITS, Split
from canonlab.tasks.brevo import Brevo, kernels
from canonlab.tasks.brevo.task import Query
from canonlab.tasks.catalog import build_task
from laws import assert_follows, assert_uniform
from plain_brevo import graph_law, is_right, order_law, plain_window, read_window
from redraws import OftenRedrawing, often

PRESETS = [build_task(name) for name in ("brevo1", "brevo2")]
TASKS = [
    *PRESETS,
    Brevo(N=3, context=40),
    Brevo(N=25, V=40, query="last", context=300),
    Brevo(N=6, V=2, lengths=(1, 2), context=200),  # all names that there are
    Brevo(N=9, V=3, lengths=(5, 6), query="last", context=700),
    Brevo(N=110, context=1024),
]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", TASKS, ids=str)
def test_windows_are_those_of_the_plain_twin(task: Brevo, split: Split) -> None:
    for seed, start, count in ((0, 0, 6), (123, 10**12, 3)):
        windows = task.windows(seed, start, count, split)
        for i in range(count):
            tokens, mask = plain_window(task, seed, start + i, split)
            assert windows.tokens[i].tolist() == tokens
            assert windows.mask[i].tolist() == mask


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", PRESETS, ids=str)
def test_every_answer_is_right_and_degrees_are_at_most_four(task: Brevo, split: Split) -> None:
    most = Counter()
    for tokens, mask in zip(*task.windows(7, 0, 80, split), strict=True):
        instances = read_window(task, tokens)
        marked = np.zeros_like(mask)
        assert instances[0].begin == 0
        for instance in instances:
            marked[instance.start - 1 : instance.stop] = 1
            assert is_right(instance.edges, instance.query, instance.answer)
            assert len(set(instance.edges)) == len(instance.edges)
            vertices = {vertex for edge in instance.edges for vertex in edge}
            assert len(vertices) <= task.N and len(instance.answer) >= 2
            assert all(task.lengths[0] <= len(name) <= task.lengths[1] for name in vertices)
            for side in (0, 1):
                degrees = Counter(edge[side] for edge in instance.edges)
                most[side] = max(most[side], *degrees.values())
        cut = tokens[instances[-1].stop :]
        if 2 in cut:
            marked[instances[-1].stop + cut.tolist().index(2) :] = 1
        assert mask.tolist() == marked.tolist()
    assert most == {0: 4, 1: 4}


def test_words_are_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plain_brevo.Random", OftenRedrawing)
    task, law = Brevo(N=70), Brevo(N=70)._laws["train"]
    assert law.redraw[[1, 2, 3, 4, 70]].tolist() == [0, 0, 2**64 % 18, 2**64 % 96, 2**64 % (4 * 70 * 69 * 68 * 67)]
    out = task.windows(0, 0, 3)
    kernels.fill(*out, np.uint64(task.stream_key(1)), 5, 0, law._replace(redraw=often(law.redraw)))
    assert out.tokens.tolist() == [plain_window(task, 1, 5 + i, "train")[0] for i in range(3)]


def test_windows_depend_on_their_index_alone() -> None:
    for task in PRESETS:
        at_once = task.windows(5, 100, 24)
        with ThreadPoolExecutor(3) as pool:
            parts = list(pool.map(lambda start, task=task: task.windows(5, start, 8), (100, 108, 116)))
        assert np.array_equal(np.concatenate([part.tokens for part in parts]), at_once.tokens)
        assert np.array_equal(np.concatenate([part.mask for part in parts]), at_once.mask)
        assert not np.array_equal(at_once.tokens, task.windows(5, 100, 24, "eval").tokens)


def up_to_names(edges: Iterable[tuple[Hashable, Hashable]], answer: Iterable[Hashable]) -> tuple:
    """What names don't change of an instance: its edges, vertices being numbered as in the answer and others anyhow."""
    known = {vertex: i for i, vertex in enumerate(answer)}
    others = [vertex for vertex in dict.fromkeys(v for edge in edges for v in edge) if vertex not in known]
    numberings = (known | {v: len(known) + i for i, v in enumerate(order)} for order in permutations(others))
    return len(known), min(tuple(sorted((number[a], number[b]) for a, b in edges)) for number in numberings)


def assert_follows_exactly(seen: Counter, law: dict[tuple, Fraction]) -> None:
    """`assert_follows` with the improbable cases taken together."""
    assert sum(law.values()) == 1 and set(seen) <= set(law)
    rare = [case for case, p in law.items() if p * seen.total() < 10]
    cases = [case for case in law if case not in set(rare)]
    assert len(cases) > 10
    counts, chances = [seen[case] for case in cases], [float(law[case]) for case in cases]
    if rare:
        counts.append(sum(seen[case] for case in rare))
        chances.append(float(sum(law[case] for case in rare)))
    assert_follows(counts, chances)


@pytest.mark.parametrize("query", ["last-quarter", "last"])
def test_law_of_graphs_queries_and_orders(query: Query) -> None:
    """Five vertices: graph, query and answer against the exact law of all three together."""
    law: dict[tuple, Fraction] = Counter()  # type: ignore[assignment]
    asked = [4] if query == "last" else [3, 4]
    for p, parents in graph_law(5):
        edges = [(parent, child) for child in range(5) for parent in parents[child]]
        for q in asked:
            for chance, order in order_law(parents, q):
                law[up_to_names(edges, order)] += p * chance / len(asked)
    task, seen = Brevo(N=5, query=query, context=30), Counter()
    for tokens in task.windows(1, 0, 12000, "eval").tokens:
        instance = read_window(task, tokens)[0]
        seen[up_to_names(instance.edges, instance.answer)] += 1
    assert_follows_exactly(seen, law)


def test_law_of_degrees() -> None:
    """Six vertices, so that the first can be full: all vertices' numbers of parents and children, exactly."""
    law: dict[tuple, Fraction] = Counter()  # type: ignore[assignment]
    for p, parents in graph_law(6):
        degrees = ((len(of), sum(v in other for other in parents)) for v, of in enumerate(parents))
        law[tuple(sorted(pair for pair in degrees if pair != (0, 0)))] += p
    task, seen = Brevo(N=6, context=40), Counter()
    for tokens in task.windows(2, 0, 8000, "eval").tokens:
        edges = read_window(task, tokens)[0].edges
        children, parents = (Counter(edge[side] for edge in edges) for side in (0, 1))
        seen[tuple(sorted((parents[v], children[v]) for v in children | parents))] += 1
    assert_follows_exactly(seen, law)


def test_law_of_sizes() -> None:
    """Up to four vertices there is one leaf, so that all vertices are in an edge."""
    task, sizes = Brevo(N=4, context=21), Counter()
    for tokens in task.windows(1, 0, 8000).tokens:
        sizes[len({vertex for edge in read_window(task, tokens)[0].edges for vertex in edge})] += 1
    weights = [1 / (2 + n) for n in (3, 4)]
    assert_follows([sizes[3], sizes[4]], [w / sum(weights) for w in weights])


def test_edges_are_shuffled_and_names_are_uniform() -> None:
    """Three vertices in three edges: any of 5 * 4 * 3 names, and any order of the edges."""
    task, names, orders = Brevo(N=3, V=5, query="last", context=14), Counter(), Counter()
    for tokens in task.windows(3, 0, 12000, "eval").tokens:
        instance = read_window(task, tokens)[0]
        if len(instance.edges) == 3:
            names[tuple(instance.answer)] += 1
            a, b, c = instance.answer
            orders[tuple([(a, b), (a, c), (b, c)].index(edge) for edge in instance.edges)] += 1
    assert len(names) == 60 and len(orders) == 6
    assert_uniform(list(names.values()))
    assert_uniform(list(orders.values()))


def test_law_of_name_lengths_does_not_depend_on_the_vertex() -> None:
    """With V = 1 and lengths 1..3, three vertices have these three names, drawn short ones first, in any order."""
    task, lengths = Brevo(N=3, V=1, lengths=(1, 3), query="last", context=30), Counter()
    for tokens in task.windows(0, 0, 3000, "eval").tokens:
        instance = read_window(task, tokens)[0]
        if len(instance.answer) == 3:
            lengths[tuple(map(len, instance.answer))] += 1
    assert_uniform([lengths[order] for order in permutations((1, 2, 3))])
