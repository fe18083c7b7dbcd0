"""Laws of knowledge: the most bits per parameter, bits as a power of parameters, and what more exposures add.

Source: Allen-Zhu & Li, Physics of Language Models Part 3.3 (arXiv 2404.05405), results 1 and 2 and figure 1.

A place is a size and a number of people. A law is over the places of one architecture that has read one text so many
times; of several learning rates, batches and weight decays at a place the one with the most bits per parameter counts.
A series has such laws by exposures.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

from canonlab.models.config import ModelConfig
from canonlab.results.architecture import ANY, SCALES
from canonlab.results.capacity import BITS, FLOOR, logarithm, told
from canonlab.results.cells import Cell, as_many_rates, cells, telling
from canonlab.results.comparability import terms
from canonlab.results.compare import DECIDING, Comparison, Pair, Side, Value, average, compare
from canonlab.results.groups import HASHES, Section
from canonlab.results.knowledge import KINDS, SCALED, SCHEDULE, WORDS, text, useful
from canonlab.results.words import enumeration, setting_label, setting_text, settings_text

FULL = 0.9
"""The share of all that there is to know from which on a place is limited by its people."""

SIZES = 3
"""Sizes that a power law takes: two have one whatever the truth."""

GROWTH = math.log2(1.1)
"""What "no more" allows: ten percent for each doubling of the exposures."""

PLATEAU, RISES, OPEN = "plateau", "rises", "open"

EXPOSURES = "training.exposures"


class Place(NamedTuple):
    """A cell by its size and people: `most` bits are what there is to know, `bits` and `ratios` (bits per parameter)
    what is known, by seed."""

    cell: Cell
    people: float
    parameters: float
    most: float
    bits: Side
    ratios: Side

    @property
    def mean(self) -> float:
        """Bits per parameter."""
        return math.fsum(each.value for each in self.ratios.values()) / len(self.ratios)

    @property
    def full(self) -> bool:
        """Whether there are too few people to show what the model could hold."""
        return self.mean * self.parameters >= FULL * self.most

    @property
    def empty(self) -> bool:
        """Whether a seed knows nothing, the logarithm of which would mean nothing."""
        return any(each.value < FLOOR for each in self.ratios.values())

    @property
    def rank(self) -> tuple[int, float]:
        """The greater, the more it counts; the best of few seeds is a matter of chance."""
        return min(len(self.ratios), DECIDING), self.mean


class Power(NamedTuple):
    """bits = coefficient * parameters^exponent, fitted to each seed's points by least squares in logarithms.

    `places` are those with a point, over all seeds. The coefficient is the geometric mean over seeds.
    """

    exponent: Comparison
    coefficient: float
    places: int


@dataclass(frozen=True, eq=False)
class Law:
    """One architecture that has read one text `exposures` times."""

    exposures: int
    places: tuple[Place, ...]

    @cached_property
    def top(self) -> Place:
        """The place with the largest mean, of those with seeds enough for a decision if there are any."""
        return max(self.places, key=lambda place: place.rank)

    @cached_property
    def peak(self) -> Comparison:
        """Bits per parameter at the top with Student's interval over its seeds.

        The top is chosen by these numbers: being the largest of several, they are a little too large.
        """
        return _mean(self.top.ratios)

    @property
    def full(self) -> int:
        """How many places are limited by their people."""
        return sum(place.full for place in self.places)

    @property
    def empty(self) -> int:
        """How many places have a seed that knows nothing."""
        return sum(place.empty for place in self.places)

    @cached_property
    def power(self) -> Power | None:
        """Over the places that are neither; None where no seed has three sizes."""
        fitted = [place for place in self.places if not place.full and not place.empty]
        lines = {seed: line for seed in _seeds(fitted) if (line := _line(fitted, seed))}
        if not lines:
            return None
        exponent = _mean({seed: Value(slope) for seed, (slope, _) in lines.items()})
        constant = math.fsum(constant for _, constant in lines.values()) / len(lines)
        return Power(exponent, math.exp(constant), len(fitted))


class Step(NamedTuple):
    """From one number of exposures to the next.

    Attributes:
        factor: log2 of that of bits per parameter at the places that both have, paired by seed; None without any.
        places: How many these are, without those that are `full` (limited by their people) or `empty` (know nothing) by
            then.
        begun: How many of these knew nothing at first, where the factor is from what counts as nothing, so at least so
            much.
    """

    first: int
    second: int
    factor: Comparison | None
    places: int
    begun: int
    full: int
    empty: int

    @property
    def verdict(self) -> str:
        """A plateau where the interval, from what was known before, allows no more than ten percent for each doubling
        of the exposures."""
        if self.factor is None or self.factor.seeds < DECIDING:
            return OPEN
        allowed = GROWTH * math.log2(self.second / self.first)
        if self.factor.low > allowed:
            return RISES
        return PLATEAU if self.factor.high <= allowed and not self.begun else OPEN


@dataclass(frozen=True, eq=False)
class Series:
    """One architecture that has read one text, by exposures. `label` tells it from all others."""

    label: str
    laws: tuple[Law, ...]

    @property
    def cell(self) -> Cell:
        """One of its cells."""
        return self.laws[0].top.cell

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        return tuple(_step(first, second) for first, second in pairwise(self.laws))


def series(found: Sequence[Section]) -> list[Series]:
    """The series of all sections about people, by architecture and text, of runs that are measured in exposures."""
    groups: dict[str, dict[int, dict[tuple[str, float], Place]]] = {}
    for place in _places(found):
        cell = place.cell
        laws = groups.setdefault(repr([_name(cell), sorted(_traits(cell).items())]), {})
        best = laws.setdefault(cell.rows[0].settings[EXPOSURES], {})
        key = (cell.size, place.people)
        best[key] = max(best.get(key, place), place, key=lambda each: each.rank)
    unnamed = [
        Series("", tuple(Law(n, tuple(places.values())) for n, places in sorted(laws.items())))
        for laws in groups.values()
    ]
    return [dataclasses.replace(each, label=label) for each, label in zip(unnamed, _labels(unnamed), strict=True)]


def unexposed(found: Sequence[Section]) -> int:
    """How many finished runs about people have no place in a series, as they were made for a number of steps."""
    rows = (row for section in found if _about_people(section) for row in section.rows)
    return sum(len(row.finished) for row in rows if not row.settings.get(EXPOSURES))


def plain(found: Sequence[Section]) -> list[dict[str, Any]]:
    """All series for programs; factors are log2 of one."""
    return [
        {
            "label": each.label,
            "laws": [_plain_law(law) for law in each.laws],
            "steps": [
                {**step._asdict(), "factor": _plain(step.factor), "verdict": step.verdict} for step in each.steps
            ],
        }
        for each in series(found)
    ]


def _plain_law(law: Law) -> dict[str, Any]:
    power = law.power and {**law.power._asdict(), "exponent": _plain(law.power.exponent)}
    at = {"size": law.top.cell.size, "N": law.top.people, "full": law.top.full}
    counts = {"places": len(law.places), "full": law.full, "empty": law.empty}
    return {"exposures": law.exposures, **counts, "peak": {**at, "ratio": _plain(law.peak)}, "power": power}


def _plain(found: Comparison | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"mean": found.difference, "low": found.low, "high": found.high, "seeds": found.seeds}


def _about_people(section: Section) -> bool:
    return not section.task.get("source") and useful(section.task)["name"] in KINDS


def _places(found: Sequence[Section]) -> Iterator[Place]:
    for cell in (cell for section in found if _about_people(section) for cell in cells(section)):
        bits = cell.values(BITS)
        numbers = [told(run.evaluation) for run in cell.best.finished if run.evaluation] if cell.best else []
        if bits and numbers and numbers[0] and cell.rows[0].settings.get(EXPOSURES):
            parameters, people, each = numbers[0]
            ratios = {seed: Value(v.value / parameters, v.error / parameters) for seed, v in bits.items()}
            yield Place(cell, people, parameters, each * parameters, bits, ratios)


def _name(cell: Cell) -> str:
    """Architecture and text in words."""
    kind = text(cell.section.task)
    return ", ".join(filter(None, [cell.architecture, "in a mixture" if kind is None else WORDS[kind]]))


def _traits(cell: Cell) -> dict[str, Any]:
    """All else that places of a series must share."""
    whole, settings = cell.section.task, cell.rows[0].settings
    task = useful(whole)
    parameters = {key: value for key, value in task["parameters"].items() if key != "N"}
    among = {} if whole is task else {"among": _among(*whole["parameters"]["parts"])}
    about = {"task": task["name"], **among, **parameters, "context": task["context"], "version": task["version"]}
    model = {key: settings.get(f"model.{key}", getattr(ModelConfig, key)) for key in (*ANY, *SCALES)}
    return {**about, **model, **{key: value for key, value in terms(settings) if key not in (*SCHEDULE, *SCALED)}}


def _among(first: Mapping[str, Any], *rest: Mapping[str, Any]) -> str:
    """What a mixture has for so many windows of its first part, such as "7 of capo (N = 1,000) for each 1"."""

    def words(part: Mapping[str, Any]) -> str:
        shown = {key: value for key, value in part["parameters"].items() if key not in HASHES}
        return f"{part['share']} of {part['name']} ({settings_text(shown)})"

    named = " with a token of its own" if first["domain"] else ""
    return f"{enumeration(map(words, rest))} for each {first['share']}{named}"


def _labels(found: Sequence[Series]) -> list[str]:
    alike: dict[str, list[Series]] = {}
    for each in found:
        alike.setdefault(_name(each.cell), []).append(each)
    keys = {name: telling([_traits(each.cell) for each in same]) for name, same in alike.items()}

    def label(each: Series) -> str:
        name, traits = _name(each.cell), _traits(each.cell)
        return ", ".join([name, *(f"{setting_label(key)} {setting_text(traits.get(key))}" for key in keys[name])])

    return [label(each) for each in found]


def _seeds(places: Sequence[Place]) -> list[int]:
    return sorted({seed for place in places for seed in place.bits})


def _line(places: Sequence[Place], seed: int) -> tuple[float, float] | None:
    """Slope and constant of ln(bits) against ln(parameters) over a seed's points; None with fewer than three sizes."""
    points = [(math.log(p.parameters), math.log(p.bits[seed].value)) for p in places if seed in p.bits]
    if len({x for x, _ in points}) < SIZES:
        return None
    x_mean, y_mean = (math.fsum(side) / len(points) for side in zip(*points, strict=True))
    slope = math.fsum((x - x_mean) * (y - y_mean) for x, y in points) / math.fsum((x - x_mean) ** 2 for x, _ in points)
    return slope, y_mean - slope * x_mean


def _mean(values: Mapping[int, Value]) -> Comparison:
    """The mean over seeds with Student's interval, never narrower than the runs' evaluations make it."""
    found = compare(values, dict.fromkeys(values, Value(0.0)))
    assert found is not None, "there are seeds"
    return found


def _step(first: Law, second: Law) -> Step:
    before = {(place.cell.size, place.people): place for place in first.places}
    both = [(place, before[key]) for place in second.places if (key := (place.cell.size, place.people)) in before]
    both = [(after, then) for after, then in both if as_many_rates(after.cell, then.cell)]
    full, empty = sum(after.full or then.full for after, then in both), sum(after.empty for after, _ in both)
    used = [(after, then) for after, then in both if not (after.full or then.full or after.empty)]
    pairs: list[Pair] = [(_logs(after), _logs(then)) for after, then in used]
    factor = compare(*average(pairs)) if pairs else None
    begun = sum(then.empty for _, then in used)
    return Step(first.exposures, second.exposures, factor, len(used), begun, full, empty)


def _logs(place: Place) -> Side:
    return {seed: logarithm(each) for seed, each in place.ratios.items()}
