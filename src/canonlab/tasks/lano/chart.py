"""The chart of a sentence: which spans each symbol derives, with which probability, and what can come next.

Rules lead from one level to the next only, so the spans are found level by level from the terminals up; and with their
probabilities, those of all prefixes follow level by level from the root down. Both passes visit only what the sentence
holds: *spans* (symbol, start, end) and *states* (node, start, end) of the levels' tries, which say that the symbols on
the way to the node derive sentence[start:end].

Probabilities of long sentences leave the range of a float. So a number is m * 2^(-256 e) with a float m of about
2^-256 to 1 and an integer e; going from one e to the next is exact.
"""

from typing import NamedTuple

import numpy as np

from canonlab.data.jit import inlined, kernel
from canonlab.data.random import Int
from canonlab.tasks.lano.tries import Tries

STEP = 2.0**-256
NOTHING = 1 << 30
"""The e of zero: larger than that of any number."""

ROOM = 1 << 12
"""For how many spans or states there is room at first; it doubles when needed."""


class Numbers(NamedTuple):
    """m (float64) and e (int32), of any one shape."""

    m: np.ndarray
    e: np.ndarray


class Items(NamedTuple):
    """Spans or states: those of level i that start at s are the rows starts[i, s], ..., starts[i, s + 1] - 1.

    A row of `keys` (int32) is the symbol or node, and the end.
    """

    starts: np.ndarray
    keys: np.ndarray
    numbers: Numbers


class Chart(NamedTuple):
    """The spans and states of all levels; the root's level has only those that start where the sentence does.

    The last level's spans are the sentence's tokens; those that are no terminals are left out.
    """

    spans: Items
    states: Items


@kernel
def doubled(array: np.ndarray) -> np.ndarray:
    """A copy of `array` with room for twice as many rows."""
    copy = np.empty((2 * len(array), *array.shape[1:]), array.dtype)
    copy[: len(array)] = array
    return copy


@inlined
def add(m: np.ndarray, e: np.ndarray, at: Int | tuple[Int, Int], new_m: float, new_e: Int) -> None:
    """Add new_m * 2^(-256 new_e), with 0 < new_m, to a number."""
    while new_m < STEP:
        new_m /= STEP
        new_e += 1
    if new_e == e[at]:
        m[at] += new_m
    elif new_e == e[at] + 1:
        m[at] += new_m * STEP
    elif new_e < e[at]:
        m[at] = new_m + (m[at] * STEP if new_e == e[at] - 1 else 0.0)
        e[at] = new_e


@inlined
def find_states(
    keys: np.ndarray,
    m: np.ndarray,
    e: np.ndarray,
    count: Int,
    root: Int,
    child: np.ndarray,
    begins: np.ndarray,
    parts: np.ndarray,
    parts_m: np.ndarray,
    parts_e: np.ndarray,
    rows: np.ndarray,
) -> Int:
    """Append all states that follow from row `count`, the root's, to `keys`, `m` and `e`; returns their new number.

    `root` and `child` are the level's trie, `parts` the spans of the next level, those from s being begins[s], ...
    States are found breadth first, so that each has its whole number before it is gone on from. `rows` (node, end) is
    scratch: a state's row, anything below `count` meaning none.
    """
    state, stop = count, count + 1
    while state < stop:
        node, middle = keys[state, 0], keys[state, 1]
        for part in range(begins[middle], begins[middle + 1]):
            next_node, end = child[node, parts[part, 0]], parts[part, 1]
            if next_node < 0:
                continue
            row = rows[next_node - root, end]
            if row < count:
                row = stop
                rows[next_node - root, end] = row
                keys[row, 0], keys[row, 1], m[row], e[row] = next_node, end, 0.0, NOTHING
                stop += 1
            add(m, e, row, m[state] * parts_m[part], e[state] + parts_e[part])
        state += 1
    return stop


@inlined
def find_spans(
    keys: np.ndarray,
    m: np.ndarray,
    e: np.ndarray,
    count: Int,
    first: Int,
    last: Int,
    paths: np.ndarray,
    paths_m: np.ndarray,
    paths_e: np.ndarray,
    starts: np.ndarray,
    symbols: np.ndarray,
    shares: np.ndarray,
    rows: np.ndarray,
) -> Int:
    """Append the spans that states complete to `keys`, `m` and `e`; returns their new number.

    The states, all of one level and start, are rows first .. last - 1 of `paths`; starts, symbols and shares say what a
    node completes (see `Uses`). `rows` (symbol, end) is scratch as above.
    """
    stop = count
    for state in range(first, last):
        node, end = paths[state, 0], paths[state, 1]
        for use in range(starts[node], starts[node + 1]):
            symbol = symbols[use]
            row = rows[symbol, end]
            if row < count:
                row = stop
                rows[symbol, end] = row
                keys[row, 0], keys[row, 1], m[row], e[row] = symbol, end, 0.0, NOTHING
                stop += 1
            add(m, e, row, paths_m[state] * shares[use], paths_e[state])
    return stop


@kernel
def tokens_as_spans(
    sentence: np.ndarray, terminals: Int, keys: np.ndarray, m: np.ndarray, e: np.ndarray, starts: np.ndarray
) -> Int:
    """Write the spans of the last level; returns their number."""
    count: Int = 0
    for s in range(len(sentence)):
        starts[s] = count
        if 1 <= sentence[s] <= terminals:
            keys[count, 0], keys[count, 1], m[count], e[count] = sentence[s] - 1, s + 1, 1.0, 0
            count += 1
    starts[len(sentence) :] = count
    return count


