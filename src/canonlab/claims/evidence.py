"""What runs say about a contrast: the difference at each place where both sides were run, and over all of them.

A place is a task at one difficulty, a size and a length of training. Differences of places are averaged seed by seed,
so that each seed gives one number and the interval is Student's over these numbers, however much places depend on each
other. Both sides of a place must have been tried at as many learning rates: the best of more is better by chance.
Places whose runs are compared by the loss are no part of an average of those that are compared by right answers.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from canonlab.claims.architecture import Architecture
from canonlab.claims.contrast import RANK, Contrast, Measure
from canonlab.claims.knowledge import subjects
from canonlab.results.capacity import FLOOR, RATIO, logarithm
from canonlab.results.cells import Cell, as_many_rates, cells
from canonlab.results.compare import DECIDING, LEVEL, Comparison, Pair, Value, average, common_seeds, compare, seeds_for
from canonlab.results.groups import Section
from canonlab.results.load import Run
from canonlab.results.speed import THRESHOLDS, first_step
from canonlab.results.words import enumeration, metric_label, plural, settings_text
from canonlab.tasks.metrics import lower_is_better

SUPPORTED, REFUTED, OPEN = "supported", "refuted", "open"

POINTS, FACTOR, NATS = "points", "factor", "nats"
"""What a difference is one of: shares of right answers, log2 of factors, or losses (less the loss, so that more is
better)."""


@dataclass(frozen=True)
class Place:
    """One place where both sides were run. `where` is for people."""

    task: str
    where: str
    comparison: Comparison
    at_edge: bool
    pair: Pair
    unit: str


@dataclass(frozen=True)
class Evidence:
    """What there is for and against a contrast. `missing` says in sentences what would decide more."""

    contrast: Contrast
    places: tuple[Place, ...]
    missing: tuple[str, ...]
    level: float

    @cached_property
    def used(self) -> tuple[Place, ...]:
        """The places that the difference is taken over: of one unit, and of each task those with enough seeds for a
        decision, as only seeds that all places have are averaged; all where none has enough."""
        found: list[Place] = []
        for task in self.contrast.tasks:
            of_task = [place for place in self.places if place.task == task and place.unit == self.unit]
            found += [place for place in of_task if place.comparison.seeds >= DECIDING] or of_task
        return tuple(found)

    @cached_property
    def unit(self) -> str:
        """What the difference is one of: that of places of the most tasks, which if equal are not those of losses."""
        tasks = {unit: {place.task for place in self.places if place.unit == unit} for unit in (POINTS, FACTOR, NATS)}
        return max(tasks, key=lambda unit: len(tasks[unit]))

    @cached_property
    def comparison(self) -> Comparison | None:
        """The difference over all places used with its 95% interval; None while a task has no place."""
        pairs = [[place.pair for place in self.used if place.task == task] for task in self.contrast.tasks]
        if not all(pairs):
            return None
        first, second = average([average(of_task) for of_task in pairs])
        found = compare(first, second)
        if found is None:  # places have no seed in common
            mean = math.fsum(place.comparison.difference for place in self.used) / len(self.used)
            return Comparison(mean, math.nan, math.nan, 1)
        return found

    @property
    def verdict(self) -> str:
        """Supported when the 95% interval lies within the contrast's bounds; refuted when the interval at the claim's
        stricter level lies outside of them, with seeds enough for it; else open, as always with fewer than three."""
        found, contrast = self.comparison, self.contrast
        if found is None or found.seeds < DECIDING:
            return OPEN
        if found.low > contrast.least and found.high < contrast.most:
            return SUPPORTED
        return REFUTED if self._outside and found.seeds >= seeds_for(self.level) else OPEN

    @property
    def few(self) -> str:
        """What is missing where the interval would refute the contrast, but is that of too few seeds."""
        more = self.verdict == OPEN and self._outside
        return f"{seeds_for(self.level)} seeds of {_sides(self.contrast)}, to refute it" if more else ""

    @property
    def _outside(self) -> bool:
        """Whether the interval at the claim's level lies outside of the contrast's bounds."""
        if self.comparison is None or self.comparison.seeds < DECIDING:
            return False
        wide = self.comparison.at(self.level)
        return wide.high < self.contrast.least or wide.low > self.contrast.most


def comparable(found: Sequence[Section]) -> list[Cell]:
    """The cells with a finished run in all sections, but for a user's own tasks, which are none of the papers',
    whatever their names."""
    return [cell for section in found if not section.task.get("source") for cell in cells(section) if cell.best]


def gather(contrast: Contrast, found: Sequence[Cell], level: float = LEVEL) -> Evidence:
    """The evidence for a contrast in these cells (see `comparable`); it is refuted at `level`, or not."""
    places: list[Place] = []
    missing: list[str] = []
    for task in contrast.tasks:
        here = [cell for cell in found if task in subjects(cell.section.task)]
        tried = [_place(contrast, task, first, second) for first, second in _matched(contrast, here)]
        of_task = [place for place in tried if isinstance(place, Place)]
        places += of_task
        if not tried:
            missing += _absent(contrast, task, here)
        elif not of_task:
            missing += [f"{reason} on {task}" for reason in tried if isinstance(reason, str)]
        elif all(place.comparison.seeds < DECIDING for place in of_task):
            missing.append(f"{DECIDING} seeds of {_sides(contrast)} on {task}")
    evidence = Evidence(contrast, tuple(places), tuple(dict.fromkeys(missing)), level)
    if not missing and (other := [task for task in contrast.tasks if task not in {p.task for p in evidence.used}]):
        alike = "by the loss" if evidence.unit == NATS else "by right answers"
        missing.append(f"runs of {_sides(contrast)} on {enumeration(other)} that are compared {alike}, as elsewhere")
        evidence = dataclasses.replace(evidence, missing=tuple(missing))
    together = evidence.comparison
    if not missing and together and together.seeds < DECIDING:
        few = f"{DECIDING} seeds common to the {len(evidence.used)} places of {_sides(contrast)}"
        return dataclasses.replace(evidence, missing=(few,))
    return dataclasses.replace(evidence, missing=(*evidence.missing, evidence.few)) if evidence.few else evidence


def _matched(contrast: Contrast, found: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """The cells of both sides that may be compared; of a side that is compared with a number, each with itself."""
    firsts, bound = _by_place(contrast.first, found), contrast.second
    seconds = firsts if isinstance(bound, float) else _by_place(bound, found)
    return [(cell, seconds[place]) for place, cell in firsts.items() if place in seconds]


def _place(contrast: Contrast, task: str, first: Cell, second: Cell) -> Place | str:
    """The comparison of two cells, or what is missing for one."""
    if not as_many_rates(first, second) and not contrast.first.at_its_best:
        rates = " against ".join(plural(len(cell.tried), "learning rate") for cell in (first, second))
        return f"as many learning rates of both ({rates})"
    if not learnt(first, contrast.measure) and not learnt(second, contrast.against):
        return f"a run that learns {metric_label(contrast.measure.metric) or 'anything'}"
    one, bound, unit = values(first, contrast.measure), contrast.second, _unit(first, contrast.measure)
    other = dict.fromkeys(one, _fixed(bound, unit)) if isinstance(bound, float) else values(second, contrast.against)
    if not one or not other:
        return f"{str(contrast.measure) or 'the main metric'} of {_sides(contrast)}"
    alone = isinstance(bound, float)
    if lost := first.lost(None if alone else second) or second.lost(None if alone else first):
        return f"runs of {_sides(contrast)} that don't diverge (seed {enumeration(map(str, lost))})"
    seeds = common_seeds(one, other)
    comparison = compare(one, other)
    if comparison is None:
        return f"a common seed of {_sides(contrast)}, of equal data"
    pair = {seed: one[seed] for seed in seeds}, {seed: other[seed] for seed in seeds}
    name, batch = first.section.task["name"], first.rows[0].settings.get("training.batch")
    where = f"{name} {settings_text(first.section.parameters)}, {first.size}, {first.steps:,} steps of {batch}"
    if lower_is_better(first.metric):
        where += f", {metric_label(first.metric)}"
    return Place(task, where, comparison, first.at_edge or second.at_edge, pair, unit)


def _fixed(bound: float, unit: str) -> Value:
    """A number to be above or below of."""
    return Value(math.log2(bound) if unit == FACTOR else bound)


def _unit(cell: Cell, measure: Measure) -> str:
    if measure.kind in ("speed", "capacity"):
        return FACTOR
    if lower_is_better(measure.metric or cell.metric):
        return NATS
    return FACTOR if cell.metric == RATIO and not measure.metric else POINTS


def values(cell: Cell, measure: Measure) -> dict[int, Value]:
    """The measure by seed, over the finished runs of the cell's best learning rate that have it.

    A run that never reaches 50% counts as if it had at its last step: its speed is then an upper bound, so a difference
    from a run that did reach it is a lower bound.
    """
    if measure.kind == "speed":
        return dict(_speeds(cell, measure.metric))
    if measure.kind == "metric":
        return cell.values(measure.metric)
    if measure.kind == "capacity":  # which is compared between texts too, so between other data
        return {s: dataclasses.replace(logarithm(v), data=None) for s, v in cell.values(RATIO).items()}
    metric = cell.metric
    if measure.kind != "main":
        hops = dict(enumerate(cell.section.own_headline)).get(RANK[measure.kind])
        if hops is None:
            return {}
        metric = hops if cell.sign > 0 else hops.replace("accuracy", "loss")
    found = cell.values(metric)
    if cell.sign < 0:  # of a loss, less is better
        return {seed: dataclasses.replace(value, value=-value.value) for seed, value in found.items()}
    return {seed: logarithm(value) for seed, value in found.items()} if cell.metric == RATIO else found


def learnt(cell: Cell, measure: Measure) -> bool:
    """Whether some run of the cell reached what a speed is measured by, or knows anything; always so for the rest."""
    runs = cell.best.finished if cell.best else ()
    if measure.kind == "capacity":
        return any(found.value > FLOOR for found in cell.values(RATIO).values())
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


def _by_place(architecture: Architecture, found: Sequence[Cell]) -> dict[str, Cell]:
    """The architecture's cells by what they must have in common with others (`Architecture.place`)."""
    return {
        architecture.place(cell): cell for cell in sorted(found, key=architecture.rank) if architecture.matches(cell)
    }


def _architectures(contrast: Contrast) -> list[Architecture]:
    sides = (contrast.first, contrast.second)
    return list(dict.fromkeys(side for side in sides if isinstance(side, Architecture)))


def _sides(contrast: Contrast) -> str:
    return " and ".join(map(str, _architectures(contrast)))


def _absent(contrast: Contrast, task: str, here: Sequence[Cell]) -> list[str]:
    absent = [side for side in _architectures(contrast) if not _by_place(side, here)]
    if absent:
        return [f"a run of {side} on {task}" for side in absent]
    return [f"runs of {_sides(contrast)} of one size and length of training on {task}"]
