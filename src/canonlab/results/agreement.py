"""Do miniatures order architectures as the paper's models are ordered? Kendall's tau for each skill.

The published order of a skill is that of an architecture's mean over all cells of a panel (difficulties by sizes),
which only architectures with a whole panel have. A section's order is that of the means over seeds at the best learning
rate. That both agree proves nothing where a miniature's settings were chosen by it; that they don't is worth a look.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from canonlab.results.cells import Cell, cells, rivals
from canonlab.results.decide import Rule
from canonlab.results.groups import Section, is_baseline
from canonlab.results.published import tables

PANELS: dict[str, tuple[str, int | None]] = {
    "depo": ("depo1", 8),
    "brevo": ("brevo1", None),
    "mano": ("mano", None),
    "lano": ("lano", None),
}
"""A task -> the published panel that it is compared with: its name and its K."""

LEAST = 3
"""Architectures that an order is made of at least."""

PLAIN = 10.0
"""Published means that are so many points apart differ plainly."""

RESAMPLES = 2000


@dataclass(frozen=True)
class Agreement:
    """Of one group of rivals in a section: `tau` with its 95% interval over seeds that are drawn anew.

    `architectures` are those that have a published mean, the best of the section first. `otherwise` are pairs that are
    decided, the better one first, while the published means are the other way round. `plain` are pairs whose published
    means are `PLAIN` points apart, of which `as_published` are decided as these are and `plainly_otherwise` are not.
    """

    section: Section
    size: str
    panel: str
    architectures: list[str]
    tau: float
    low: float
    high: float
    decided: int
    """Pairs that are decided, either way."""
    otherwise: list[tuple[str, str]]
    plain: int
    as_published: int
    plainly_otherwise: int


class _Side(NamedTuple):
    cell: Cell
    values: list[float]
    """By seed; more is better."""
    paper: float


def agreements(found: Sequence[Section], without: Sequence[str] = ()) -> list[Agreement]:
    """The agreement of every group of rivals that has enough published architectures, `without` some of them: gla/AbCD,
    or gla with any Canon set."""
    return [agreed for section in found for agreed in _of_section(section, without)]


def _of_section(section: Section, without: Sequence[str]) -> list[Agreement]:
    panel = PANELS.get(section.task["name"])
    if panel is None or section.task.get("source"):
        return []
    published = published_means(*panel)
    groups = rivals([cell for cell in cells(section) if cell.spread])
    made = (_agreement(section, group, published, panel, without) for group in groups)
    return [agreed for agreed in made if agreed]


def published_means(task: str, K: int | None) -> Mapping[tuple[str, str], float]:
    """The mean over a whole panel, in percent, by model and Canon points."""
    means = {}
    for entry in tables()["results"]:
        if (entry["task"], entry.get("K")) == (task, K) and entry.get("residual", True):
            values = [cell[0] for row in entry["percent"] for cell in row]
            means[entry["model"], entry["canon"]] = math.fsum(values) / len(values)
    return means


def _agreement(
    section: Section,
    group: Sequence[Cell],
    published: Mapping[tuple[str, str], float],
    panel: tuple[str, int | None],
    without: Sequence[str],
) -> Agreement | None:
    sides = []
    for cell in group:
        points = "" if (canon := str(cell.model["model.canon"])) == "none" else canon
        left_out = any(is_baseline(cell.model, name) for name in without)
        if not left_out and (paper := published.get((str(cell.model["model.model"]), points))) is not None:
            values = [cell.sign * each.value for each in cell.values(cell.metric).values()]
            sides.append(_Side(cell, values, paper))
    if len(sides) < LEAST:
        return None
    papers = [side.paper for side in sides]
    tau = kendall([math.fsum(side.values) / len(side.values) for side in sides], papers)
    low, high = _interval(sides)
    rule = Rule(tuple(cell.values(cell.metric) for cell in group))
    pairs = [pair for one, other in itertools.combinations(sides, 2) if (pair := _decided(rule, one, other))]
    plain = [(one, other) for one, other in itertools.combinations(sides, 2) if abs(one.paper - other.paper) > PLAIN]
    among = [pair for pair in pairs if abs(pair[0].paper - pair[1].paper) > PLAIN]
    as_published = sum(better.paper > worse.paper for better, worse in among)
    name, K = panel
    return Agreement(
        section,
        group[0].size,
        name if K is None else f"{name}, K = {K}",
        [side.cell.architecture for side in sides],
        tau,
        low,
        high,
        len(pairs),
        [(better.cell.architecture, worse.cell.architecture) for better, worse in pairs if better.paper < worse.paper],
        len(plain),
        as_published,
        len(among) - as_published,
    )


def _decided(rule: Rule, one: _Side, other: _Side) -> tuple[_Side, _Side] | None:
    """Two sides, the better one first, if the rule decides between them."""
    metric = one.cell.metric
    found = rule.pair(one.cell.values(metric), other.cell.values(metric))
    if found is None or not found.decided:
        return None
    return (one, other) if one.cell.sign * found.difference > 0 else (other, one)


def kendall(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's tau-b of two sequences: 1 for one order, -1 for opposite ones; ties in either count for neither."""
    concordant, alone, alone_too = 0, 0, 0
    for (a, b), (c, d) in itertools.combinations(zip(first, second, strict=True), 2):
        one, other = (a > c) - (a < c), (b > d) - (b < d)
        concordant += one * other
        alone += one != 0
        alone_too += other != 0
    return concordant / math.sqrt(alone * alone_too) if alone and alone_too else math.nan


def _interval(sides: Sequence[_Side]) -> tuple[float, float]:
    """The middle 95% of tau when each architecture's seeds are drawn anew, with replacement."""
    draw = np.random.default_rng(0)
    drawn = [draw.choice(side.values, (RESAMPLES, len(side.values))) for side in sides]
    means = np.stack([values.mean(axis=1) for values in drawn])
    papers = [side.paper for side in sides]
    taus = [kendall(column.tolist(), papers) for column in means.T]
    low, high = np.nanquantile(taus, [0.025, 0.975])
    return float(low), float(high)
