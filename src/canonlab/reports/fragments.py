"""The parts of the page that belong to one task: tables, places for charts, and what stands behind the numbers."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from canonlab.errors import InputError, visible
from canonlab.pictures import picture
from canonlab.reports.markup import Markup, join, tag
from canonlab.results.findings import BETTER, Finding, findings, overview
from canonlab.results.groups import ARCHITECTURE, SIZE, Row, Section
from canonlab.results.load import Run
from canonlab.results.notes import section_notes
from canonlab.results.published import published
from canonlab.results.speed import THRESHOLDS, Reached, levels, reached
from canonlab.results.summary import finite
from canonlab.results.words import (
    NOTHING,
    duration,
    interval_text,
    metric_family,
    metric_label,
    percent,
    range_text,
    setting_label,
    setting_text,
    settings_text,
    si,
    title,
    value_text,
    whole,
)
from canonlab.tasks.catalog import build_task

COLOURS = 6
"""How many series colours page.css has."""

DASHES = ("solid", "8px,4px", "2px,3px", "9px,3px,2px,3px", "15px,5px", "4px,3px")


class LineStyle(NamedTuple):
    """How a row is drawn: a colour of the palette in page.css, and a dash pattern, "solid" or lengths in px."""

    colour: int
    dash: str


def section_html(section: Section, number: int, styles: Sequence[LineStyle]) -> Markup:
    """All on one task; `number` is its place on the page, `styles` has the line of each row."""
    name = title(section.task["name"])
    shared = [(setting_label(key), _plain(value)) for key, value in section.shared.items()]
    labels = [join(swatch(style), section.label(row)) for row, style in zip(section.rows, styles, strict=True)]
    return tag(
        "section",
        tag("h2", name, " ", tag("small", settings_text(section.parameters)), id=f"task-{number}"),
        tag("p", "All rows: ", settings_text(section.quoted), ".", class_="hint") if section.quoted else "",
        instance_html(section),
        _results(section, styles),
        tag("ul", *(tag("li", note) for note in section_notes(section)), class_="notes"),
        _findings(section),
        tag("h3", "Learning curves"),
        tag(
            "ul",
            *(tag("li", label, **filtered(row)) for row, label in zip(section.rows, labels, strict=True)),
            class_="legend",
        ),
        tag("div", *_charts(section, number), class_="charts"),
        tag(
            "p",
            "Thick lines: mean over the finished seeds of a row, or its only one. Thin lines: single seeds. "
            "Curves: evaluations during training, usually on fewer windows than the final one in the table. "
            "Each point of a long loss curve is the mean over the steps since the point before.",
            class_="hint",
        ),
        tag("h3", "Costs"),
        _costs(section, labels),
        tag(
            "p",
            "FLOPs are those of matrix products: neither Canon layers' few multiplications are in them nor what a "
            "mixer's own kernel computes.",
            class_="hint",
        ),
        tag(
            "div",
            tag("h3", "Behind the numbers"),
            tag("details", tag("summary", "All metrics"), _all_metrics(section, labels)),
            tag("details", tag("summary", "Skill speed"), _speeds(section, labels)) if levels(section) else "",
            tag("details", tag("summary", "Settings that all rows share"), _definitions(shared)),
            tag("details", tag("summary", "Command, hashes and versions of each run"), *map(_provenance, section.runs)),
            class_="behind",
        ),
        aria_labelledby=f"task-{number}",
        data_task=section.task["name"],
    )


def instance_html(section: Section) -> Markup:
    """The first question of the task's evaluation stream with its answer, folded away; nothing if it can't be drawn.

    It can't for a user's own task, for one whose data this canonlab makes in another version, and for huge instances.
    """
    asked = section.runs[0].record.asked.get("task")
    if section.task.get("source") or not asked:
        return join("")
    try:
        task = build_task(asked["name"], asked["set"])
        drawing = picture(task, split="eval")
    except InputError:
        return join("")
    if task.version != section.task["version"] or task.context != section.task["context"]:
        return join("")
    summary = tag("summary", "What the task asks: one question and its answer")
    return tag("details", summary, Markup(drawing), class_="instance")


def filtered(row: Row) -> dict[str, str]:
    """The attributes of an element that the page's filters look at."""
    model, canon, size = (visible(str(row.settings[key])) for key in (*ARCHITECTURE, SIZE))
    return {"data_model": model, "data_canon": canon or "none", "data_size": size}


def _results(section: Section, styles: Sequence[LineStyle]) -> Markup:
    return table_html(
        f"Results on {title(section.task['name'])}",
        ["Architecture", *map(setting_label, section.varied), "Seed"],
        [*map(metric_label, section.headline), "Parameters", "FLOPs/token", "Time"],
        *(_result_group(section, row, style) for row, style in zip(section.rows, styles, strict=True)),
    )


def _findings(section: Section) -> Markup:
    """What the comparisons of the section's architectures decide, a sentence each."""
    found = findings(section)
    if not found:
        return join("")
    kinds = {True: "decided", False: "undecided"}
    entries = (
        tag("li", finding.sentence, class_=kinds[finding.verdict == BETTER], **_sides(finding)) for finding in found
    )
    return tag("div", tag("h3", "What this decides"), tag("p", overview(found)), tag("ul", *entries), class_="findings")


