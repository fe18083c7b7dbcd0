"""The generator of bioD's windows, and of the questions of its evaluation.

A record is `<eos> name`, then, in an order of its own, each attribute's token with the value's tokens after it. All
records have one length, so token t of an exposure lies in record t // length, and any window is made by itself.

Streams below the stream `key` of the task, as (index, split) of `canonlab.data.random.stream`:
(0, 0) the people: the key of what follows, the permutation of the names, the key of the strings; (0, 1) the sample of
people that the evaluation asks about; (1 + exposure, split) an exposure: the key of what follows, its permutation.
Below the people: (person, 0) the values. Below the strings: (attribute, 0) the permutation of all strings whose first D
are the attribute's; or, where there are more than 2^62, (attribute * D + i, 1) the tokens of string i.
Below an exposure: (slot, 0) the order of the attributes.
"""

from typing import NamedTuple

import numpy as np

from canonlab.data.jit import kernel
from canonlab.data.random import ROUNDS, Int, below, permuted, round_keys, shuffle, stream, word
from canonlab.tasks.knowledge import Questions

EOS = 0
"""The id of <eos>; attribute a of 0..K-1 has the id 1 + a, and token v of 0..T-1 of names and values 1 + K + v."""


class BioLaw(NamedTuple):
    """What the generator draws from, by the letters of the task where these are.

    `people` N, `attributes` K, `chunks` C, `variety` D, `width` L, `alphabet` T, `names` N0; the `digits` of a name, in
    base T; and the number of all `strings` T^L, 0 where these are more than 2^62.
    """

    people: int
    attributes: int
    chunks: int
    variety: int
    width: int
    alphabet: int
    names: int
    digits: int
    strings: int


class BioKeys(NamedTuple):
    """The keys of what a stream teaches: of values, names and strings, with the permutation (K, ROUNDS) of each set."""

    values: np.uint64
    names: np.ndarray
    strings: np.uint64
    sets: np.ndarray


@kernel
def bio_keys(key: np.uint64, law: BioLaw) -> BioKeys:
    """The keys of the people of the stream `key`, in both of its splits."""
    rng = stream(key, 0, 0)
    values = word(rng)
    names = round_keys(rng)
    strings = word(rng)
    sets = np.empty((law.attributes, ROUNDS), np.uint64)
    for attribute in range(law.attributes):
        sets[attribute] = round_keys(stream(strings, attribute, 0))
    return BioKeys(values, names, strings, sets)


@kernel
def write_digits(out: np.ndarray, number: Int, law: BioLaw) -> None:
    """Fill `out` with the digits of a number, the first ones first, as tokens."""
    rest = np.int64(number)
    for i in range(len(out) - 1, -1, -1):
        out[i] = 1 + law.attributes + rest % law.alphabet
        rest //= law.alphabet


@kernel
def write_string(out: np.ndarray, attribute: Int, index: Int, keys: BioKeys, law: BioLaw) -> None:
    """Write string `index` of an attribute's D to `out` (L,)."""
    if law.strings > 0:
        write_digits(out, permuted(index, law.strings, keys.sets[attribute]), law)
        return
    rng = stream(keys.strings, attribute * law.variety + index, 1)
    for i in range(len(out)):
        out[i] = 1 + law.attributes + below(rng, law.alphabet)


@kernel
def write_name(out: np.ndarray, index: Int, keys: BioKeys, law: BioLaw) -> None:
    """Write the name of person `index` to `out` (digits,)."""
    write_digits(out, permuted(index, law.names, keys.names), law)


@kernel
def draw_values(values: np.ndarray, index: Int, keys: BioKeys, law: BioLaw) -> None:
    """Draw which strings the values of person `index` are made of, to `values` (K, C)."""
    rng = stream(keys.values, index, 0)
    for attribute in range(law.attributes):
        for chunk in range(law.chunks):
            values[attribute, chunk] = below(rng, law.variety)


