"""Depo in plain Python: the generator's slow twin, and an independent reader and solver of windows."""

from bisect import bisect_right
from typing import Any, NamedTuple

import numpy as np

from canonlab.data.plain import Random
from canonlab.tasks.base import SPLITS, Split
from canonlab.tasks.depo import Depo
from canonlab.tasks.names import size_thresholds

Name = tuple[str, ...]


def plain_window(task: Depo, seed: int, index: int, split: Split) -> tuple[list[int], list[int]]:
    """Tokens and mask of one window, made step by step as the task's definition says."""
    rng = Random(task.stream_key(seed), index, SPLITS.index(split))
    thresholds = size_thresholds(task.N).tolist()
    shortest, longest = task.lengths
    inner, end = 2 + task.K, 2 + task.K + (task.V if longest > 1 else 0)
    tokens: list[int] = []
    mask: list[int] = []

    def write(ids: list[int], marked: int) -> None:
        tokens.extend(ids)
        mask.extend([marked] * len(ids))

    while len(tokens) < task.context:
        word = rng.word()
        n = 3 + bisect_right(thresholds, word) if split == "train" else task.N
        names: list[list[int]] = []
        while len(names) < n:
            extra, *values = rng.digits([longest - shortest + 1] + [task.V] * longest)
            last = shortest + extra - 1
            name = [inner + value for value in values[:last]] + [end + values[last]]
            if name not in names:
                names.append(name)
        cycle, order = list(range(n)), list(range(n))
        rng.shuffle(cycle)
        rng.shuffle(order)
        nodes = [names[i] for i in cycle]
        write([0], 0)
        for source in order:
            write(nodes[source] + nodes[(source + 1) % n], 0)
        hops = range(1, task.K + 1) if split == "train" else task.evaluated_hops
        for query in range(min(10, n)):
            other = query + rng.below(n - query)
            order[query], order[other] = order[other], order[query]
            k = hops[rng.below(len(hops))]
            write([1 + k, *nodes[order[query]]], 0)
            write([1, *nodes[(order[query] + k) % n]], 1)
    return tokens[: task.context], mask[: task.context]


class Query(NamedTuple):
    """A query: prompt and answer as positions in the window, stop None if the window's end cuts the answer."""

    k: int
    node: Name
    begin: int
    start: int
    stop: int | None


class Instance(NamedTuple):
    """An instance as it stands in a window. `whole` is False when the window ends before its last answer does."""

    begin: int
    edges: list[tuple[Name, Name]]
    queries: list[Query]
    whole: bool


def read_window(task: Depo, tokens: np.ndarray) -> list[Instance]:
    """All instances of a window, read through the vocabulary's names and roles alone."""
    text: list[Any] = [task.vocabulary[i] for i in tokens]
    position = 0

    def read_name() -> Name:
        nonlocal position
        begin = position
        while text[position].role == "name":
            position += 1
        assert text[position].role == "name_end"
        position += 1
        return tuple(token.name for token in text[begin:position])

    instances = []
    while position < len(text):
        instance = Instance(position, [], [], False)
        instances.append(instance)
        assert text[position].name == "<bos>"
        position += 1
        try:
            while text[position].role in ("name", "name_end"):
                instance.edges.append((read_name(), read_name()))
            for _ in range(min(10, len(instance.edges))):
                assert text[position].role == "query"
                k, position = text[position].value, position + 1
                node = read_name()
                assert text[position].name == "<ans>"
                position += 1
                instance.queries.append(Query(k, node, instance.begin, position, None))
                read_name()
                instance.queries[-1] = instance.queries[-1]._replace(stop=position)
        except IndexError:  # the window's end
            break
        instances[-1] = instance._replace(whole=True)
    return instances


def solve(edges: list[tuple[Name, Name]], node: Name, k: int) -> Name:
    """The k-th successor of a node."""
    successor = dict(edges)
    for _ in range(k):
        node = successor[node]
    return node
