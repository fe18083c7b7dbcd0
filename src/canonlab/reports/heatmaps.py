"""Difficulty against size, an architecture each: what was measured, and the published cell beside it.

The layout is that of the paper's figures 4 to 14: rows are difficulties, columns sizes of the model.
"""

from collections.abc import Sequence
from typing import Any

from canonlab.models.table import SIZES
from canonlab.reports.markup import Markup, join, tag
from canonlab.results.architecture import in_words
from canonlab.results.cells import Cell, diverged
from canonlab.results.grid import Grid, by_width, families, grid, grid_metric
from canonlab.results.groups import SIZE, Section, level_text, natural
from canonlab.results.published import Published, published, published_task, tables
from canonlab.results.words import (
    enumeration,
    metric_label,
    plural,
    range_text,
    setting_label,
    setting_text,
    settings_text,
    si,
    title,
    value_text,
)

SHADES = 10
"""How many shades page.css has for values from 0 to 100%."""


def heatmaps_html(found: Sequence[Section]) -> Markup:
    """The heat maps of every task that has an architecture with a finished run; nothing where none has."""
    groups = [block for group in families(found) if (block := _family_html(group))]
    if not groups:
        return join("")
    text = (
        "Each cell: the mean over seeds at the best of the learning rates tried, with the range over seeds and, where "
        "there was a choice, the rate. ↔ marks a best rate at the edge of those tried: a better one may lie beyond. In "
        "italics the published value, the paper's best run over its learning rates, and the difference of our best run "
        "from it, or how the paper trained, where ours was trained otherwise; a question mark: its place in the paper "
        "is not certain; code: what the paper's released code has otherwise than its text and the model here."
    )
    return tag(
        "section",
        tag("h2", "Difficulty and size", id="overview"),
        tag("p", text, class_="hint"),
        *groups,
        aria_labelledby="overview",
    )


def _family_html(group: Sequence[Section]) -> Markup:
    """One task at all its difficulties: a table for each architecture; nothing at one difficulty and size."""
    architectures = grid(group)
    if not architectures:
        return join("")
    first = group[0]
    metric = metric_label(grid_metric(architectures))
    levels, sizes = _axes(group, architectures)
    if len(levels) == len(sizes) == 1:  # a table of results says as much in fewer tables
        return join("")
    maps = (_map_html(name, found, levels, sizes) for name, found in architectures.items())
    settings = settings_text({key: value for key, value in first.parameters.items() if key != first.axis})
    return tag(
        "div",
        tag("h3", title(first.task["name"]), " ", tag("small", f"{metric}; {settings}" if settings else metric)),
        tag("div", *maps, class_="maps"),
        data_task=first.task["name"],
        class_="family",
    )


def _axes(group: Sequence[Section], architectures: Grid) -> tuple[list[Any], list[str]]:
    """Difficulties and sizes of the tables: those of the runs and, if one has a published cell, all of the paper's."""
    runs = [cell for found in architectures.values() for cell in found.values()]
    levels, sizes = {section.level for section in group}, {cell.size for cell in runs}
    name = published_task(group[0].task)
    if name and any(published(cell.section.task, cell.rows[0].settings) for cell in runs):
        levels |= set(tables()["difficulty"][name])
        sizes |= set(SIZES)
    return sorted(levels, key=natural), sorted(sizes, key=by_width)


def _map_html(name: str, found: dict[tuple[Any, str], Cell], levels: Sequence[Any], sizes: Sequence[str]) -> Markup:
    example = next(iter(found.values()))
    head = tag("tr", tag("td"), *(tag("th", size, scope="col", data_size=size) for size in sizes))

    def line(level: Any) -> Markup:
        papers = {size: _elsewhere(example, level, size) for size in sizes}
        entries = (_cell_html(found.get((level, size)), papers[size], size) for size in sizes)
        return tag("tr", tag("th", level_text(example.section.axis, level), scope="row"), *entries)

    table = tag("table", tag("caption", name), tag("thead", head), tag("tbody", *map(line, levels)))
    place = tag(
        "div", table, class_="scroll", tabindex="0", role="region", aria_label=f"{name}, by difficulty and size"
    )
    model, canon = example.model["model.model"], example.model["model.canon"]
    return tag("div", place, class_="map", data_model=model, data_canon=canon or "none")


def _elsewhere(example: Cell, level: Any, size: str) -> Published | None:
    """The published cell at a difficulty and size that may have no run here."""
    return published(example.section.task, {**example.rows[0].settings, SIZE: size}, level)


def _cell_html(cell: Cell | None, paper: Published | None, size: str) -> Markup:
    parts: list[Markup] = []
    shade, hint = None, None
    spread = cell.spread if cell else None
    if cell and spread:
        share = cell.metric in cell.section.shares
        shade = round(SHADES * min(1.0, max(0.0, spread.mean))) if share else None
        parts.append(tag("b", value_text(spread.mean, share)))
        if spread.seeds > 1:
            parts.append(tag("small", range_text(spread.low, spread.high, share)))
        if cell.rate and len(cell.rates) > 1:
            parts.append(tag("small", f"lr {cell.rate:g}", " ↔" if cell.at_edge else ""))
        if cell.best and (lost := diverged(cell.best)):
            parts.append(tag("small", f"{len(lost)} diverged"))
        rates = ", ".join(f"{rate:g}" for rate in cell.rates)
        hint = f"learning rate {cell.rate:g} of {rates}; {plural(spread.seeds, 'seed')}" if cell.rate else None
    if paper:
        parts.append(tag("i", value_text(paper.values[0], True), "?" if paper.uncertain else ""))
        if cell and cell.best_run is not None and cell.metric in cell.section.own_headline[:1]:
            parts.append(tag("small", _otherwise(cell, paper) or f"{100 * (cell.best_run - paper.values[0]):+.1f}"))
            if unlike := _unlike(cell, paper):
                parts.append(tag("small", f"code: {unlike}"))
    if paper:
        printed = f"paper: figure {enumeration(map(str, paper.figures))}"
        hint = f"{hint}; {printed}" if hint else printed
    kind = "empty" if shade is None else f"shade-{shade}"
    return tag("td", *parts, class_=kind, title=hint, data_size=size)


def _otherwise(cell: Cell, paper: Published) -> str:
    """How the paper trained, in what it trained otherwise; empty where runs may be compared with it."""
    ours = cell.rows[0].settings
    apart = [f"{si(paper.steps)} steps"] if cell.steps != paper.steps else []
    for key, value in paper.settings.items():
        if ours.get(f"training.{key}", value) != value:
            apart.append(f"{setting_label(key)} {setting_text(value)}")
    if cell.section.task["context"] != paper.context:
        apart.append(f"context {paper.context:,}")
    return f"with {enumeration(apart)}" if apart else ""


def _unlike(cell: Cell, paper: Published) -> str:
    """What the released code has otherwise than the model of the cell."""
    ours = cell.rows[0].settings
    return enumeration(
        in_words((key, value) for key, value in paper.released.items() if ours.get(f"model.{key}") != value)
    )
