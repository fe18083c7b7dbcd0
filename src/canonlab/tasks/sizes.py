"""The law of an instance's size: Pr[n] proportional to 1 / (sqrt(N) + n) on 3..N (arXiv 2512.17351, appendix A)."""

from math import isqrt

import numpy as np

SMALLEST = 3


def size_thresholds(largest: int) -> np.ndarray:
    """What splits the 64-bit words into one range per size: n is 3 + the number of thresholds that a word reaches.

    The N - 3 thresholds (uint64, ascending) are floor(2^64 Pr[size < n]) for n = 4..N = `largest`, in exact integers:
    the weights are 2^256 / (2^128 sqrt(N) + 2^128 n), rounded down, so every platform computes the same.
    """
    root = isqrt(largest << 256)
    cumulative = [0]
    for n in range(SMALLEST, largest + 1):
        cumulative.append(cumulative[-1] + (1 << 256) // (root + (n << 128)))
    total = cumulative.pop()
    return np.array([(part << 64) // total for part in cumulative[1:]], dtype=np.uint64)
