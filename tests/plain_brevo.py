"""Brevo in plain Python: the generator's slow twin, its exact laws by enumeration, and an independent reader."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cache
from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np

from canonlab.data.plain import Random
from canonlab.tasks.base import SPLITS, Split
from canonlab.tasks.brevo import Brevo
from canonlab.tasks.names import size_thresholds

Name = tuple[str, ...]
Edges = list[tuple[Name, Name]]


def plain_window(task: Brevo, seed: int, index: int, split: Split) -> tuple[list[int], list[int]]:
    """Tokens and mask of one window, made step by step as the task's definition says."""
    rng = Random(task.stream_key(seed), index, SPLITS.index(split))
    thresholds = size_thresholds(task.N).tolist()
    tokens: list[int] = []
    mask: list[int] = []
    while len(tokens) < task.context:
        word = rng.word()
        n = 3 + bisect_right(thresholds, word) if split == "train" else task.N
        names = plain_names(rng, task, n)
        parents = plain_graph(rng, n)
        edges = [(parent, child) for child in range(n) for parent in parents[child]]
        rng.shuffle(edges)
        first = n - 1 if task.query == "last" else 3 * n // 4
        query = first + rng.below(n - first)
        prompt = [0] + [token for edge in edges for vertex in edge for token in names[vertex]] + [1, *names[query]]
        answer = [2] + [token for vertex in plain_order(rng, parents, query) for token in names[vertex]] + [3]
        tokens += prompt + answer
        mask += [0] * len(prompt) + [1] * len(answer)
    return tokens[: task.context], mask[: task.context]


def plain_names(rng: Random, task: Brevo, n: int) -> list[list[int]]:
    """The vertices' names."""
    (shortest, longest), values = task.lengths, task.V or task.N
    end = 4 + (values if longest > 1 else 0)
    if longest == 1:
        all_names = list(range(values))
        for vertex in range(n):
            other = vertex + rng.below(values - vertex)
            all_names[vertex], all_names[other] = all_names[other], all_names[vertex]
        return [[end + value] for value in all_names[:n]]
    names: list[list[int]] = []
    while len(names) < n:
        extra, *drawn = rng.digits([longest - shortest + 1] + [values] * longest)
        last = shortest + extra - 1
        name = [4 + value for value in drawn[:last]] + [end + drawn[last]]
        if name not in names:
            names.append(name)
    order = list(range(n))
    rng.shuffle(order)
    return [names[i] for i in order]


