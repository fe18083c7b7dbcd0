"""The page: one HTML file that holds its own style, scripts and data and needs no network."""

import math
import os
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from canonlab import __version__
from canonlab.files import write_text
from canonlab.reports.capacity import capacity_data, capacity_html
from canonlab.reports.fragments import COLOURS, DASHES, LineStyle, filtered, section_html
from canonlab.reports.heatmaps import heatmaps_html
from canonlab.reports.laws import laws_data
from canonlab.reports.markup import Markup, join, script_json, tag
from canonlab.results.findings import BETTER, findings, overview
from canonlab.results.groups import Section, natural, sections
from canonlab.results.load import Run
from canonlab.results.speed import Reached, reached
from canonlab.results.words import INTERVALS, enumeration, metric_label, percent, plural, settings_text, title

MOST_POINTS, LEAST_POINTS, ALL_POINTS = 200, 40, 60_000
"""A longer curve is thinned to at most MOST_POINTS, on a page of many runs to fewer, so that all together stay below
ALL_POINTS as long as a curve keeps LEAST_POINTS."""


def write_page(
    runs: Sequence[Run], path: str | os.PathLike[str], left_out: Sequence[str] = (), baseline: str = ""
) -> Path:
    """Write the page on `runs` to `path`, whole or not at all, and return the path.

    `left_out` are lines on runs that could not be read, or are not among these: see `load_runs`. With a `baseline`
    others are compared with it alone: see `sections`. The same runs give the same bytes. InputError
    when the file cannot be written.
    """
    path = Path(path)
    write_text(path, page_html(runs, left_out, baseline), "page")
    return path


def _error(count: int) -> str:
    """What the verdicts of several sections may err together."""
    if count < 2:
        return ""
    return (
        f" Each of the {count} sections decides with an error of 5% for all of its pairs, not for all {count} together."
    )


