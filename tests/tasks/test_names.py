"""Names: how many, their ids, their law by an exact recursion, reading them back."""

from collections import Counter
from decimal import Decimal, getcontext

import numpy as np
import pytest

from canonlab.data.random import stream
from canonlab.errors import InputError
from canonlab.tasks.names import Names, draw_names, require_lengths, require_names, size_thresholds, table_bits
from laws import assert_follows, assert_uniform


def draw(names: Names, n: int, samples: int) -> list[list[tuple[int, ...]]]:
    """Sets of n names in the order in which they are drawn."""
    rows = np.empty((n + 1, names.longest + 3), np.int32)
    lengths, table = np.empty(n + 1, np.int64), np.empty(1 << table_bits(n), np.int64)
    rng, found = stream(np.uint64(11), n, 0), []
    for _ in range(samples):
        draw_names(rng, names.law(), n, rows, lengths, table)
        found.append([tuple(rows[i, : lengths[i]].tolist()) for i in range(n)])
    return found


def length_law(names: Names, n: int) -> dict[tuple[int, ...], float]:
    """Exact: the probability of each count of names by length, when n different ones have been drawn.

    A new name has length l with probability proportional to the share of the V^l names of that length not yet drawn.
    """
    sizes = [names.base**length for length in range(names.shortest, names.longest + 1)]
    law = {(0,) * len(sizes): 1.0}
    for _ in range(n):
        following: dict[tuple[int, ...], float] = {}
        for counts, probability in law.items():
            free = [1 - count / size for count, size in zip(counts, sizes, strict=True)]
            for i, share in enumerate(free):
                if share > 0:
                    more = (*counts[:i], counts[i] + 1, *counts[i + 1 :])
                    following[more] = following.get(more, 0.0) + probability * share / sum(free)
        law = following
    return law


def expected_shares(names: Names, n: int) -> list[float]:
    law = length_law(names, n)
    return [sum(p * counts[i] for counts, p in law.items()) / n for i in range(len(next(iter(law))))]


def test_short_names_run_out() -> None:
    assert [round(100 * s) for s in expected_shares(Names(50, 1, 2, 0), 375)] == [13, 87]
    assert [round(100 * s) for s in expected_shares(Names(4, 2, 4, 0), 50)] == [23, 36, 41]


@pytest.mark.parametrize(("names", "n"), [(Names(50, 1, 2, 0), 60), (Names(4, 2, 4, 0), 20), (Names(3, 1, 3, 0), 12)])
def test_law_of_lengths(names: Names, n: int) -> None:
    samples = 4000
    seen = Counter(
        tuple(sum(len(name) == length for name in drawn) for length in range(names.shortest, names.longest + 1))
        for drawn in draw(names, n, samples)
    )
    law = length_law(names, n)
    assert set(seen) <= set(law)
    common = [counts for counts, p in law.items() if p * samples >= 5]
    rest = 1 - sum(law[counts] for counts in common)
    observed = [seen[counts] for counts in common]
    if rest * samples >= 5:
        assert_follows([*observed, samples - sum(observed)], [*(law[counts] for counts in common), rest])
    else:
        assert_follows(observed, [law[counts] / (1 - rest) for counts in common])


def test_names_of_one_length_are_uniform_and_different() -> None:
    names, seen = Names(3, 2, 2, 5), Counter()
    for drawn in draw(names, 4, 3000):
        assert len(set(drawn)) == 4
        seen.update(drawn)
    assert set(seen) == {(i, j) for i in names.inner for j in names.end}
    # Four of nine without repetition: 1.6 times less variance than independent draws, so the test is on the safe side.
    assert_uniform([seen[name] for name in sorted(seen)])


def test_all_names_that_exist_can_be_drawn() -> None:
    names = Names(2, 1, 4, 0)
    assert names.count == 30
    assert all(len(set(drawn)) == 30 for drawn in draw(names, 30, 20))


def test_ids() -> None:
    two, one = Names(3, 1, 2, first=7), Names(3, 1, 1, first=7)
    assert (two.inner, two.end) == (range(7, 10), range(10, 13))
    assert (one.inner, one.end) == (range(7, 7), range(7, 10))
    assert [entry[:2] for entry in one.entries()] == [("b1", "name_end"), ("b2", "name_end"), ("b3", "name_end")]
    assert [entry[0] for entry in two.entries()] == ["a1", "a2", "a3", "b1", "b2", "b3"]


@pytest.mark.parametrize(("base", "lengths", "n", "tokens"), [(50, (1, 2), 225, 50 + 350), (4, (5, 7), 75, 375)])
def test_least_tokens(base: int, lengths: tuple[int, int], n: int, tokens: int) -> None:
    assert Names(base, *lengths, 0).least_tokens(n) == tokens


def test_reading_names() -> None:
    names = Names(3, 2, 3, first=4)  # inner 4, 5, 6; end 7, 8, 9
    assert names.read([0, 4, 5, 7, 8], 1) == (4, 5, 7)
    for ids, complaint in (
        ([7], "a name of 1 tokens, not 2 to 3"),
        ([4, 4, 4, 7], "a name of 4 tokens"),
        ([4, 4], "an unfinished name"),
        ([4, 2, 7], "an unfinished name"),
        ([2, 7], "no name"),
        ([], "no name"),
    ):
        with pytest.raises(ValueError, match=complaint):
            names.read(ids, 0)


@pytest.mark.parametrize("value", [(2, 1), (0, 1), (1,), (1, 2, 3), 5, "12", (1.0, 2), (True, 2), None])
def test_wrong_lengths(value: object) -> None:
    with pytest.raises(InputError, match="^lengths"):
        require_lengths("lengths", value)


def test_too_few_or_too_many_names() -> None:
    with pytest.raises(InputError, match=r"N = 7: must be at most 6, .* \(V = 2, lengths 1 to 2\)"):
        require_names(Names(2, 1, 2, 0), 7)
    with pytest.raises(InputError, match=r"2\^62"):
        require_names(Names(2, 1, 63, 0), 7)
    with pytest.raises(InputError, match=r"2\^62"):
        require_names(Names(10**6, 4, 4, 0), 7)
    require_names(Names(2, 62, 62, 0), 7)


@pytest.mark.parametrize("largest", [3, 4, 5, 10, 16, 75, 225, 375, 1000])
def test_size_thresholds_are_the_law_in_64_bits(largest: int) -> None:
    getcontext().prec = 60
    weights = [1 / (Decimal(largest).sqrt() + n) for n in range(3, largest + 1)]
    exact = [int(sum(weights[: n - 3]) / sum(weights) * 2**64) for n in range(4, largest + 1)]
    assert size_thresholds(largest).tolist() == exact
    assert exact == sorted(exact)
