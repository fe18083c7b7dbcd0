"""Bits against parameters: what models know of Capo's people, over all numbers of people on the page.

Source: Allen-Zhu & Li, Physics of Language Models Part 3.3 (arXiv 2404.05405), figure 1.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

from canonlab.results.compare import Value
from canonlab.results.groups import Row, Section
from canonlab.results.load import Run
from canonlab.tasks.base import Evaluation

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
            measure, numbers = (found.metrics.get(BITS), told(found)) if found else (None, None)
            if measure and numbers and measure.value > 0:
                parameters, people, each = numbers
                low, high = measure.interval or (math.nan, math.nan)
                yield Point(row, run, people, parameters, measure.value, low, high, parameters * each)


def told(found: Evaluation) -> tuple[float, float, float] | None:
    """Parameters, people and the most bits for each parameter, of an evaluation whose notes tell all of them."""
    notes = [found.notes.get(key) for key in NOTES]
    numbers = [float(value) for value in notes if isinstance(value, int | float) and math.isfinite(value)]
    return (numbers[0], numbers[1], numbers[2]) if len(numbers) == len(NOTES) else None


def logarithm(bits: Value) -> Value:
    """log2 of bits per parameter."""
    each = max(bits.value, FLOOR)
    return Value(math.log2(each), bits.error / each / math.log(2), bits.data)
