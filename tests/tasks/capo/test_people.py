"""People as functions of an index."""

import numpy as np
import pytest

from canonlab.tasks.capo import people
from canonlab.tasks.capo.pieces import Kind, load_pieces
from canonlab.tasks.capo.words import N0, S0
from laws import assert_uniform
from plain_capo import plain_person
from redraws import OftenRedrawing

SIZES = [400, 400, 1000, 2, 12, 28, 200, 200, 300, 100, 263]


def test_sizes_are_those_of_the_paper() -> None:
    assert [people.COLUMNS, N0, S0] == [11, 160_000_000, 2 * (12 * 28 * 200) * 200 * 300 * 100 * 263]
    pieces = load_pieces()
    kinds = [kind for kind in Kind if kind not in (Kind.COMMA, Kind.EMPLOYER_CITY)]
    assert [pieces.count(kind) for kind in kinds] == SIZES


def test_people_are_those_of_the_plain_twin() -> None:
    indices = np.array([0, 1, 2, 3, 77, 19_999_999, N0 - 1])
    for key in (0, 2**64 - 1, 123456789):
        found = people.people(key, indices)
        assert found.dtype == np.int64
        assert found.tolist() == [plain_person(key, int(index)) for index in indices]
    assert people.people(5, indices[:0]).shape == (0, 11)


def test_a_person_depends_on_the_index_alone() -> None:
    indices = np.random.default_rng(0).permutation(5000)
    assert np.array_equal(people.people(9, indices), people.people(9, np.arange(5000))[indices])
    assert np.array_equal(people.people(9, indices[::2]), people.people(9, indices)[::2])


def test_words_are_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    assert people.REDRAW == 2**64 % S0
    monkeypatch.setattr("plain_capo.Random", OftenRedrawing)
    out = np.empty((50, 11), np.int64)
    people.write_people(out, np.uint64(3), np.arange(50), np.uint64(1 << 63))
    assert out.tolist() == [plain_person(3, index) for index in range(50)]


def test_names_are_distinct() -> None:
    """Independent draws of so many names would meet 281 times on average."""
    names = people.people(1, np.arange(300_000))[:, :3]
    assert len(np.unique(names @ np.array([400_000, 1000, 1]))) == 300_000


def test_law_of_the_columns() -> None:
    found = people.people(2, np.arange(60_000))
    for column, size in zip(found.T, SIZES, strict=True):
        assert_uniform(np.bincount(column, minlength=size).tolist())


def test_columns_are_independent() -> None:
    """Every pair of columns, each reduced to which of four parts of its range it is in (two for the pronoun)."""
    parts = np.minimum(SIZES, 4)
    found = people.people(3, np.arange(40_000)) * parts // SIZES
    for i in range(11):
        for j in range(i):
            if all(SIZES[k] % parts[k] == 0 for k in (i, j)):
                pairs = found[:, i] * parts[j] + found[:, j]
                assert_uniform(np.bincount(pairs, minlength=parts[i] * parts[j]).tolist())


def test_neighbours_have_unrelated_names() -> None:
    first = people.people(4, np.arange(40_001))[:, 0] // 40
    assert_uniform(np.bincount(first[1:] * 10 + first[:-1], minlength=100).tolist())
