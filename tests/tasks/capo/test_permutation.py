"""Permutations of which any entry can be computed by itself."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest

from canonlab.data.plain import Random
from canonlab.tasks.capo.permutation import ROUNDS, permuted
from laws import assert_uniform
from plain_capo import plain_permuted


def keys(index: int) -> list[int]:
    rng = Random(2026, index, 0)
    return [rng.word() for _ in range(ROUNDS)]


def permutation(n: int, index: int) -> list[int]:
    rounds = np.array(keys(index), np.uint64)
    return [permuted(i, n, rounds) for i in range(n)]


@pytest.mark.parametrize("n", [*range(1, 18), 31, 32, 33, 100, 1023, 1024, 1025, 2**14 + 1])
def test_every_entry_comes_once(n: int) -> None:
    for index in range(3):
        assert sorted(permutation(n, index)) == list(range(n))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 9, 1000, 160_000_000, 2**32, 2**62])
def test_entries_are_those_of_the_plain_twin(n: int) -> None:
    for index in range(5):
        rounds = keys(index)
        for i in {0, n // 3, n // 2, n - 1}:
            assert permuted(i, n, np.array(rounds, np.uint64)) == plain_permuted(i, n, rounds)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_small_permutations_are_uniform(n: int) -> None:
    seen = Counter(tuple(permutation(n, index)) for index in range(12000))
    assert_uniform([seen[order] for order in permutations(range(n))])


@pytest.mark.parametrize("n", [6, 8, 16, 21])
def test_pairs_of_entries_are_uniform(n: int) -> None:
    for i, j in ((0, 1), (0, n - 1), (n // 2 - 1, n // 2)):
        seen = Counter()
        for index in range(20 * n * n):
            rounds = np.array(keys(index), np.uint64)
            seen[permuted(i, n, rounds), permuted(j, n, rounds)] += 1
        assert_uniform([seen[a, b] for a in range(n) for b in range(n) if a != b])


def test_neighbours_in_one_large_permutation_are_unrelated() -> None:
    """Where entry i + 1 lies, seen from entry i, is uniform over the whole range."""
    n = 40_000
    order = permutation(n, 7)
    steps = (np.diff(order) % n) // (n // 50)
    assert_uniform(np.bincount(steps, minlength=50).tolist())
