"""Random integers for kernels: a generator that is keyed by (stream, window index, split), so that nothing is global.

SplitMix (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014): a 64-bit state goes up
by an odd constant, the gamma, and is mixed into a word by a bijection. Each window of a stream has its own state and
gamma. `canonlab.data.plain` is the same in plain Python, and the definition.

An `rng` is an array of two uint64, state and gamma, which the functions below advance. Only uint64 meets uint64 here:
numba turns a uint64 and an int64 into a float.
"""

import numpy as np

from canonlab.data.jit import kernel

Int = int | np.int64
"""A signed integer in a kernel, where it is an int64 whatever it was in Python."""

ONE, SHIFT_27, SHIFT_30, SHIFT_31, SHIFT_32, SHIFT_33 = (np.uint64(bits) for bits in (1, 27, 30, 31, 32, 33))
LOW_32 = np.uint64(0xFFFFFFFF)
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
GAMMA_1, GAMMA_2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)

ROUNDS = 6
"""Of a permutation's network, an even number."""


@kernel
def mix(z: np.uint64) -> np.uint64:
    """A bijection of 64-bit words in which every input bit moves every output bit (Stafford's variant 13)."""
    z = (z ^ (z >> SHIFT_30)) * MIX_1
    z = (z ^ (z >> SHIFT_27)) * MIX_2
    return z ^ (z >> SHIFT_31)


@kernel
def mix_gamma(z: np.uint64) -> np.uint64:
    """An odd number from a word, by another mix (MurmurHash3's) than the one of state and output."""
    z = (z ^ (z >> SHIFT_33)) * GAMMA_1
    z = (z ^ (z >> SHIFT_33)) * GAMMA_2
    return (z ^ (z >> SHIFT_33)) | ONE


@kernel
def stream(key: np.uint64, index: Int, split: Int) -> np.ndarray:
    """The rng of window `index` (below 2^62) in the split 0 (train) or 1 (eval) of the stream `key`.

    2 index + split is different for any two (index, split), and all steps from it to the state are bijections: within a
    key no two windows, of one split or of both, ever start in the same state.
    """
    seed = mix((np.uint64(index) << ONE) | np.uint64(split)) + key
    rng = np.empty(2, np.uint64)
    rng[0] = mix(seed)
    rng[1] = mix_gamma(seed)
    return rng


@kernel
def word(rng: np.ndarray) -> np.uint64:
    """The next 64 random bits."""
    rng[0] += rng[1]
    return mix(rng[0])


@kernel
def below(rng: np.ndarray, n: Int) -> np.int64:
    """A uniform integer in 0..n-1, for n from 1 to 2^32 - 1.

    n times a 32-bit fraction, integer part; fractions that would favour some results are drawn anew (Lemire, "Fast
    random integer generation in an interval", 2019), which costs a division only when a redraw is possible at all.
    """
    bound = np.uint64(n)
    product = (word(rng) >> SHIFT_32) * bound
    if product & LOW_32 < bound:
        reject = (LOW_32 - bound + ONE) % bound  # 2^32 mod n
        while product & LOW_32 < reject:
            product = (word(rng) >> SHIFT_32) * bound
    return np.int64(product >> SHIFT_32)


@kernel
def digit(fraction: np.uint64, base: Int) -> tuple[np.int64, np.uint64]:
    """The first digit of fraction / 2^64 written in `base` (below 2^32), and the fraction that follows it.

    Digits in bases b1, b2, ... taken from one random word are exactly uniform if the word is drawn anew whenever the
    fraction that remains is below 2^64 mod (b1 b2 ...): `below`, for several numbers at once.
    """
    bound = np.uint64(base)
    low = (fraction & LOW_32) * bound
    high = (fraction >> SHIFT_32) * bound + (low >> SHIFT_32)
    return np.int64(high >> SHIFT_32), (high << SHIFT_32) | (low & LOW_32)


@kernel
def shuffle(rng: np.ndarray, items: np.ndarray) -> None:
    """Put `items` (1-D) into a uniformly random order, in place, by exchanges from the last to the first."""
    for last in range(len(items) - 1, 0, -1):
        other = below(rng, last + 1)
        items[last], items[other] = items[other], items[last]


@kernel
def round_keys(rng: np.ndarray) -> np.ndarray:
    """The key of a permutation: the next ROUNDS words of `rng`."""
    keys = np.empty(ROUNDS, np.uint64)
    for i in range(ROUNDS):
        keys[i] = word(rng)
    return keys


@kernel
def permuted(index: Int, n: Int, keys: np.ndarray) -> np.int64:
    """Where the permutation of 0..n-1 with these round keys takes `index`, each by itself; n is at most 2^62.

    A Feistel network permutes the words of b bits, b being the fewest that n needs, but at least 8, as permutations of
    fewer bits would be far from uniform. A result that is no index below n goes through the network again until it is
    one (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002): less than two passes on average, if
    n > 128. The halves of a word may differ by one bit.
    """
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