def _sides(finding: Finding) -> dict[str, str]:
    """The attributes of a finding's element that the page's filters look at: it is about two rows of one size."""
    both = {"first": finding.first, "second": finding.second}
    models = {
        f"{key.replace('data_', f'data_{side}_')}": value
        for side, cell in both.items()
        for key, value in filtered(cell.rows[0]).items()
        if key != "data_size"
    }
    return {**models, "data_size": finding.first.size}


def _result_group(section: Section, row: Row, style: LineStyle) -> Markup:
    """A row of the results: mean and range when several seeds are finished, then a line a seed."""
    averaged = len(row.finished) > 1
    lines = [
        [_seed(run), *(_run_cell(section, run, n, None if averaged else style) for n in section.headline)]
        for run in row.runs
    ]
    if averaged:
        mean = tag("td", section.mean_of(row), class_="seed")
        lines.insert(0, [mean, *(_mean_cell(section, row, name, style) for name in section.headline)])
    rows = str(len(lines))
    costs = [si(row.cost("parameters")), si(row.cost("flops_per_token")), duration(row.cost("seconds"))]
    lines[0] = [
        tag("th", swatch(style), row.architecture, scope="rowgroup", rowspan=rows),
        *(tag("td", setting_text(row.settings.get(key)), rowspan=rows) for key in section.varied),
        *lines[0],
        *(tag("td", text, rowspan=rows, class_="number") for text in costs),
    ]
    kind = "averaged" if averaged else None
    return tag("tbody", *(tag("tr", *line) for line in lines), class_=kind, **filtered(row))


def _seed(run: Run) -> Markup:
    link = tag("a", run.state, href=f"#run-{run.record.identity}")
    return tag("td", link, class_="seed" if run.result else "seed unfinished")


def _mean_cell(section: Section, row: Row, metric: str, style: LineStyle) -> Markup:
    spread, share = row.spread(metric), metric in section.shares
    if spread is None:
        return tag("td", NOTHING, class_="number")
    text, reach = value_text(spread.mean, share), range_text(spread.low, spread.high, share)
    strip = _strip(style, (spread.low, spread.high), row.values(metric)) if share else ""
    return tag("td", tag("b", text), " ", tag("small", reach), strip, class_="number")


def _run_cell(section: Section, run: Run, metric: str, style: LineStyle | None) -> Markup:
    measure = run.evaluation.metrics.get(metric) if run.evaluation else None
    if measure is None:
        return tag("td", NOTHING, class_="number")
    share = metric in section.shares
    strip = _strip(style, measure.interval, [measure.value]) if style and share and measure.interval else ""
    text, interval = value_text(measure.value, share), interval_text(measure, share)
    kind = "number" if run.result else "number unfinished"
    return tag("td", tag("b", text), " ", tag("small", interval), strip, class_=kind)


def _all_metrics(section: Section, labels: Sequence[Markup]) -> Markup:
    def cell(row: Row, metric: str) -> Markup:
        spread, share = row.spread(metric), metric in section.shares
        if spread is None:
            return tag("td", NOTHING, class_="number")
        reach = tag("small", range_text(spread.low, spread.high, share)) if spread.seeds > 1 else ""
        paper = _published(section, row, metric)
        beside = join(" ", tag("i", value_text(paper, True))) if paper is not None else ""
        return tag("td", value_text(spread.mean, share), " ", reach, beside, class_="number")

    rows = [
        tag("tr", tag("th", label, scope="row"), *(cell(row, name) for name in section.metrics), **filtered(row))
        for row, label in zip(section.rows, labels, strict=True)
    ]
    caption = f"All metrics on {title(section.task['name'])}: mean and range over finished seeds, published in italics"
    return table_html(caption, ["Architecture"], [*map(metric_label, section.metrics)], tag("tbody", *rows))


def _speeds(section: Section, labels: Sequence[Markup]) -> Markup:
    """After how many steps each seed reached each threshold at each difficulty."""
    columns = [(metric, threshold) for _, metric in levels(section) for threshold in THRESHOLDS]

    def line(row: Row, label: Markup) -> Markup:
        found = {(each.metric, each.threshold): each for each in reached(section, [row])}
        entries = (tag("td", _steps(found.get(column)), class_="number") for column in columns)
        return tag("tr", tag("th", label, scope="row"), *entries, **filtered(row))

    caption = f"Skill speed on {title(section.task['name'])}: training steps to reach a share, seed by seed"
    names = [f"{metric_label(metric)}: {percent(threshold)}" for metric, threshold in columns]
    return table_html(caption, ["Architecture"], names, tag("tbody", *map(line, section.rows, labels)))


def _steps(found: Reached | None) -> str:
    if found is None:
        return NOTHING
    return ", ".join("never" if step is None else f"{step:,}" for step in found.steps)


