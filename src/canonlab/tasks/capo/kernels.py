"""The generator of Capo's windows: biographies of keyed permutations of the people, block by block.

Each exposure shows the people in an order of its own, in blocks of BLOCK of them, the last with the rest. A block is
`<eos> biography <eos> biography ...`, cut into the fixed number of windows that `CapoLaw` has for it; their rest is
filled with <eos> that are not marked. To make some windows, their blocks are drawn, which gives all lengths, but only
the biographies that lie in these windows are written.

Streams below the stream `key` of the task, as (index, split) of `canonlab.data.random.stream`:
(0, 0) the people; (1 + exposure, split) an exposure: its permutation, and the key of what follows;
below that, (slot, 0) how the person in a slot is described. Where people have M descriptions of their own, that draws
which one it is, and description j is below the people: (j * 2^48 + person, 1); M = 1 is bioS-simple.
A block that is too long is drawn anew with 2^32, 2 * 2^32, ... added to the last indices.
"""

import math
from itertools import permutations
from typing import NamedTuple

import numpy as np

from canonlab.data.jit import kernel
from canonlab.data.random import Int, below, digit, permuted, round_keys, stream, word
from canonlab.tasks.capo.people import (
    CITY,
    COLUMNS,
    DAY,
    EMPLOYER,
    FIRST,
    LAST,
    MAJOR,
    MIDDLE,
    MONTH,
    PRONOUN,
    REDRAW,
    UNIVERSITY,
    YEAR,
    people_keys,
    write_person,
)
from canonlab.tasks.capo.pieces import AFTER, BEFORE, EOS, Kind, Pieces
from canonlab.tasks.capo.words import ATTRIBUTES

BLOCK = 2048
"""The people of a block."""

SENTENCES = len(ATTRIBUTES)
ORDERS = np.array(list(permutations(range(SENTENCES))), np.int64)
"""All orders of the sentences, in lexicographic order."""

VALUE = 4
"""The most pieces of a value: a date has four, the others have one."""

PIECES = 3 + (SENTENCES - 1) + 3 * SENTENCES + VALUE - 1
"""The pieces of a biography: the name, pronouns, three a sentence, and more for the date."""

BIRTH_DATE = ATTRIBUTES.index("birth_date")
VALUE_KIND = (Kind.MONTH, Kind.CITY, Kind.UNIVERSITY, Kind.MAJOR, Kind.EMPLOYER, Kind.EMPLOYER_CITY)
VALUE_COLUMN = (MONTH, CITY, UNIVERSITY, MAJOR, EMPLOYER, EMPLOYER)
"""The kind of the first piece of each attribute's value, and the column of the person that has its index."""


class CapoLaw(NamedTuple):
    """What the generator draws from.

    `people` N; `paraphrases`: how many descriptions each person has, 0 where each exposure makes a new one; `permute`:
    whether the sentences are in an order that is drawn; windows of a full block and of the last one; the pieces'
    `tokens`, `start` and `base` (see `Pieces`); how many templates each attribute has; the tokens of the longest
    biography with its <eos>; and the limits of `canonlab.data.random.digit` for a person and for a description.
    """

    people: int
    paraphrases: int
    permute: bool
    block_windows: int
    last_windows: int
    tokens: np.ndarray
    start: np.ndarray
    base: np.ndarray
    templates: np.ndarray
    longest: int
    redraw_person: np.uint64
    redraw_description: np.uint64


def law(
    pieces: Pieces, people: int, paraphrases: int, permute: bool, block_windows: int, last_windows: int, longest: int
) -> CapoLaw:
    """The law of biographies of `people` people made of these pieces."""
    templates = [pieces.count(BEFORE + attribute) for attribute in range(SENTENCES)]
    redraw = np.uint64((1 << 64) % (len(ORDERS) * math.prod(templates)))
    return CapoLaw(
        people,
        paraphrases,
        permute,
        block_windows,
        last_windows,
        pieces.tokens,
        pieces.start,
        pieces.base,
        np.array(templates, np.int64),
        longest,
        REDRAW,
        redraw,
    )


@kernel
def write_templates(templates: np.ndarray, rng: np.ndarray, law: CapoLaw) -> np.int64:
    """Draw a description: write each attribute's template to `templates` (6,), and return the order of the sentences.

    All are digits of one random word; the order is a row of ORDERS, the first where sentences aren't permuted.
    """
    while True:
        order, fraction = digit(word(rng), len(ORDERS))
        for attribute in range(SENTENCES):
            templates[attribute], fraction = digit(fraction, law.templates[attribute])
        if fraction >= law.redraw_description:
            return order if law.permute else np.int64(0)


@kernel
def description(drawn: np.ndarray, values_key: np.uint64, index: Int, law: CapoLaw) -> np.ndarray:
    """The rng of a description of person `index`: `drawn` itself, or that of the one of the person's own it chooses."""
    if law.paraphrases == 0:
        return drawn
    return stream(values_key, (below(drawn, law.paraphrases) << 48) + index, 1)


@kernel
def write_value(plan: np.ndarray, person: np.ndarray, attribute: Int, law: CapoLaw) -> Int:
    """Write the pieces of the value of a person's attribute to `plan` (VALUE,); returns how many they are."""
    base = law.base
    plan[0] = base[VALUE_KIND[attribute]] + person[VALUE_COLUMN[attribute]]
    if attribute != BIRTH_DATE:
        return 1
    plan[1] = base[Kind.DAY] + person[DAY]
    plan[2] = base[Kind.COMMA]
    plan[3] = base[Kind.YEAR] + person[YEAR]
    return VALUE


