"""A keyed permutation of 0..n-1 of which any entry can be computed by itself.

A Feistel network permutes the words of b bits, b being the fewest that n needs, but at least 8, as permutations of
fewer bits would be far from uniform. A result that is no index below n goes through the network again until it is one
(Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002): less than two passes on average, if n > 128.
The halves of a word may differ by one bit.
"""

import numpy as np

from canonlab.data.jit import kernel
from canonlab.data.random import ONE, Int, mix, word

ROUNDS = 6
"""An even number."""


@kernel
def round_keys(rng: np.ndarray) -> np.ndarray:
    """The key of a permutation: the next ROUNDS words of `rng`."""
    keys = np.empty(ROUNDS, np.uint64)
    for i in range(ROUNDS):
        keys[i] = word(rng)
    return keys


@kernel
def permuted(index: Int, n: Int, keys: np.ndarray) -> np.int64:
    """Where the permutation of 0..n-1 with these round keys takes `index`; n is at most 2^62."""
    high: Int = 4
    while np.int64(1) << (2 * high) < n:
        high += 1
    low = high - 1 if high > 4 and np.int64(1) << (2 * high - 1) >= n else high
    shift = np.uint64(low)
    high_mask, low_mask = (ONE << np.uint64(high)) - ONE, (ONE << shift) - ONE
    result = np.uint64(index)
    while True:
        left, right = result >> shift, result & low_mask
        for i in range(0, ROUNDS, 2):
            left ^= mix(right + keys[i]) & high_mask
            right ^= mix(left + keys[i + 1]) & low_mask
        result = (left << shift) | right
        if result < np.uint64(n):
            return np.int64(result)
