"""Finding the answers in Depo's windows from the tokens alone, many windows at once."""

from typing import NamedTuple

import numpy as np

from canonlab.tasks.depo.kernels import ANSWER, QUERY
from canonlab.tasks.names import Names


class Answers(NamedTuple):
    """All whole answers of some windows, in order: flat[start:stop] of the flattened windows answers `hops` steps.

    `queries` counts the queries that begin in the windows, so also those whose answer the window's end cuts.
    """

    hops: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    queries: int


def find_answers(tokens: np.ndarray, names: Names) -> Answers:
    """The answers in `tokens` (count, context): each follows <ans> and ends with the next end token of its window."""
    flat, context = tokens.ravel(), tokens.shape[1]
    marker = np.flatnonzero(flat == ANSWER)
    query = np.flatnonzero((flat > QUERY) & (flat < names.first))
    ends = np.append(np.flatnonzero(flat >= names.end.start), flat.size)
    stop = ends[np.searchsorted(ends, marker)]
    hops = flat[query[np.searchsorted(query, marker) - 1]] - QUERY
    whole = stop // context == marker // context
    return Answers(hops[whole], marker[whole] + 1, stop[whole] + 1, len(query))


def count_right(answers: Answers, hits: np.ndarray) -> np.ndarray:
    """How many tokens of each answer are right, `hits` (count, context) telling whether each token is."""
    before = np.concatenate(([0], np.cumsum(hits)))
    return before[answers.stop] - before[answers.start]