@kernel
def tokens_in(plan: np.ndarray, law: CapoLaw) -> Int:
    """How many tokens some pieces have."""
    length: Int = 0
    for piece in plan:
        length += law.start[piece + 1] - law.start[piece]
    return length


@kernel
def write_plan(plan: np.ndarray, person: np.ndarray, order: Int, templates: np.ndarray, law: CapoLaw) -> Int:
    """Write the pieces of a biography to `plan` (PIECES,); returns the tokens that they have in all."""
    base = law.base
    plan[0] = base[Kind.FIRST] + person[FIRST]
    plan[1] = base[Kind.MIDDLE] + person[MIDDLE]
    plan[2] = base[Kind.LAST] + person[LAST]
    position: Int = 3
    for place in range(SENTENCES):
        attribute = ORDERS[order, place]
        if place > 0:
            plan[position] = base[Kind.PRONOUN] + person[PRONOUN]
            position += 1
        plan[position] = base[BEFORE + attribute] + templates[attribute]
        position += 1 + write_value(plan[position + 1 :], person, attribute, law)
        plan[position] = base[AFTER + attribute] + templates[attribute]
        position += 1
    return tokens_in(plan, law)


@kernel
def plan_block(
    plans: np.ndarray,
    offsets: np.ndarray,
    key: np.uint64,
    exposure: Int,
    split: Int,
    block: Int,
    law: CapoLaw,
    room: Int,
) -> Int:
    """Write the pieces of a block's biographies to the rows of `plans`; returns how many biographies there are.

    Biography i begins with the <eos> at offsets[i] of the block, and the last one ends at offsets[i + 1], which is at
    most `room`, the tokens of the block's windows.
    """
    values_key, name_keys = people_keys(key)
    exposure_rng = stream(key, 1 + exposure, split)
    exposure_key = word(exposure_rng)
    slot_keys = round_keys(exposure_rng)
    person, templates = np.empty(COLUMNS, np.int64), np.empty(SENTENCES, np.int64)
    count = min(BLOCK, law.people - block * BLOCK)
    offsets[0] = 0
    attempt = np.int64(0)
    while True:
        for i in range(count):
            slot = block * BLOCK + i
            index = permuted(slot, law.people, slot_keys)
            write_person(person, index, values_key, name_keys, law.redraw_person)
            again = attempt << 32
            rng = description(stream(exposure_key, again + slot, 0), values_key, again + index, law)
            order = write_templates(templates, rng, law)
            offsets[i + 1] = offsets[i] + 1 + write_plan(plans[i], person, order, templates, law)
        if offsets[count] <= room:
            return count
        attempt += 1


@kernel
def write_biography(out: np.ndarray, position: Int, plan: np.ndarray, law: CapoLaw) -> None:
    """Write <eos> and the tokens of the pieces in `plan` to `out[position:]`."""
    out[position] = EOS
    position += 1
    for piece in plan:
        for source in range(law.start[piece], law.start[piece + 1]):
            out[position] = law.tokens[source]
            position += 1


@kernel
def write_part(out: np.ndarray, begin: Int, plans: np.ndarray, offsets: np.ndarray, law: CapoLaw) -> None:
    """Write the tokens `begin` .. `begin` + len(out) - 1 of a block to `out`."""
    end = begin + len(out)
    cut = np.empty(law.longest, np.int32)
    straddling = np.searchsorted(offsets, begin, side="right") - 1
    for i in range(straddling, len(plans)):
        first, last = offsets[i], offsets[i + 1]
        if first >= end:
            return
        if first >= begin and last <= end:
            write_biography(out, first - begin, plans[i], law)
        else:
            write_biography(cut, 0, plans[i], law)
            low, high = max(first, begin), min(last, end)
            out[low - begin : high - begin] = cut[low - first : high - first]
    out[max(offsets[len(plans)] - begin, 0) :] = EOS


@kernel
def fill(tokens: np.ndarray, mask: np.ndarray, key: np.uint64, start: Int, split: Int, law: CapoLaw) -> None:
    """Write windows start, start + 1, ... of the stream `key` to the rows of `tokens` (int32) and `mask` (uint8).

    Every token is marked except the rest of a block, and the first of a window, which has nothing to be predicted from.
    """
    count, context = tokens.shape
    last_block = (law.people - 1) // BLOCK
    windows = last_block * law.block_windows + law.last_windows
    plans = np.empty((min(BLOCK, law.people), PIECES), np.int64)
    offsets = np.empty(len(plans) + 1, np.int64)
    row: Int = 0
    while row < count:
        exposure = (start + row) // windows
        window = start + row - exposure * windows
        block = min(window // law.block_windows, last_block)
        window -= block * law.block_windows
        block_windows = law.last_windows if block == last_block else law.block_windows
        stop = min(row + block_windows - window, count)
        n = plan_block(plans, offsets, key, exposure, split, block, law, block_windows * context)
        begin = window * context
        write_part(tokens[row:stop].reshape(-1), begin, plans[:n], offsets[: n + 1], law)
        marks = mask[row:stop].reshape(-1)
        marked = max(offsets[n] - begin, 0)
        marks[:marked] = 1
        marks[marked:] = 0
        mask[row:stop, 0] = 0
        row = stop
