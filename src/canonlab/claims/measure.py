"""The numbers of a cell that claims compare, seed by seed."""

import math
from collections.abc import Iterator

from canonlab.claims.contrast import Measure
from canonlab.results.cells import Cell
from canonlab.results.compare import Value
from canonlab.results.load import Run
from canonlab.results.speed import THRESHOLDS, first_step

CAPACITY = "bits_per_parameter"
"""The main metric of Capo, which is compared by factors."""

FLOOR = 0.01
"""Bits per parameter that count as nothing: a ratio to less would mean nothing."""


def values(cell: Cell, measure: Measure) -> dict[int, Value]:
    """The measure by seed, over the finished runs of the cell's best learning rate that have it.

    A run that never reaches 50% counts as if it had at its last step: its speed is then an upper bound, so a difference
    from a run that did reach it is a lower bound.
    """
    if measure.kind == "speed":
        return dict(_speeds(cell, measure.metric))
    if measure.kind == "metric":
        return cell.values(measure.metric)
    if measure.kind == "half":
        headline = cell.section.headline
        return cell.values(headline[1]) if len(headline) > 1 else {}
    found = cell.values(cell.metric)
    return {seed: _logarithm(value) for seed, value in found.items()} if cell.metric == CAPACITY else found


def learnt(cell: Cell, measure: Measure) -> bool:
    """Whether some run of the cell reached what a speed is measured by; always so for what is no speed."""
    runs = cell.best.finished if cell.best else ()
    return measure.kind != "speed" or any(_step(run, measure.metric) for run in runs)


def _step(run: Run, metric: str) -> int | None:
    return first_step(run.curves, metric, THRESHOLDS[0])


def _speeds(cell: Cell, metric: str) -> Iterator[tuple[int, Value]]:
    for run in cell.best.finished if cell.best else ():
        steps = [step for step, evaluation in run.curves.evaluations if metric in evaluation.metrics]
        if steps:
            step = _step(run, metric) or run.steps
            # Evaluations are some steps apart, and it was reached somewhere between two of them.
            gap = (steps[-1] - steps[0]) / max(1, len(steps) - 1)
            yield run.seed, Value(-math.log2(step), gap / step / math.log(2) / math.sqrt(12), run.data)


def _logarithm(bits: Value) -> Value:
    each = max(bits.value, FLOOR)
    return Value(math.log2(each), bits.error / each / math.log(2), bits.data)
