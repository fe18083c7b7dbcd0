"""Who the people are: each is a function of an index, and their names are distinct by construction."""

import numpy as np
from numpy.typing import NDArray

from canonlab.data.jit import kernel
from canonlab.data.random import Int, digit, permuted, round_keys, stream, word
from canonlab.tasks.capo.words import DAYS, MONTHS, N0, PRONOUNS, S0, SIZES, YEARS

FIRST, MIDDLE, LAST, PRONOUN, MONTH, DAY, YEAR, CITY, UNIVERSITY, MAJOR, EMPLOYER = range(11)
"""The columns of a person. The employer's city follows from the employer."""

COLUMNS = 11
MIDDLE_NAMES, LAST_NAMES = SIZES["middle_names"], SIZES["last_names"]
VALUES = (
    *(len(PRONOUNS), len(MONTHS), len(DAYS), len(YEARS)),
    *(SIZES[values] for values in ("cities", "universities", "majors", "employers")),
)
"""How many values the columns from PRONOUN to EMPLOYER have; S0 combinations in all."""

REDRAW = np.uint64((1 << 64) % S0)
"""See `canonlab.data.random.digit`."""


@kernel
def write_person(person: np.ndarray, index: Int, key: np.uint64, name_keys: np.ndarray, redraw: np.uint64) -> None:
    """Write the columns of person `index` to `person` (11,).

    The name is entry `index` of a permutation of all names. The values are digits of one random word, drawn from a
    stream of the person's own.
    """
    name = permuted(index, N0, name_keys)
    person[FIRST] = name // (MIDDLE_NAMES * LAST_NAMES)
    person[MIDDLE] = name // LAST_NAMES % MIDDLE_NAMES
    person[LAST] = name % LAST_NAMES
    rng = stream(key, index, 0)
    while True:
        fraction = word(rng)
        for i in range(len(VALUES)):
            person[PRONOUN + i], fraction = digit(fraction, VALUES[i])
        if fraction >= redraw:
            return


@kernel
def people_keys(key: np.uint64) -> tuple[np.uint64, np.ndarray]:
    """The keys of the people of the stream `key`, in both of its splits: of their values, and of their names."""
    rng = stream(key, 0, 0)
    return word(rng), round_keys(rng)


@kernel
def write_people(out: np.ndarray, key: np.uint64, indices: np.ndarray, redraw: np.uint64) -> None:
    """Write the people `indices` (n,) of the stream `key` to the rows of `out` (n, 11)."""
    values_key, name_keys = people_keys(key)
    for i in range(len(indices)):
        write_person(out[i], indices[i], values_key, name_keys, redraw)


def people(key: int, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """The people `indices` (n,), each from 0 to N0 - 1, of the stream `key`: int64 (n, 11), columns as above.

    Entry i of a column is an index into the pieces of that kind. Releases the GIL.
    """
    out = np.empty((len(indices), COLUMNS), np.int64)
    write_people(out, np.uint64(key), np.ascontiguousarray(indices, np.int64), REDRAW)
    return out
