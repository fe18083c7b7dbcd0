"""Everything a biography is made of, tokenized once: windows are put together from these pieces, never from text.

A piece starts and ends where the tokenizer's units do, so the pieces of a text, one after another, are exactly the
tokens of the text. Ids are compact: only tokens that the pieces use have one, so an embedding has no unused row.
"""

import dataclasses
import enum
from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from canonlab.tasks.capo.tokenizer import load_tokenizer
from canonlab.tasks.capo.words import ATTRIBUTES, DAYS, MONTHS, PRONOUNS, YEARS, load_words

EOS = 0
"""The compact id of <eos>."""


class Kind(enum.IntEnum):
    """What a piece is; every piece but a first name, a comma and an `AFTER` starts with a space."""

    FIRST = 0
    MIDDLE = 1
    LAST = 2
    PRONOUN = 3
    MONTH = 4
    DAY = 5
    YEAR = 6
    COMMA = 7
    CITY = 8
    UNIVERSITY = 9
    MAJOR = 10
    EMPLOYER = 11
    EMPLOYER_CITY = 12
    """The city of the employer of the same index."""


BEFORE = len(Kind)
"""BEFORE + a is the kind of the text before the value, in the templates of attribute a (of `ATTRIBUTES`)."""

AFTER = BEFORE + len(ATTRIBUTES)
"""AFTER + a is the kind of the text after the value."""

KINDS = AFTER + len(ATTRIBUTES)
"""How many kinds there are."""


@dataclasses.dataclass(frozen=True, eq=False)
class Pieces:
    """The tokens of every piece, in compact ids.

    Args:
        tokens: int32, all pieces' tokens: piece p has tokens[start[p] : start[p + 1]].
        start: int32 (pieces + 1).
        base: int64 (KINDS + 1): piece i of kind k is p = base[k] + i.
        names: what each compact id is called; a leading space is shown as "_".
        original: int64, each compact id's id in the tokenizer.
    """

    tokens: NDArray[np.int32]
    start: NDArray[np.int32]
    base: NDArray[np.int64]
    names: tuple[str, ...]
    original: NDArray[np.int64]

    def of(self, kind: int, index: int) -> list[int]:
        """The tokens of piece `index` of a kind."""
        piece = self.base[kind] + index
        return self.tokens[self.start[piece] : self.start[piece + 1]].tolist()

    def count(self, kind: int) -> int:
        """How many pieces of a kind there are."""
        return int(self.base[kind + 1] - self.base[kind])

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some compact ids; <eos> appears as itself."""
        return "".join(self.names[index] for index in ids).replace("_", " ")


def texts(folder: str = "own") -> list[list[str]]:
    """The text of each piece of each kind, from the word lists in a folder."""
    words = load_words(folder)
    templates = [words.templates[attribute] for attribute in ATTRIBUTES]
    spaced = {
        Kind.MIDDLE: words.middle_names,
        Kind.LAST: words.last_names,
        Kind.PRONOUN: PRONOUNS,
        Kind.MONTH: MONTHS,
        Kind.DAY: DAYS,
        Kind.YEAR: YEARS,
        Kind.CITY: words.cities,
        Kind.UNIVERSITY: words.universities,
        Kind.MAJOR: words.majors,
        Kind.EMPLOYER: words.employers,
        Kind.EMPLOYER_CITY: words.employer_cities,
    }
    bare = {Kind.FIRST: list(words.first_names), Kind.COMMA: [","]}
    return [
        *(bare[kind] if kind in bare else [f" {value}" for value in spaced[kind]] for kind in Kind),
        *([template.before for template in group] for group in templates),
        *([template.after for template in group] for group in templates),
    ]


@cache
def load_pieces(tokenizer: str = "own", words: str = "own") -> Pieces:
    """All pieces of word lists (see `load_words`) under a tokenizer: "own", "gpt2" or a path (see `load_tokenizer`)."""
    encoder = load_tokenizer(tokenizer)
    kinds = texts(words)
    pieces = [encoder.encode(text) for group in kinds for text in group]
    original = np.array([encoder.eos, *sorted({index for piece in pieces for index in piece})])
    compact = {index: position for position, index in enumerate(original.tolist())}
    return Pieces(
        tokens=np.array([compact[index] for piece in pieces for index in piece], np.int32),
        start=np.cumsum([0, *map(len, pieces)], dtype=np.int32),
        base=np.cumsum([0, *map(len, kinds)], dtype=np.int64),
        names=tuple(encoder.decode([index]).replace(" ", "_") for index in original.tolist()),
        original=original,
    )
