"""Cells -> difficulty against size, an architecture each: the layout of heat maps and of tables for a paper."""

import itertools
from collections.abc import Sequence
from typing import Any

from canonlab.models.sizes import Size
from canonlab.results.cells import Cell, cells, more_words
from canonlab.results.groups import Section, natural

Grid = dict[str, dict[tuple[Any, str], Cell]]
"""Architecture -> (difficulty, size) -> cell."""


def families(found: Sequence[Section]) -> list[list[Section]]:
    """Sections that differ only in difficulty, easiest first. Where that is no number but a word, as of a grammar, they
    may differ in their context too: each has the one that its sentences need."""
    groups: dict[str, list[Section]] = {}
    for section in found:
        task = section.task
        fixed = {key: value for key, value in task["parameters"].items() if key != section.axis}
        context = None if isinstance(section.level, str) else task["context"]
        key = repr([task["name"], task.get("version"), task.get("source"), sorted(fixed.items()), context])
        groups.setdefault(key, []).append(section)
    return [sorted(group, key=lambda section: natural(section.level)) for group in groups.values()]


def grid(group: Sequence[Section]) -> Grid:
    """The cells with a finished run of sections that differ only in difficulty."""
    finished = [cell for section in group for cell in cells(section) if cell.spread]
    found: Grid = {}
    for cell, more in zip(finished, more_words(finished), strict=True):
        name = ", ".join([cell.architecture, *more])
        # Settings that differ may read the same: 0.1 and 0.10000001, or a setting that an earlier version did not have.
        names = itertools.chain([name], (f"{name} ({number})" for number in itertools.count(2)))
        free = next(each for each in names if cell.place not in found.get(each, {}))
        found.setdefault(free, {})[cell.place] = cell
    return found


def grid_metric(found: Grid) -> str:
    """The metric that the cells of a grid are compared by."""
    return next(cell.metric for row in found.values() for cell in row.values())


def by_width(size: str) -> Any:
    """A key that puts sizes into the paper's order: by width, and within a width by layers."""
    parsed = Size.parse(size)
    return parsed.width, parsed.layers, size
