"""Pieces are the tokens of texts, and their compact ids leave nothing out."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import pytest

from canonlab.tasks.capo import people
from canonlab.tasks.capo.pieces import AFTER, BEFORE, EOS, KINDS, Kind, load_pieces, texts
from canonlab.tasks.capo.tokenizer import load_tokenizer
from canonlab.tasks.capo.words import ATTRIBUTES, load_words
from plain_capo import encode, plain_text

BIOGRAPHIES = 3000

KIND_OF = (
    *(Kind.FIRST, Kind.MIDDLE, Kind.LAST, Kind.PRONOUN, Kind.MONTH, Kind.DAY, Kind.YEAR),
    *(Kind.CITY, Kind.UNIVERSITY, Kind.MAJOR, Kind.EMPLOYER),
)
"""The kind of piece of each column of a person."""


def random_biographies() -> list[tuple[list[int], list[int], list[int]]]:
    """People, orders of the attributes and templates, in each of which every entry occurs several times."""
    rng = np.random.default_rng(0)
    pieces = load_pieces()
    columns = [rng.permutation(BIOGRAPHIES) % pieces.count(kind) for kind in KIND_OF]
    templates = [rng.permutation(BIOGRAPHIES) % 50 for _ in ATTRIBUTES]
    orders = [rng.permutation(6).tolist() for _ in range(BIOGRAPHIES)]
    return list(zip(np.transpose(columns).tolist(), orders, np.transpose(templates).tolist(), strict=True))


def plain_pieces(person: Sequence[int], order: Sequence[int], templates: Sequence[int]) -> list[tuple[int, int]]:
    """The kind and the index of each piece of a biography."""
    found: list[tuple[int, int]] = [(kind, person[column]) for column, kind in enumerate(KIND_OF[:3])]
    for place, attribute in enumerate(order):
        if place:
            found.append((Kind.PRONOUN, person[people.PRONOUN]))
        found.append((BEFORE + attribute, templates[attribute]))
        if ATTRIBUTES[attribute] == "birth_date":
            found += [(Kind.MONTH, person[people.MONTH]), (Kind.DAY, person[people.DAY]), (Kind.COMMA, 0)]
            found.append((Kind.YEAR, person[people.YEAR]))
        elif ATTRIBUTES[attribute] == "employer_city":
            found.append((Kind.EMPLOYER_CITY, person[people.EMPLOYER]))
        else:
            column = (people.CITY, people.UNIVERSITY, people.MAJOR, people.EMPLOYER)[attribute - 1]
            found.append((KIND_OF[column], person[column]))
        found.append((AFTER + attribute, templates[attribute]))
    return found


def prefixes(values: Iterable[list[int]]) -> list[list[int]]:
    """The values that others start with. In sorted order, all values that start with one follow it."""
    return [value for value, following in pairwise(sorted(values)) if following[: len(value)] == value]


def test_pieces_are_the_tokens_of_the_text() -> None:
    """And the tokens are the text."""
    words, pieces = load_words(), load_pieces()
    lengths, seen = [], set()
    for person, order, templates in random_biographies():
        text = plain_text(words, person, order, templates)
        parts = plain_pieces(person, order, templates)
        tokens = [token for kind, index in parts for token in pieces.of(kind, index)]
        assert tokens == encode("own", text)
        assert pieces.decode(tokens) == text
        lengths.append(len(tokens))
        seen.update(parts)
    assert 55 <= np.mean(lengths) <= 90
    assert len(seen) == len(pieces.start) - 1, "every piece took part"


def test_every_piece_is_its_text() -> None:
    pieces = load_pieces()
    assert len(texts()) == KINDS == len(pieces.base) - 1
    for kind, group in enumerate(texts()):
        assert [pieces.decode(pieces.of(kind, i)) for i in range(pieces.count(kind))] == group
    assert len(pieces.tokens) == pieces.start[-1] and pieces.base[-1] == len(pieces.start) - 1


def test_employer_cities_are_cities() -> None:
    words, pieces = load_words(), load_pieces()
    for i, city in enumerate(words.employer_cities):
        assert pieces.of(Kind.EMPLOYER_CITY, i) == pieces.of(Kind.CITY, words.cities.index(city))


def test_compact_ids_leave_nothing_out() -> None:
    pieces, tokenizer = load_pieces(), load_tokenizer()
    assert sorted({EOS, *pieces.tokens.tolist()}) == list(range(len(pieces.names)))
    assert EOS == 0 and EOS not in pieces.tokens and pieces.names[EOS] == "<eos>"
    assert len(set(pieces.names)) == len(pieces.names) < len(tokenizer.vocabulary)
    assert len(set(pieces.original.tolist())) == len(pieces.original) == len(pieces.names)
    assert pieces.original[EOS] == tokenizer.eos
    for compact, original in enumerate(pieces.original.tolist()):
        assert pieces.decode([compact]) == tokenizer.decode([original])


def test_original_ids_are_the_tokenizers() -> None:
    pieces, tokenizer = load_pieces(), load_tokenizer()
    for kind, group in enumerate(texts()):
        for i, text in enumerate(group):
            assert pieces.original[pieces.of(kind, i)].tolist() == tokenizer.encode(text)


@pytest.mark.parametrize(
    "kind", [Kind.FIRST, Kind.MIDDLE, Kind.LAST, Kind.CITY, Kind.UNIVERSITY, Kind.MAJOR, Kind.EMPLOYER]
)
def test_no_value_is_the_beginning_of_another(kind: Kind) -> None:
    pieces = load_pieces()
    assert prefixes(pieces.of(kind, i) for i in range(pieces.count(kind))) == []


def test_no_date_is_the_beginning_of_another() -> None:
    pieces = load_pieces()
    months, days, years = (
        [pieces.of(kind, i) for i in range(pieces.count(kind))] for kind in (Kind.MONTH, Kind.DAY, Kind.YEAR)
    )
    comma = pieces.of(Kind.COMMA, 0)
    assert prefixes([*month, *day, *comma, *year] for month in months for day in days for year in years) == []


@pytest.mark.parametrize("attribute", range(6))
def test_templates_are_of_similar_lengths(attribute: int) -> None:
    """Which lets a block's length vary little, so that few windows are padded."""
    pieces = load_pieces()
    lengths = [len(pieces.of(BEFORE + attribute, i)) + len(pieces.of(AFTER + attribute, i)) for i in range(50)]
    assert 0 < np.std(lengths) <= 2
