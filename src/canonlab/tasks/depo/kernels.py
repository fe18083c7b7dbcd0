"""The generator of Depo's windows."""

from typing import NamedTuple

import numpy as np

from canonlab.data.jit import kernel
from canonlab.data.random import Int, below, shuffle, stream, word
from canonlab.tasks.names import BLOCK, NameLaw, draw_names, table_bits, write_name

BOS, ANSWER, QUERY = 0, 1, 1
"""Token ids; <query_k> is QUERY + k, and the names' tokens follow."""

QUERIES = 10


class DepoLaw(NamedTuple):
    """What the generator draws from: sizes smallest..largest through `thresholds` (see names.py), hops, names."""

    smallest: int
    largest: int
    thresholds: np.ndarray
    hops: np.ndarray
    names: NameLaw


class Scratch(NamedTuple):
    """Work space of one call: the drawn names with their lengths and hash table, the cycle, the order of its edges."""

    names: np.ndarray
    lengths: np.ndarray
    table: np.ndarray
    cycle: np.ndarray
    order: np.ndarray


@kernel
def new_scratch(law: DepoLaw) -> Scratch:
    """Work space for instances of up to law.largest nodes."""
    n, width = law.largest, (law.names.longest + BLOCK - 1) // BLOCK * BLOCK
    return Scratch(
        np.empty((n + 1, width), np.int32),
        np.empty(n + 1, np.int64),
        np.empty(1 << table_bits(n), np.int64),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
    )


@kernel
def write_edges(row: np.ndarray, position: Int, scratch: Scratch, n: Int) -> Int:
    """Write the n edges of the cycle in random order, as name pairs; returns where the next token goes."""
    names, lengths, _, cycle, order = scratch
    for edge in range(n):
        source = order[edge]
        target = source + 1 if source + 1 < n else 0
        for node in (source, target):
            name = cycle[node]
            write_name(row, position, names, name)
            position += lengths[name]
    return position


@kernel
def write_queries(
    rng: np.ndarray, row: np.ndarray, mask: np.ndarray, position: Int, scratch: Scratch, n: Int, hops: np.ndarray
) -> Int:
    """Write min(10, n) queries about distinct nodes and mark their answers; returns where the next token goes."""
    names, lengths, _, cycle, order = scratch
    for query in range(min(QUERIES, n)):
        other = query + below(rng, n - query)  # a shuffle's first steps, continued on the edges' order
        node = order[other]
        order[other] = order[query]
        hop = hops[below(rng, len(hops))]
        row[position] = QUERY + hop
        position += 1
        name = cycle[node]
        write_name(row, position, names, name)
        position += lengths[name]
        name = cycle[(node + hop) % n]
        row[position] = ANSWER
        write_name(row, position + 1, names, name)
        stop = position + 1 + lengths[name]
        for marked in range(position, stop):
            mask[marked] = 1
        position = stop
    return position


@kernel
def write_instance(
    rng: np.ndarray, row: np.ndarray, mask: np.ndarray, position: Int, scratch: Scratch, law: DepoLaw
) -> Int:
    """Write one instance to `row[position:]`, mark its answers, and return where the next one starts."""
    n = law.smallest + np.searchsorted(law.thresholds, word(rng), side="right")
    draw_names(rng, law.names, n, scratch.names, scratch.lengths, scratch.table)
    cycle, order = scratch.cycle[:n], scratch.order[:n]
    for node in range(n):
        cycle[node], order[node] = node, node
    shuffle(rng, cycle)  # names are not drawn in a random order: short ones, which are few, come early
    shuffle(rng, order)
    row[position] = BOS
    position = write_edges(row, position + 1, scratch, n)
    return write_queries(rng, row, mask, position, scratch, n, law.hops)


@kernel
def fill(tokens: np.ndarray, mask: np.ndarray, key: np.uint64, start: Int, split: Int, law: DepoLaw) -> None:
    """Write windows start, start + 1, ... of the stream `key` to the rows of `tokens` (int32) and `mask` (uint8).

    Each window is made in a row long enough for an instance that starts in its last position, and cut when copied.
    """
    context = tokens.shape[1]
    scratch = new_scratch(law)
    longest = scratch.names.shape[1]
    room = context + 1 + 2 * law.largest * longest + QUERIES * (2 + 2 * longest)
    row, marks = np.empty(room, np.int32), np.empty(room, np.uint8)
    for window in range(len(tokens)):
        rng = stream(key, start + window, split)
        marks[:] = 0
        position: Int = 0
        while position < context:
            position = write_instance(rng, row, marks, position, scratch, law)
        tokens[window] = row[:context]
        mask[window] = marks[:context]