def plain_graph(rng: Random, n: int) -> list[list[int]]:
    """Each vertex's parents."""
    parents: list[list[int]] = [[] for _ in range(n)]
    children = [0] * n
    leaves = 1 + rng.below((n - 1) // 4 + 1)
    candidates = list(range(leaves))
    for vertex in range(leaves, n):
        count = len(candidates)
        more, *places = rng.digits([min(4, count)] + [max(count - i, 1) for i in range(4)])
        for i, place in enumerate(places[:count]):
            last = count - 1 - i
            candidates[place], candidates[last] = candidates[last], candidates[place]
        parents[vertex] = candidates[::-1][: more + 1]
        for parent in parents[vertex]:
            children[parent] += 1
        candidates = [c for c in candidates if children[c] < 4] + [vertex]
    return parents


def plain_order(rng: Random, parents: list[list[int]], query: int) -> list[int]:
    """A right answer, made from its end."""
    found = ancestors({v: set(p) for v, p in enumerate(parents)}, query)
    waits = {v: sum(v in parents[child] for child in found) for v in found}
    free, order = [query], []
    while free:
        i = rng.below(len(free))
        vertex, free[i] = free[i], free[-1]
        free.pop()
        order.append(vertex)
        for parent in parents[vertex]:
            waits[parent] -= 1
            if waits[parent] == 0:
                free.append(parent)
    return order[::-1]


def ancestors(parents: dict, query: object) -> set:
    """The query and all that it depends on: the smallest set that holds it and its members' parents."""
    found = {query}
    while not (more := set().union(*(parents.get(v, ()) for v in found))) <= found:
        found |= more
    return found


def graph_law(n: int) -> Iterator[tuple[Fraction, list[tuple[int, ...]]]]:
    """All graphs of n vertices, as each vertex's parents, with their exact probabilities."""

    def grow(parents: list[tuple[int, ...]], chance: Fraction) -> Iterator[tuple[Fraction, list[tuple[int, ...]]]]:
        if len(parents) == n:
            yield chance, parents
            return
        open_ones = [v for v in range(len(parents)) if sum(v in p for p in parents) < 4]
        most = min(4, len(open_ones))
        for size in range(1, most + 1):
            for subset in combinations(open_ones, size):
                yield from grow([*parents, subset], chance / most / comb(len(open_ones), size))

    choices = (n - 1) // 4 + 1
    for leaves in range(1, choices + 1):
        yield from grow([()] * leaves, Fraction(1, choices))


def order_law(parents: list[tuple[int, ...]], query: int) -> Iterator[tuple[Fraction, tuple[int, ...]]]:
    """All answers, leaves first, with their exact probabilities in the data."""

    def remove(left: frozenset[int], chance: Fraction, end: tuple[int, ...]) -> Iterator[tuple[Fraction, tuple]]:
        if not left:
            yield chance, end
        free = [v for v in left if not any(v in parents[other] for other in left)]
        for vertex in free:
            yield from remove(left - {vertex}, chance / len(free), (vertex, *end))

    yield from remove(frozenset(ancestors(dict(enumerate(parents)), query)), Fraction(1), ())


class Instance(NamedTuple):
    """A whole instance as it stands in a window: tokens[begin:start] is the prompt, tokens[start:stop] the answer."""

    begin: int
    start: int
    stop: int
    edges: Edges
    query: Name
    answer: list[Name]


def read_window(task: Brevo, tokens: np.ndarray) -> list[Instance]:
    """All whole instances of a window, read through the vocabulary's names and roles alone."""
    names = [task.vocabulary[i].name for i in tokens]
    ends = {token.name for token in task.vocabulary if token.role == "name_end"}
    begins = [i for i, name in enumerate(names) if name == "<bos>"]

    def words(part: list[str]) -> list[Name]:
        found: list[Name] = []
        while part:
            stop = next(i for i, name in enumerate(part) if name in ends) + 1
            found.append(tuple(part[:stop]))
            part = part[stop:]
        return found

    instances = []
    for begin, stop in zip(begins, [*begins[1:], len(names)], strict=True):
        part = names[begin:stop]
        if "<eos>" not in part:
            assert stop == len(names)
            continue
        asked, answered = part.index("<query>"), part.index("<ans>")
        assert part[-1] == "<eos>" and asked < answered
        ends_of_edges = words(part[1:asked])
        edges = list(zip(ends_of_edges[::2], ends_of_edges[1::2], strict=True))
        [query] = words(part[asked + 1 : answered])
        answer = words(part[answered + 1 : -1])
        instances.append(Instance(begin, begin + answered + 1, stop, edges, query, answer))
    return instances


def is_right(edges: Edges, query: Name, answer: list[Name]) -> bool:
    """Whether an answer is right, from the definition."""
    parents: dict[Name, set[Name]] = {}
    for parent, child in edges:
        parents.setdefault(child, set()).add(parent)
    needed = ancestors(parents, query)
    if sorted(answer) != sorted(needed):
        return False
    return all(answer.index(p) < answer.index(c) for p, c in edges if c in needed)


def depth(edges: Iterable[tuple[object, object]], query: object) -> int:
    """The fewest edges from the query to a vertex without parents."""
    parents: dict[object, list[object]] = {}
    for parent, child in edges:
        parents.setdefault(child, []).append(parent)

    @cache
    def below(vertex: object) -> int:
        return 1 + min(map(below, parents[vertex])) if vertex in parents else 0

    return below(query)