@kernel
def inside(sentence: np.ndarray, tries: Tries) -> Chart:
    """The chart of `sentence` (int32), each number being the probability that the symbol or path derives the span.

    Arrays go by names of their own and grow outside of the inner loop: reading them from tuples, or not knowing that
    they stay where they are, would double the time.
    """
    length, last = len(sentence), len(tries.sizes) - 1
    state_rows = np.full((np.diff(tries.roots).max(), length + 1), -1, np.int64)
    span_rows = np.full((tries.sizes.max(), length + 1), -1, np.int64)
    states, m, e = np.empty((ROOM, 2), np.int32), np.empty(ROOM), np.empty(ROOM, np.int32)
    spans, spans_m, spans_e = np.empty((ROOM, 2), np.int32), np.empty(ROOM), np.empty(ROOM, np.int32)
    state_starts, span_starts = np.zeros((last, length + 2), np.int64), np.zeros((last + 1, length + 2), np.int64)
    child, (ends, symbols, _, shares) = tries.child, tries.whole
    state: Int = 0
    span: Int = 0
    for level in range(last, -1, -1):
        s: Int = 0
        while s <= length:
            while len(spans) < span + span_rows.size:
                spans, spans_m, spans_e = doubled(spans), doubled(spans_m), doubled(spans_e)
            while len(states) < state + state_rows.size:
                states, m, e = doubled(states), doubled(m), doubled(e)
            if level == last:
                span = tokens_as_spans(sentence, tries.sizes[last], spans, spans_m, spans_e, span_starts[last])
                break
            root, parts = tries.roots[level], span_starts[level + 1]
            # One start adds at most a row for each entry of the scratch. While that fits, arrays stay where they are.
            last_span, last_state = len(spans) - span_rows.size, len(states) - state_rows.size
            while s <= length and span <= last_span and state <= last_state:
                span_starts[level, s], state_starts[level, s] = span, state
                if level > 0 or s == 0:
                    states[state, 0], states[state, 1], m[state], e[state] = root, s, 1.0, 0
                    first, state = state, state + 1
                    if parts[s] < parts[s + 1]:
                        state = find_states(
                            states, m, e, first, root, child, parts, spans, spans_m, spans_e, state_rows
                        )
                        span = find_spans(
                            spans, spans_m, spans_e, span, first, state, states, m, e, ends, symbols, shares, span_rows
                        )
                s += 1
            span_starts[level, length + 1], state_starts[level, length + 1] = span, state
    return Chart(Items(span_starts, spans, Numbers(spans_m, spans_e)), Items(state_starts, states, Numbers(m, e)))


@kernel
def zeros(rows: Int, columns: Int) -> Numbers:
    """A table of zeros."""
    return Numbers(np.zeros((rows, columns)), np.full((rows, columns), NOTHING, np.int32))


@kernel
def whole_span(chart: Chart) -> Int:
    """The row of the span of the root over the whole sentence; -1 when there is none."""
    starts, keys = chart.spans.starts, chart.spans.keys
    for span in range(starts[0, 0], starts[0, 1]):
        if keys[span, 1] == starts.shape[1] - 2:
            return span
    return -1


@kernel
def recognise(sentence: np.ndarray, tries: Tries) -> bool:
    """Whether the root derives `sentence` (int32)."""
    return bool(whole_span(inside(sentence, tries)) >= 0)


@kernel
def prefixes(chart: Chart, tries: Tries) -> Numbers:
    """The probability that a sentence begins with the first `end` tokens and then has terminal t, at [end, t].

    At [end, 0] the probability that the sentence ends there. Level by level: a part is the next to come at `end` if its
    parent came next at some s, and the parent's right-hand side has a state from s to `end` that goes on with the part.
    """
    length, last = chart.spans.starts.shape[1] - 2, len(tries.sizes) - 1
    states, onward = chart.states, tries.onward
    begins = zeros(length + 1, 1)
    add(begins.m, begins.e, (0, 0), 1.0, 0)
    for level in range(last):
        shift = 1 if level == last - 1 else 0  # leaves column 0 for the end
        parts = zeros(length + 1, tries.sizes[level + 1] + shift)
        for s in range(length + 1):
            if begins.e[s].min() == NOTHING:
                continue
            for state in range(states.starts[level, s], states.starts[level, s + 1]):
                node, end = states.keys[state, 0], states.keys[state, 1]
                for use in range(onward.starts[node], onward.starts[node + 1]):
                    symbol, part = onward.symbol[use], onward.part[use]
                    if begins.e[s, symbol] < NOTHING:
                        m = begins.m[s, symbol] * states.numbers.m[state] * onward.share[use]
                        add(parts.m, parts.e, (end, part + shift), m, begins.e[s, symbol] + states.numbers.e[state])
        begins = parts
    spans = chart.spans
    for span in range(spans.starts[0, 0], spans.starts[0, 1]):
        add(begins.m, begins.e, (spans.keys[span, 1], 0), spans.numbers.m[span], spans.numbers.e[span])
    return begins
