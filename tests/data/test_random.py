"""The kernels' random integers are the plain ones, bit for bit, and follow their laws."""

import math
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from numba import njit

from canonlab.data import plain
from canonlab.data.random import ROUNDS, below, digit, mix, permuted, shuffle, stream, word
from laws import assert_uniform, p_value
from plain_capo import plain_permuted

KEYS = (0, 1, 0xDEADBEEF, 2**63, 2**64 - 1)
ADDRESSES = ((0, 0), (0, 1), (7, 0), (10**9, 1), (2**62 - 1, 0), (2**62 - 1, 1))
STREAMS = [(key, index, split) for key in KEYS for index, split in ADDRESSES]


def both(key: int, index: int, split: int) -> tuple[np.ndarray, plain.Random]:
    return stream(np.uint64(key), index, split), plain.Random(key, index, split)


@njit
def draw_digits(rng: np.ndarray, bases: np.ndarray, reject: np.uint64) -> np.ndarray:
    values = np.empty(len(bases), np.int64)
    while True:
        fraction = word(rng)
        for i in range(len(bases)):
            values[i], fraction = digit(fraction, bases[i])
        if fraction >= reject:
            return values


@pytest.mark.parametrize(("key", "index", "split"), STREAMS)
def test_words_are_the_plain_ones(key: int, index: int, split: int) -> None:
    rng, twin = both(key, index, split)
    assert [int(word(rng)) for _ in range(100)] == [twin.word() for _ in range(100)]


@pytest.mark.parametrize("n", [1, 2, 3, 10, 375, 2**31, 3 * 2**30, 2**31 + 1, 2**32 - 1])
def test_bounded_integers_are_the_plain_ones(n: int) -> None:
    rng, twin = both(5, 3, 0)
    drawn = [int(below(rng, n)) for _ in range(300)]
    assert drawn == [twin.below(n) for _ in range(300)]
    assert min(drawn) >= 0 and max(drawn) < n
    assert int(word(rng)) == twin.word()  # as many words were used, rejected ones included


@pytest.mark.parametrize(
    "bases", [[2, 50, 50], [3] + [4] * 7, [1, 1], [10**6] * 3, [2**32 - 1, 2**31 - 1], [3**19] * 2]
)
def test_digits_are_the_plain_ones(bases: list[int]) -> None:
    rng, twin = both(9, 1, 1)
    reject = np.uint64(2**64 % math.prod(bases))
    drawn = [draw_digits(rng, np.array(bases), reject).tolist() for _ in range(300)]
    assert drawn == [twin.digits(bases) for _ in range(300)]
    assert int(word(rng)) == twin.word()


@pytest.mark.parametrize("n", [0, 1, 2, 3, 100])
def test_shuffles_are_the_plain_ones(n: int) -> None:
    rng, twin = both(5, 3, 0)
    items, plain_items = np.arange(n), list(range(n))
    shuffle(rng, items)
    twin.shuffle(plain_items)
    assert items.tolist() == plain_items


def test_bounded_integers_are_uniform() -> None:
    rng = stream(np.uint64(1), 0, 0)
    assert_uniform(np.bincount([below(rng, 6) for _ in range(6000)], minlength=6).tolist())
    thirds = 3 * 2**30  # a plain multiply and shift would favour every third value by a half
    assert_uniform(np.bincount([below(rng, thirds) % 3 for _ in range(6000)], minlength=3).tolist())


def test_digits_are_jointly_uniform() -> None:
    rng, bases = stream(np.uint64(2), 0, 0), np.array([2, 3, 5])
    seen = Counter(tuple(draw_digits(rng, bases, np.uint64(2**64 % 30)).tolist()) for _ in range(6000))
    assert len(seen) == 30
    assert_uniform(list(seen.values()))


def test_shuffles_are_uniform() -> None:
    rng, seen = stream(np.uint64(3), 0, 0), Counter()
    for _ in range(6000):
        items = np.arange(4)
        shuffle(rng, items)
        seen[tuple(items.tolist())] += 1
    assert_uniform([seen[order] for order in permutations(range(4))])


def test_neighbouring_windows_are_independent() -> None:
    first = np.array([[int(word(stream(np.uint64(4), i, split))) >> 61 for split in (0, 1)] for i in range(6000)])
    assert_uniform(np.bincount(first[:, 0] * 8 + first[:, 1], minlength=64).tolist())
    assert_uniform(np.bincount(first[:-1, 0] * 8 + first[1:, 0], minlength=64).tolist())


def test_no_two_windows_of_a_key_share_a_state() -> None:
    """All steps from 2 index + split to the state are bijections: mix can be undone, and adding the key too."""

    def unmix(z: int) -> int:
        for shift, factor in ((31, 0x94D049BB133111EB), (27, 0xBF58476D1CE4E5B9), (30, 1)):
            x = z
            for _ in range(64 // shift):
                x = z ^ (x >> shift)
            z = x * pow(factor, -1, 2**64) % 2**64
        return z

    for key, index, split in STREAMS:
        rng = stream(np.uint64(key), index, split)
        assert unmix((unmix(int(rng[0])) - key) % 2**64) == 2 * index + split
        assert rng[1] % np.uint64(2) == 1
    assert unmix(int(mix(np.uint64(12345)))) == 12345


def test_the_chi_square_test_can_fail() -> None:
    assert p_value([650, 500, 500], [1 / 3] * 3) < 1e-3 < p_value([510, 500, 490], [1 / 3] * 3)


def round_words(index: int) -> list[int]:
    rng = plain.Random(2026, index, 0)
    return [rng.word() for _ in range(ROUNDS)]


def permutation(n: int, index: int) -> list[int]:
    rounds = np.array(round_words(index), np.uint64)
    return [permuted(i, n, rounds) for i in range(n)]


@pytest.mark.parametrize("n", [*range(1, 18), 31, 32, 33, 100, 1023, 1024, 1025, 2**14 + 1])
def test_every_entry_of_a_permutation_comes_once(n: int) -> None:
    for index in range(3):
        assert sorted(permutation(n, index)) == list(range(n))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 9, 1000, 160_000_000, 2**32, 2**62])
def test_entries_of_a_permutation_are_those_of_the_plain_twin(n: int) -> None:
    for index in range(5):
        rounds = round_words(index)
        for i in {0, n // 3, n // 2, n - 1}:
            assert permuted(i, n, np.array(rounds, np.uint64)) == plain_permuted(i, n, rounds)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_small_permutations_are_uniform(n: int) -> None:
    seen = Counter(tuple(permutation(n, index)) for index in range(12000))
    assert_uniform([seen[order] for order in permutations(range(n))])


@pytest.mark.parametrize("n", [6, 8, 16, 21])
def test_pairs_of_entries_of_a_permutation_are_uniform(n: int) -> None:
    for i, j in ((0, 1), (0, n - 1), (n // 2 - 1, n // 2)):
        seen = Counter()
        for index in range(20 * n * n):
            rounds = np.array(round_words(index), np.uint64)
            seen[permuted(i, n, rounds), permuted(j, n, rounds)] += 1
        assert_uniform([seen[a, b] for a in range(n) for b in range(n) if a != b])


def test_neighbours_in_one_large_permutation_are_unrelated() -> None:
    """Where entry i + 1 lies, seen from entry i, is uniform over the whole range."""
    n = 40_000
    order = permutation(n, 7)
    steps = (np.diff(order) % n) // (n // 50)
    assert_uniform(np.bincount(steps, minlength=50).tolist())
