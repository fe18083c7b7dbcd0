"""How many windows a block of biographies needs, from the exact law of its length.

A biography's length is a sum of independent draws, each uniform over pieces of known lengths, and the law of n lengths
is that of one, convolved n times with itself, by a discrete Fourier transform. The people of a block differ in their
names and are otherwise independent, so any event is at most 1 / Pr[n independent names differ] times as probable as if
they were altogether independent.
"""

import math

import numpy as np
from numpy.typing import NDArray

from canonlab.tasks.capo.kernels import SENTENCES
from canonlab.tasks.capo.pieces import AFTER, BEFORE, Kind, Pieces
from canonlab.tasks.capo.words import N0

OVERFLOW = 1e-9
"""A block is longer than its windows with a lower probability than this."""

Pmf = NDArray[np.float64]
"""Entry l is the probability of l tokens."""


def length_law(pieces: Pieces) -> Pmf:
    """The law of the length of a biography with the <eos> before it."""
    lengths = np.diff(pieces.start)

    def of(kind: int) -> NDArray[np.int64]:
        return lengths[pieces.base[kind] : pieces.base[kind + 1]].astype(np.int64)

    draws = [of(kind) for kind in (Kind.FIRST, Kind.MIDDLE, Kind.LAST, Kind.MONTH, Kind.DAY, Kind.YEAR)]
    draws += [of(kind) for kind in (Kind.CITY, Kind.UNIVERSITY, Kind.MAJOR)]
    draws += [of(Kind.EMPLOYER) + of(Kind.EMPLOYER_CITY), (SENTENCES - 1) * of(Kind.PRONOUN), 1 + of(Kind.COMMA)]
    draws += [of(BEFORE + attribute) + of(AFTER + attribute) for attribute in range(SENTENCES)]
    law = np.ones(1)
    for draw in draws:
        law = np.convolve(law, np.bincount(draw) / len(draw))
    return law


def mean(law: Pmf) -> float:
    """The mean length."""
    return float(law @ np.arange(len(law)))


def windows_for(law: Pmf, people: int, context: int) -> int:
    """The fewest windows of `context` tokens in which a block of `people` biographies fits, but for OVERFLOW."""
    size = 1 << (people * (len(law) - 1)).bit_length()
    total = np.fft.irfft(np.fft.rfft(law, size) ** people, size)
    tail = np.cumsum(total[::-1])[::-1]  # entry l: the probability of at least l tokens
    distinct = math.exp(sum(math.log1p(-i / N0) for i in range(people)))
    fits = int(np.argmax(np.append(tail[1:], 0) < OVERFLOW * distinct))
    return max(1, -(-fits // context))