def _published(section: Section, row: Row, metric: str) -> float | None:
    """What the paper has for a quoted metric, or for one depth of Brevo."""
    paper, family = published(section.task, row.settings), metric_family(metric)
    if paper is None:
        return None
    if metric in section.own_headline[: len(paper.values)]:
        return paper.values[section.own_headline.index(metric)]
    by_depth = family and family[1] == "depth" and family[2] <= len(paper.by_depth)
    return paper.by_depth[family[2] - 1] if family and by_depth else None


def _costs(section: Section, labels: Sequence[Markup]) -> Markup:
    def line(row: Row, label: Markup) -> Markup:
        keys = ("parameters", "parameters_without_embedding", "flops_per_token", "tokens")
        texts = [*(whole(row.cost(key)) for key in keys), duration(row.cost("seconds"))]
        devices = dict.fromkeys(str(run.result.cost.get("device", NOTHING)) for run in row.runs if run.result)
        numbers = (tag("td", text, class_="number") for text in texts)
        device = tag("td", ", ".join(devices) or NOTHING)
        return tag("tr", tag("th", label, scope="row"), device, *numbers, **filtered(row))

    return table_html(
        f"Costs on {title(section.task['name'])}: means over finished seeds",
        ["Architecture", "Device"],
        ["Parameters", "Without embedding", "Forward FLOPs/token", "Training tokens", "Time"],
        tag("tbody", *map(line, section.rows, labels)),
    )


def _charts(section: Section, number: int) -> Iterable[Markup]:
    """An empty place for each chart; page.js draws into it what its data attributes ask for."""
    for metric in section.charted:
        label = metric_label(metric)
        yield _chart(label, number, "share" if metric in section.shares else "value", metric)
    yield _chart("training loss", number, "loss", None)
    if len(levels(section)) > 1:
        yield _chart(
            "skill speed: steps to 50% (hollow) and 95% (full), median over seeds", number, "speed", None, "difficulty"
        )


def _chart(label: str, number: int, kind: str, metric: str | None, over: str = "training steps") -> Markup:
    place = tag(
        "div",
        class_="chart",
        role="img",
        aria_label=f"Line chart of {label} over {over}, a line for each row of the table of results.",
        data_section=number,
        data_kind=kind,
        data_metric=metric,
    )
    return tag("figure", tag("figcaption", title(label)), place)


def _provenance(run: Run) -> Markup:
    """Where a run's numbers come from, for who wants to check or repeat them."""
    record = run.record
    identity = _code(record.written_identity)
    entries: list[tuple[str, object]] = [("folder", run.folder), ("run", run.state), ("identity", identity)]
    for key, value in (run.result.provenance if run.result else {}).items():
        verbatim = key == "command" or key.endswith("sha256")
        entries.append((setting_label(key), _code(value) if verbatim else _plain(value)))
    if run.evaluation and run.evaluation.notes:
        entries.append(("evaluation", _plain(run.evaluation.notes)))
    entries += [
        (key, _plain(part)) for key, part in (("machine", record.machine), ("measured", record.measuring)) if part
    ]
    config = tag("pre", json.dumps(finite(record.config), separators=(", ", ": ")))
    details = tag("details", tag("summary", "Configuration"), config)
    return tag("article", tag("h4", record.name), _definitions(entries), details, id=f"run-{record.identity}")


def _code(value: object) -> Markup:
    return tag("code", value)


def _plain(value: Any) -> str:
    return settings_text(value) if isinstance(value, dict) else setting_text(value)


def _definitions(entries: Iterable[tuple[str, object]]) -> Markup:
    return tag("dl", *(tag("div", tag("dt", key), tag("dd", value)) for key, value in entries))


def table_html(caption: str, words: Sequence[str], numbers: Sequence[str], *bodies: Markup) -> Markup:
    """A table, its columns of words before those of numbers, that scrolls sideways where the screen is too narrow."""
    columns = [tag("th", title(name), scope="col") for name in words]
    columns += [tag("th", title(name), scope="col", class_="number") for name in numbers]
    table = tag("table", tag("caption", caption), tag("thead", tag("tr", *columns)), *bodies)
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=caption)


def swatch(style: LineStyle) -> Markup:
    """The line of a row as the charts draw it."""
    dash = None if style.dash == "solid" else style.dash.replace("px", "")
    line = tag("line", x1=1, y1=5, x2=29, y2=5, stroke_dasharray=dash)
    return tag("svg", line, class_=f"swatch colour-{style.colour}", viewBox="0 0 30 10", aria_hidden="true")


def _strip(style: LineStyle, reach: tuple[float, float], values: Iterable[float]) -> Markup:
    """Shares on a line from 0 to 100%: a bar over the `reach` (range or interval), a dot for each value."""
    low, high = (100 * share for share in reach)
    marks = [
        tag("line", x1=0, y1=5, x2=100, y2=5, class_="track"),
        tag("line", x1=f"{low:.1f}", y1=5, x2=f"{high:.1f}", y2=5),
    ]
    dots = (tag("circle", cx=f"{100 * value:.1f}", cy=5, r=2.2) for value in values)
    return tag("svg", *marks, *dots, class_=f"strip colour-{style.colour}", viewBox="-3 0 106 10", aria_hidden="true")
