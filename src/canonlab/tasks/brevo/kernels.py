"""The generator of Brevo's windows."""

from typing import NamedTuple

import numpy as np

from canonlab.data.jit import inlined, kernel
from canonlab.data.random import Int, below, digit, shuffle, stream, word
from canonlab.tasks.names import BLOCK, NameLaw, draw_names, table_bits, write_name

BOS, QUERY, ANSWER, EOS = range(4)
FIRST_NAME = 4
"""Token ids, and where the names' begin."""

DEGREE = 4
"""The most parents and the most children of a vertex."""

LARGEST = 10_000
"""The most vertices: one random word is enough to choose a vertex's parents up to 46,000."""

NEVER = 1 << 40
"""A count that does not come down to 0."""


class BrevoLaw(NamedTuple):
    """What the generator draws from: sizes smallest..largest through `thresholds` (see names.py), and names.

    `last_only`: the query is always the last vertex. redraw[c] is 2^64 mod the number of outcomes of the word that
    chooses parents among c candidates: how many, and the first steps of a shuffle.
    """

    smallest: int
    largest: int
    thresholds: np.ndarray
    names: NameLaw
    last_only: bool
    redraw: np.ndarray


def redraw_table(largest: int) -> np.ndarray:
    """`BrevoLaw.redraw` for up to `largest` candidates."""
    outcomes = [
        min(DEGREE, count) * count * max(count - 1, 1) * max(count - 2, 1) * max(count - 3, 1)
        for count in range(1, largest + 1)
    ]
    return np.array([0, *((1 << 64) % product for product in outcomes)], np.uint64)


class Scratch(NamedTuple):
    """Work space of one call.

    Names with their lengths and hash table; `label`, each vertex's name. Vertices are numbered so that parents come
    first; `parents` (n, DEGREE) is filled up with n, a vertex that isn't there. Edges are parent << 32 | child.
    `counts` has each vertex's children, then those of them that a growing answer still waits for. `pool` holds the
    vertices to choose from, and `places` where the chosen ones stand.
    """

    names: np.ndarray
    lengths: np.ndarray
    table: np.ndarray
    label: np.ndarray
    parents: np.ndarray
    edges: np.ndarray
    counts: np.ndarray
    pool: np.ndarray
    places: np.ndarray
    order: np.ndarray


@kernel
def new_scratch(law: BrevoLaw) -> Scratch:
    """Work space for instances of up to law.largest vertices."""
    n, width = law.largest, (law.names.longest + BLOCK - 1) // BLOCK * BLOCK
    rows = law.names.base if law.names.longest == 1 else n + 1
    names = np.zeros((rows, width), np.int32)
    for value in range(rows):  # all names if they have one token; others are drawn
        names[value, 0] = law.names.end + value
    return Scratch(
        names,
        np.ones(rows, np.int64),
        np.empty(1 << table_bits(n), np.int64),
        np.empty(rows, np.int64),
        np.empty((n, DEGREE), np.int64),
        np.empty(DEGREE * (n + 1), np.int64),
        np.empty(n + 1, np.int64),
        np.empty(n + DEGREE, np.int64),
        np.empty(DEGREE, np.int64),
        np.empty(n, np.int64),
    )


@kernel
def draw_labels(rng: np.ndarray, law: NameLaw, n: Int, scratch: Scratch) -> None:
    """Give n vertices different names.

    One-token names come from a shuffle's first steps: the same law, but drawing anew what was drawn before takes long
    where n is near their number, as in Brevo1.
    """
    label = scratch.label
    if law.longest > 1:
        draw_names(rng, law, n, scratch.names, scratch.lengths, scratch.table)
        for name in range(n):
            label[name] = name
        shuffle(rng, label[:n])  # names are not drawn in a random order: short ones, which are few, come early
        return
    for name in range(law.base):
        label[name] = name
    for vertex in range(n):
        other = vertex + below(rng, law.base - vertex)
        label[vertex], label[other] = label[other], label[vertex]