@kernel
def write_value(out: np.ndarray, attribute: Int, value: np.ndarray, keys: BioKeys, law: BioLaw) -> None:
    """Write an attribute's token and its value, of the strings `value` (C,), to `out` (1 + C L,)."""
    out[0] = 1 + attribute
    for chunk in range(law.chunks):
        begin = 1 + chunk * law.width
        write_string(out[begin : begin + law.width], attribute, value[chunk], keys, law)


@kernel
def write_record(
    out: np.ndarray, index: Int, order: np.ndarray, values: np.ndarray, keys: BioKeys, law: BioLaw
) -> None:
    """Write the record of person `index`, attributes in an `order` (K,), to `out` (length,); `values` is scratch."""
    draw_values(values, index, keys, law)
    out[0] = EOS
    begin: Int = 1 + law.digits
    write_name(out[1:begin], index, keys, law)
    size = 1 + law.chunks * law.width
    for attribute in order:
        write_value(out[begin : begin + size], attribute, values[attribute], keys, law)
        begin += size


@kernel
def fill(tokens: np.ndarray, mask: np.ndarray, key: np.uint64, start: Int, split: Int, law: BioLaw) -> None:
    """Write windows start, start + 1, ... of the stream `key` to the rows of `tokens` (int32) and `mask` (uint8).

    Every token is marked except the rest of an exposure, and the first of a window.
    """
    count, context = tokens.shape
    length = 1 + law.digits + law.attributes * (1 + law.chunks * law.width)
    total = law.people * length
    windows = (total + context - 1) // context
    keys = bio_keys(key, law)
    order, values = np.empty(law.attributes, np.int64), np.empty((law.attributes, law.chunks), np.int64)
    record = np.empty(length, np.int32)
    last_exposure, last_slot = np.int64(-1), np.int64(-1)
    exposure_key, slot_keys = np.uint64(0), keys.names
    for row in range(count):
        exposure = (start + row) // windows
        if exposure != last_exposure:
            rng = stream(key, 1 + exposure, split)
            exposure_key, slot_keys = word(rng), round_keys(rng)
            last_exposure, last_slot = exposure, np.int64(-1)
        begin = (start + row - exposure * windows) * context
        end = min(begin + context, total)
        tokens[row, end - begin :] = EOS
        mask[row, : end - begin] = 1
        mask[row, end - begin :] = 0
        mask[row, 0] = 0
        at = begin
        while at < end:
            slot = at // length
            if slot != last_slot:
                for attribute in range(law.attributes):
                    order[attribute] = attribute
                shuffle(stream(exposure_key, slot, 0), order)
                write_record(record, permuted(slot, law.people, slot_keys), order, values, keys, law)
                last_slot = slot
            stop = min(end, (slot + 1) * length)
            tokens[row, at - begin : stop - begin] = record[at - slot * length : stop - slot * length]
            at = stop


@kernel
def _ask(tokens: np.ndarray, key: np.uint64, first: Int, law: BioLaw) -> None:
    keys = bio_keys(key, law)
    sample_keys = round_keys(stream(key, 0, 1))
    values = np.empty((law.attributes, law.chunks), np.int64)
    named = 1 + law.digits
    for i in range(len(tokens)):
        index = permuted(first + i, law.people, sample_keys)
        draw_values(values, index, keys, law)
        for attribute in range(law.attributes):
            row = tokens[i, attribute]
            row[0] = EOS
            write_name(row[1:named], index, keys, law)
            write_value(row[named:], attribute, values[attribute], keys, law)


def ask(key: int, law: BioLaw, first: int, count: int) -> Questions:
    """The questions to people first .. first + count - 1 of the sample, a keyed permutation of all of them.

    One for each attribute, in order: `<eos> name attribute`, and the value, whose first part is its first chunk.
    """
    begin = 2 + law.digits
    tokens = np.empty((count, law.attributes, begin + law.chunks * law.width), np.int32)
    _ask(tokens, np.uint64(key), first, law)

    def everywhere(position: int) -> np.ndarray:
        return np.full((count, law.attributes), position, np.int64)

    name = np.full(count, begin - 1, np.int64)
    return Questions(tokens, name, everywhere(begin), everywhere(tokens.shape[2]), everywhere(begin + law.width))
