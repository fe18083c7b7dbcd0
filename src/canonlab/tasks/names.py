"""What Depo and Brevo have in common: how many names an instance has, and names of several tokens.

The number of names n has Pr[n] proportional to 1 / (sqrt(N) + n) on 3..N. A name has l tokens, l uniform in
shortest..longest: l-1 inner tokens uniform in 1..V and an end token uniform in 1..V, so that the end of a name can be
seen. A name that was drawn before is discarded, length included, and drawn anew (arXiv 2512.17351, appendix A; the
paper counts the end tokens as V+1..2V).
"""

import dataclasses
from collections.abc import Iterator, Sequence
from math import isqrt
from typing import NamedTuple

import numpy as np

from canonlab.data.jit import inlined, kernel
from canonlab.data.random import Int, digit, word
from canonlab.errors import InputError, require_integer, shown
from canonlab.tasks.base import Role

SMALLEST = 3
"""The fewest names of an instance."""

LONGEST = 62
"""Tokens of a name: one of two different tokens each gives 2^62 names, what a random word can tell apart."""

BLOCK = 4
"""Names are stored padded to a multiple of this many tokens and copied in such blocks, which is free of branches."""

HASH = np.uint64(0x9E3779B97F4A7C15)
"""2^64 / the golden ratio: multiplied by it, codes that differ little are far apart in the upper bits."""

WORD_BITS = np.uint64(64)


class NameLaw(NamedTuple):
    """What the kernels know of names. `reject` is 2^64 mod the number of (length, token, ..., token) draws."""

    shortest: int
    longest: int
    base: int
    inner: int
    end: int
    reject: np.uint64


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


@dataclasses.dataclass(frozen=True)
class Names:
    """All names of `shortest` to `longest` tokens over a mini-vocabulary of `base` values; ids start at `first`.

    First the inner tokens (none if all names have one token), then the end tokens.
    """

    base: int
    shortest: int
    longest: int
    first: int

    @property
    def inner(self) -> range:
        """The ids of inner tokens."""
        return range(self.first, self.first + (self.base if self.longest > 1 else 0))

    @property
    def end(self) -> range:
        """The ids of end tokens."""
        return range(self.inner.stop, self.inner.stop + self.base)

    @property
    def count(self) -> int:
        """How many different names there are."""
        return sum(self.base**length for length in range(self.shortest, self.longest + 1))

    def least_tokens(self, names: int) -> int:
        """The fewest tokens that `names` different names can have in total."""
        tokens = 0
        for length in range(self.shortest, self.longest + 1):
            used = min(names, self.base**length)
            tokens, names = tokens + used * length, names - used
        return tokens

    def entries(self) -> Iterator[tuple[str, Role, int | None]]:
        """The vocabulary entries in the order of their ids: a1, a2, ... (inner tokens), b1, b2, ... (end tokens)."""
        for letter, role, ids in (("a", "name", self.inner), ("b", "name_end", self.end)):
            for value in range(1, len(ids) + 1):
                yield f"{letter}{value}", role, None  # type: ignore[misc]

    def law(self) -> NameLaw:
        """The numbers that the kernels take."""
        draws = (self.longest - self.shortest + 1) * self.base**self.longest
        inner, end = self.inner.start, self.end.start
        return NameLaw(self.shortest, self.longest, self.base, inner, end, np.uint64((1 << 64) % draws))

    def read(self, ids: Sequence[int], start: int) -> tuple[int, ...]:
        """The name at `ids[start:]`, its end token included; ValueError, saying what is wrong, if none stands there."""
        inner, end = self.inner, self.end  # made once: a scorer reads hundreds of names a prompt
        for stop in range(start, len(ids)):
            if ids[stop] in end:
                length = stop + 1 - start
                if not self.shortest <= length <= self.longest:
                    raise ValueError(f"a name of {length} tokens, not {self.shortest} to {self.longest},")
                return tuple(ids[start : stop + 1])
            if ids[stop] not in inner:
                raise ValueError("an unfinished name" if stop > start else "no name")
        raise ValueError("an unfinished name" if start < len(ids) else "no name")


def require_lengths(field: str, value: object) -> tuple[int, int]:
    """`value` as (shortest, longest) when it is a pair of integers, 1 <= shortest <= longest, else an InputError."""
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        raise InputError(f"{field} = {shown(value)}: must be two integers, the shortest and the longest name in tokens")
    shortest = require_integer(f"{field}[0]", value[0], 1, LONGEST)
    return shortest, require_integer(f"{field}[1]", value[1], shortest, LONGEST)


def require_names(names: Names, largest: int) -> None:
    """InputError unless `largest` different names exist and one random word is enough to draw a name."""
    setting = f"V = {names.base}, lengths {names.shortest} to {names.longest}"
    if (names.longest - names.shortest + 1) * names.base**names.longest > 1 << 62:
        raise InputError(f"{setting}: must give at most 2^62 ways to draw a name")
    if names.count < largest:
        raise InputError(f"N = {largest}: must be at most {names.count}, the number of names ({setting})")


@kernel
def table_bits(n: Int) -> int:
    """The bits of a slot in the hash table for n names: 2^bits slots, at least 4n, so that few names share a slot."""
    bits = 2
    while (1 << bits) < 4 * n:
        bits += 1
    return bits


@kernel
def draw_names(
    rng: np.ndarray, law: NameLaw, n: Int, names: np.ndarray, lengths: np.ndarray, table: np.ndarray
) -> None:
    """Draw n different names into the rows of `names` (int32, more than n rows) and their lengths into `lengths`.

    `table` (int64, at least 2^table_bits(n) slots) is scratch: a hash set with linear probing, 0 meaning free, of the
    names' codes (their tokens' values 1..V as the digits of a bijective numeral in base V, so no two share one).
    All draws take the same steps whatever the length, and a draw that turns out a repetition is overwritten by the
    next: a branch on either would be mispredicted half of the time.
    """
    bits = table_bits(n)
    shift, last_slot = WORD_BITS - np.uint64(bits), (1 << bits) - 1
    table[: last_slot + 1] = 0
    count: Int = 0
    while count < n:
        # One random word gives a length and the digits of the longest name, of which a shorter one leaves some unused.
        extra, fraction = digit(word(rng), law.longest - law.shortest + 1)
        length = law.shortest + extra
        code: Int = 0
        end: Int = 0
        for position in range(law.longest):
            value, fraction = digit(fraction, law.base)
            names[count, position] = law.inner + value  # from the name's end on that is padding, which nobody reads
            code = code * law.base + value + 1 if position < length else code
            end = value if position < length else end
        names[count, length - 1] = law.end + end
        lengths[count] = length
        if fraction < law.reject:  # else some names would come more often than others, see `digit`
            continue
        slot = np.int64((np.uint64(code) * HASH) >> shift)
        while table[slot] != 0 and table[slot] != code:
            slot = (slot + 1) & last_slot
        count += np.int64(table[slot] == 0)  # a name that is there already stays below `count` and is overwritten
        table[slot] = code


@inlined
def write_name(row: np.ndarray, position: Int, names: np.ndarray, name: Int) -> None:
    """Copy a row of `names`, padding included, to `row[position:]`; what comes next overwrites the padding."""
    for block in range(0, names.shape[1], BLOCK):
        # All four loads before the stores: the compiler can't know that the arrays are apart, and makes it one move.
        a, b, c, d = names[name, block], names[name, block + 1], names[name, block + 2], names[name, block + 3]
        at = position + block
        row[at], row[at + 1], row[at + 2], row[at + 3] = a, b, c, d