@kernel
def draw_graph(rng: np.ndarray, n: Int, scratch: Scratch, redraw: np.ndarray) -> Int:
    """Draw the parents of all vertices; returns the number of edges.

    Every vertex takes the same steps whatever its number of parents, which a branch would mispredict: all of the
    `DEGREE` choices are made, and only the first ones count.
    """
    parents, edges, children, candidates = scratch.parents, scratch.edges, scratch.counts, scratch.pool
    places = scratch.places
    leaves = 1 + below(rng, (n - 1) // 4 + 1)
    children[: n + 1] = 0
    parents[:leaves] = n
    for leaf in range(leaves):
        candidates[leaf] = leaf
    open_ones: Int = leaves
    total: Int = 0
    for vertex in range(leaves, n):
        most: Int = min(DEGREE, open_ones)
        while True:
            more, fraction = digit(word(rng), most)
            for choice in range(DEGREE):
                left: Int = max(open_ones - choice, 1)
                places[choice], fraction = digit(fraction, left)
            if fraction >= redraw[open_ones]:
                break
        for choice in range(DEGREE):  # a shuffle's first steps
            place, last = places[choice], max(open_ones - 1 - choice, 0)
            parent = candidates[place]
            candidates[place], candidates[last] = candidates[last], parent
            taken = choice <= more
            parents[vertex, choice] = parent if taken else n
            children[parent] += taken
            edges[total] = parent << 32 | vertex
            total += taken
        # The chosen ones stand last now; those that still have room for a child stay, and the vertex itself is new.
        kept: Int = open_ones - most
        for place in range(kept, open_ones):
            candidates[kept] = candidates[place]
            kept += children[candidates[place]] < DEGREE
        candidates[kept] = vertex
        open_ones = kept + 1
    return total


@kernel
def draw_order(rng: np.ndarray, query: Int, n: Int, scratch: Scratch) -> Int:
    """Order the query's ancestors, itself the first, by removing vertices on which nothing that is left depends.

    Each time, uniformly one of these. Returns how many there are.
    """
    parents, dependents, free, order = scratch.parents, scratch.counts, scratch.pool, scratch.order
    dependents[: query + 1] = 0
    dependents[query] = 1
    for vertex in range(query, -1, -1):
        reached = dependents[vertex] > 0
        for choice in range(DEGREE):
            dependents[parents[vertex, choice]] += reached
    dependents[n] = NEVER
    free[0] = query
    choices: Int = 1
    total: Int = 0
    while choices > 0:
        chosen = below(rng, choices)
        vertex = free[chosen]
        choices -= 1
        free[chosen] = free[choices]
        order[total] = vertex
        total += 1
        for choice in range(DEGREE):
            parent = parents[vertex, choice]
            dependents[parent] -= 1
            free[choices] = parent  # overwritten by the next one unless it counts
            choices += dependents[parent] == 0
    return total


@inlined
def write_vertex(row: np.ndarray, position: Int, scratch: Scratch, vertex: Int) -> Int:
    """Write a vertex's name to `row[position:]`; returns where the next token goes."""
    name = scratch.label[vertex]
    write_name(row, position, scratch.names, name)
    return position + scratch.lengths[name]


@kernel
def write_instance(
    rng: np.ndarray, row: np.ndarray, mask: np.ndarray, position: Int, scratch: Scratch, law: BrevoLaw
) -> Int:
    """Write one instance to `row[position:]`, mark its answer, and return where the next one starts."""
    n = law.smallest + np.searchsorted(law.thresholds, word(rng), side="right")
    draw_labels(rng, law.names, n, scratch)
    edges = scratch.edges[: draw_graph(rng, n, scratch, law.redraw)]
    shuffle(rng, edges)
    row[position] = BOS
    position += 1
    for edge in edges:
        position = write_vertex(row, position, scratch, edge >> 32)
        position = write_vertex(row, position, scratch, edge & 0xFFFFFFFF)
    first = n - 1 if law.last_only else 3 * n // 4
    query = first + below(rng, n - first)
    row[position] = QUERY
    start = write_vertex(row, position + 1, scratch, query)
    row[start] = ANSWER
    position = start + 1
    for i in range(draw_order(rng, query, n, scratch) - 1, -1, -1):
        position = write_vertex(row, position, scratch, scratch.order[i])
    row[position] = EOS
    for marked in range(start, position + 1):
        mask[marked] = 1
    return position + 1


@kernel
def fill(tokens: np.ndarray, mask: np.ndarray, key: np.uint64, start: Int, split: Int, law: BrevoLaw) -> None:
    """Write windows start, start + 1, ... of the stream `key` to the rows of `tokens` (int32) and `mask` (uint8).

    Each window is made in a row long enough for an instance that starts in its last position, and cut when copied.
    """
    context = tokens.shape[1]
    scratch = new_scratch(law)
    room = context + 4 + (2 * DEGREE + 2) * law.largest * scratch.names.shape[1]
    row, marks = np.empty(room, np.int32), np.empty(room, np.uint8)
    for window in range(len(tokens)):
        rng = stream(key, start + window, split)
        marks[:] = 0
        position: Int = 0
        while position < context:
            position = write_instance(rng, row, marks, position, scratch, law)
        tokens[window] = row[:context]
        mask[window] = marks[:context]
