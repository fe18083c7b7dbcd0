"""Bits against parameters: what models know of Capo's people, over all numbers of people on the page.

Source: Allen-Zhu & Li, Physics of Language Models Part 3.3 (arXiv 2404.05405), figure 1.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

from canonlab.results.compare import Value
from canonlab.results.groups import Row, Section
from canonlab.results.load import Run

RATIO = "bits_per_parameter"
"""The main metric of the tasks about people, which is compared by factors."""

FLOOR = 0.01
"""Bits per parameter that count as nothing: a ratio to less would mean nothing."""

BITS = "bits"
"""The metric of what has a place on the chart."""

NOTES = ("parameters", "N", "r_max")
"""What the notes of an evaluation must tell, as numbers, for a place on the chart."""

LINES = (0.25, 0.5, 1, 2)
"""Bits per parameter of the guiding lines."""


class Point(NamedTuple):
    """One run: its parameters and the bits that it knows, with their 95% interval."""

    row: Row
    run: Run
    people: float
    parameters: float
    bits: float
    low: float
    high: float
    most: float


def points(section: Section) -> Iterator[Point]:
    """The runs of a section that know something, and whose notes tell how much of what.

    Zero bits or fewer are no knowledge, and no place on the scales.
    """
    for row in section.rows:
        for run in row.finished:
            found = run.evaluation
            measure = found.metrics.get(BITS) if found else None
            if found is None or measure is None or not measure.value > 0:
                continue
            told = [found.notes.get(key) for key in NOTES]
            numbers = [float(value) for value in told if isinstance(value, int | float) and math.isfinite(value)]
            if len(numbers) == len(NOTES):
                parameters, people, each = numbers
                low, high = measure.interval or (math.nan, math.nan)
                yield Point(row, run, people, parameters, measure.value, low, high, parameters * each)


def logarithm(bits: Value) -> Value:
    """log2 of bits per parameter."""
    each = max(bits.value, FLOOR)
    return Value(math.log2(each), bits.error / each / math.log(2), bits.data)