def page_html(runs: Sequence[Run], left_out: Sequence[str] = (), baseline: str = "") -> str:
    """The text of the page."""
    found = sections(runs, baseline)
    styles = line_styles(found)
    names = list(dict.fromkeys(section.task["name"] for section in found))
    points = max(LEAST_POINTS, min(MOST_POINTS, ALL_POINTS // len(runs)))
    unfinished = sum(run.result is None for run in runs)
    architectures = {row.architecture for section in found for row in section.rows}
    lead = f"{plural(len(runs), 'run')} of {plural(len(architectures), 'architecture')} on {plural(len(found), 'task')}"
    return Template(_resource("page.html")).substitute(
        title=join("canonlab: ", enumeration(names)),
        heading=join("Results on ", enumeration(map(title, names))),
        lead=join(lead, f", {unfinished} of them unfinished." if unfinished else ".", _error(len(found))),
        left_out=tag("ul", *(tag("li", title(line)) for line in left_out), class_="notes") if left_out else join(),
        intervals=join(INTERVALS),
        filters=_filters(found),
        summary=_summary(found),
        heatmaps=heatmaps_html(found),
        capacity=capacity_html(found),
        sections=join(*(section_html(section, n, styles[n]) for n, section in enumerate(found))),
        data=script_json(
            {
                "capacity": capacity_data(found, [[style.colour for style in lines] for lines in styles]),
                **laws_data(found),
                "sections": [_section_data(section, styles[n], points) for n, section in enumerate(found)],
            }
        ),
        version=join(__version__),
        style=_resource("page.css"),
        script=_resource("page.js"),
        plotly=_resource("vendor/plotly-cartesian.min.js"),
    )


def line_styles(found: Sequence[Section]) -> list[list[LineStyle]]:
    """The line of every row, section by section: an architecture has one colour throughout, its further rows dashes."""
    colours: dict[str, int] = {}
    styles: list[list[LineStyle]] = []
    for section in found:
        drawn: Counter[int] = Counter()
        styles.append([])
        for row in section.rows:
            colour = colours.setdefault(row.architecture, len(colours) % COLOURS)
            # Starting at the colour's own number makes a few architectures differ in their dashes too, for print.
            styles[-1].append(LineStyle(colour, DASHES[(colour + drawn[colour]) % len(DASHES)]))
            drawn[colour] += 1
    return styles


def thin(steps: Sequence[int], values: Sequence[float], limit: int = MOST_POINTS) -> tuple[list[int], list[float]]:
    """A curve of at most `limit` points: means of equal runs of neighbours, each at its last step."""
    size = max(1, math.ceil(len(steps) / limit))
    starts = range(0, len(steps), size)
    means = [sum(part) / len(part) for part in (values[start : start + size] for start in starts)]
    return [steps[min(start + size, len(steps)) - 1] for start in starts], means


def _section_data(section: Section, styles: Sequence[LineStyle], points: int) -> dict[str, Any]:
    rows = [
        {
            "label": section.label(row),
            **{key.removeprefix("data_"): value for key, value in filtered(row).items()},
            "colour": style.colour,
            "dash": style.dash,
            "speed": [_speed_data(found) for found in reached(section, [row])],
            "runs": [_run_data(section, run, points) for run in row.runs],
        }
        for row, style in zip(section.rows, styles, strict=True)
    ]
    return {"rows": rows}


def _run_data(section: Section, run: Run, points: int) -> dict[str, Any]:
    """The curves of a run, steps stored once. Five digits are more than a screen can show.

    Evaluations are thinned by leaving some out, since each has its interval, and the last one stays.
    """
    curves = run.curves
    loss_steps, loss = thin(curves.loss_steps, curves.loss, points)
    every = max(1, math.ceil(len(curves.evaluations) / points))
    shown = curves.evaluations[::-1][::every][::-1]
    evaluations = [evaluation.metrics for _, evaluation in shown]
    return {
        "seed": run.seed,
        "finished": run.result is not None,
        "steps": [step for step, _ in shown],
        "metrics": {
            name: [_rounded(metrics[name].value) if name in metrics else None for metrics in evaluations]
            for name in section.charted
        },
        "lossSteps": loss_steps,
        "loss": [_rounded(value) for value in loss],
    }


def _speed_data(found: Reached) -> dict[str, Any]:
    steps = ", ".join("never" if step is None else f"{step:,}" for step in found.steps)
    return {
        "level": found.level,
        "threshold": found.threshold,
        "median": found.median,
        "text": f"{metric_label(found.metric)} reaches {percent(found.threshold)} after {steps} steps",
    }


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _filters(found: Sequence[Section]) -> Markup:
    """What the page can be narrowed to; nothing where there is no choice."""
    rows = [filtered(row) for section in found for row in section.rows]
    choices = {"task": [section.task["name"] for section in found]}
    choices |= {name: [row[f"data_{name}"] for row in rows] for name in ("model", "canon", "size")}
    menus = []
    for name, values in choices.items():
        distinct = sorted(set(values), key=natural)
        if len(distinct) > 1:
            options = [tag("option", "all", value=""), *(tag("option", value, value=value) for value in distinct)]
            menus.append(tag("label", title(name), " ", tag("select", *options, name_=name)))
    return tag("form", tag("span", "Show"), *menus, id="filters", class_="filters") if menus else join("")


def _summary(found: Sequence[Section]) -> Markup:
    """What all runs together decide, a line for each task."""
    lines = []
    for number, section in enumerate(found):
        compared = findings(section)
        decided = [finding for finding in compared if finding.verdict == BETTER]
        best = decided[0].sentence if decided else ""
        link = tag(
            "a",
            title(section.task["name"]),
            " ",
            tag("small", settings_text(section.parameters)),
            href=f"#task-{number}",
        )
        lines.append(tag("li", link, ": ", overview(compared), " ", best, data_task=section.task["name"]))
    return tag("section", tag("h2", "In short", id="short"), tag("ul", *lines), class_="short", aria_labelledby="short")


def _resource(name: str) -> str:
    return resources.files("canonlab.reports").joinpath(name).read_text(encoding="utf-8")
