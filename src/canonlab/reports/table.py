"""The results in a terminal: one table a task."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from canonlab.errors import visible
from canonlab.results.findings import findings, overview
from canonlab.results.groups import ARCHITECTURE, Row, Section, sections
from canonlab.results.load import Run
from canonlab.results.notes import section_notes
from canonlab.results.words import (
    INTERVALS,
    NOTHING,
    duration,
    interval_text,
    metric_label,
    range_text,
    setting_label,
    setting_text,
    settings_text,
    si,
    value_text,
)

SHOWN = 6
"""The comparisons in sentences below a table; the page and the JSON have all."""


def terminal_tables(runs: Sequence[Run], baseline: str = "") -> list[Table]:
    """A table for each task: for a row of several seeds a line with mean and range, and below it a line a seed."""
    found = sections(runs, baseline)
    return [_section_table(section, explain=section is found[-1]) for section in found]


def _section_table(section: Section, explain: bool) -> Table:
    title = Text.assemble((visible(section.task["name"]), "bold"), " ", settings_text(section.parameters))
    quoted = [f"All rows: {settings_text(section.quoted)}."] if section.quoted else []
    found = findings(section)
    decided = [overview(found), *(f"- {finding.sentence}" for finding in found[:SHOWN])] if found else []
    caption = Text("\n".join([*quoted, *section_notes(section), *decided, *([INTERVALS] if explain else [])]))
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left", box=None, pad_edge=False)
    keys = (*ARCHITECTURE, *section.varied)
    for key in keys:
        table.add_column(Text(setting_label(key)), overflow="fold")
    table.add_column("seed", max_width=10, overflow="fold")  # narrow, so that the metrics fit into 80 characters
    for text in (*map(metric_label, section.headline), "params", "FLOPs\n/token", "time"):
        table.add_column(Text(text), justify="right", overflow="fold")
    for row in section.rows:
        settings = [Text(setting_text(row.settings.get(key))) for key in keys]
        costs = [si(row.cost("parameters")), si(row.cost("flops_per_token")), duration(row.cost("seconds"))]
        for number, line in enumerate(_lines(section, row)):
            table.add_row(*(settings if number == 0 else [""] * len(settings)), *line, *(costs if number == 0 else ()))
        table.add_row()
    return table


def _lines(section: Section, row: Row) -> list[list[Text]]:
    lines = [[Text(run.state), *(_run_cell(section, run, name) for name in section.headline)] for run in row.runs]
    if len(row.finished) > 1:
        lines.insert(0, [Text(section.mean_of(row)), *(_mean_cell(section, row, name) for name in section.headline)])
    return lines


def _mean_cell(section: Section, row: Row, metric: str) -> Text:
    spread = row.spread(metric)
    if spread is None:
        return Text(NOTHING)
    share = metric in section.shares
    return Text.assemble((value_text(spread.mean, share), "bold"), " ", range_text(spread.low, spread.high, share))


def _run_cell(section: Section, run: Run, metric: str) -> Text:
    measure = run.evaluation.metrics.get(metric) if run.evaluation else None
    if measure is None:
        return Text(NOTHING)
    share = metric in section.shares
    return Text.assemble(value_text(measure.value, share), " ", (interval_text(measure, share), "dim"))
