"""The results for other programs: a CSV file with a line a run and metric, and LaTeX tables for a paper."""

import csv
import dataclasses
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from canonlab.errors import visible
from canonlab.files import write_text
from canonlab.results.cells import Cell
from canonlab.results.grid import by_width, families, grid, grid_metric
from canonlab.results.groups import SIZE, Section, level_text, natural, sections
from canonlab.results.load import Run
from canonlab.results.published import published
from canonlab.results.words import metric_label, setting_text, settings_text, title, value_text

COLUMNS = (
    "task", "parameters", "context", "model", "canon", "size", "learning_rate", "seed", "steps", "step", "finished",
    "metric", "headline", "value", "low", "high", "right", "count", "clusters", "published", "model_parameters",
    "flops_per_token", "training_tokens", "seconds", "device", "data_sha256", "weights_sha256", "run", "folder",
    "command",
)  # fmt: skip
"""Of the CSV file. Shares and intervals are from 0 to 1; what is not known is empty."""

FORMULA = tuple("=+-@\t\r\n＝＋－＠")
"""How cells begin that a spreadsheet takes for a formula, and may execute."""


def write_csv(runs: Sequence[Run], path: Path) -> None:
    """A line for each metric of each run, of the final evaluation or the latest one of an unfinished run.

    Text that begins as a formula does has an apostrophe before it (OWASP, "CSV injection"); control characters are
    written out. Numbers are as they are.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for section in sections(runs):
        for row in section.rows:
            paper = published(section.task, row.settings)
            beside = dict(zip(section.own_headline, paper.values, strict=False)) if paper else {}
            for run in row.runs:
                for name in section.metrics:
                    if line := _line(section, row.settings, run, name, beside.get(name)):
                        writer.writerow(line)
    write_text(path, text.getvalue(), "csv")


def _line(section: Section, settings: dict[str, Any], run: Run, name: str, published: float | None) -> dict[str, Any]:
    measure = run.evaluation.metrics.get(name) if run.evaluation else None
    if measure is None:
        return {}
    cost = run.result.cost if run.result else {}
    provenance = run.result.provenance if run.result else {}
    entries = {
        "task": section.task["name"],
        "parameters": settings_text(section.task["parameters"]),
        "context": section.task["context"],
        "model": settings["model.model"],
        "canon": settings["model.canon"] or "none",
        "size": settings[SIZE],
        "learning_rate": settings.get("training.lr"),
        "seed": run.seed,
        "steps": run.steps,
        "step": run.evaluated_step,
        "finished": run.result is not None,
        "metric": name,
        "headline": name in section.headline,
        **dataclasses.asdict(measure),
        "published": published,
        "model_parameters": cost.get("parameters"),
        "training_tokens": cost.get("tokens"),
        **{key: cost.get(key) for key in ("flops_per_token", "seconds", "device")},
        **{key: provenance.get(key) for key in ("data_sha256", "weights_sha256", "command")},
        "run": run.record.name,
        "folder": run.folder,
    }
    return {key: _cell(value) for key, value in entries.items()}


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, int | float):
        return None if value != value else value  # NaN is not known
    text = str(value)
    return ("'" if text.startswith(FORMULA) else "") + visible(text)


def write_latex(runs: Sequence[Run], path: Path) -> None:
    """A table (booktabs) for each task: architectures by difficulty and size, best rate, mean and range over seeds.

    The rate is named where several were tried.
    """
    tables = [table for group in families(sections(runs)) if (table := _table(group))]
    note = (
        "% Mean over seeds at the best learning rate, then the least and the greatest seed. lr: that rate, where\n"
        "% several were tried; $\\leftrightarrow$: the least or the greatest of them, one beyond may be better.\n"
        "% Needs \\usepackage{booktabs}.\n"
    )
    write_text(path, note + "\n".join(tables), "latex")


def _table(group: Sequence[Section]) -> str:
    found = grid(group)
    if not found:
        return ""
    places = sorted(
        {place for row in found.values() for place in row}, key=lambda place: (natural(place[0]), by_width(place[1]))
    )
    first = group[0]
    heads = [_escape(", ".join(filter(None, [level_text(first.axis, level), size]))) for level, size in places]
    lines = [_escape(name) + "".join(f" & {_entry(row.get(place))}" for place in places) for name, row in found.items()]
    fixed = {key: value for key, value in first.parameters.items() if key != first.axis}
    caption = f"{title(first.task['name'])}, {metric_label(grid_metric(found))} ({settings_text(fixed)})."
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_escape(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * len(places)}}}",
            r"\toprule",
            " & ".join(["Architecture", *heads]) + r" \\",
            r"\midrule",
            *(line + r" \\" for line in lines),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _entry(cell: Cell | None) -> str:
    spread = cell.spread if cell else None
    if not cell or not spread:
        return "--"
    share = cell.metric in cell.section.shares
    mean, low, high = (_number(value_text(value, share)) for value in (spread.mean, spread.low, spread.high))
    parts = [mean]
    if spread.seeds > 1:
        parts.append(rf"{{\scriptsize {low} to {high}}}")
    if len(cell.rates) > 1:
        edge = r" $\leftrightarrow$" if cell.at_edge else ""
        parts.append(rf"{{\scriptsize lr {_number(setting_text(cell.rate))}{edge}}}")
    return " ".join(parts)


def _number(text: str) -> str:
    """A number as LaTeX sets it: a minus and a power of ten, such as that of "1e-05", need its mathematics."""
    if "-" not in text:
        return _escape(text)
    mantissa, _, exponent = _escape(text).replace(",", "{,}").partition("e")
    power = rf" \times 10^{{{int(exponent)}}}" if exponent else ""
    return f"${mantissa}{power}$"


def _escape(text: str) -> str:
    """`text` as LaTeX prints it literally, also at the start of a row, where * and [ belong to the row before."""
    special = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"$<$",
        ">": r"$>$",
        "[": "{[}",
        "]": "{]}",
        "*": "{*}",
    }
    return re.sub(r"[\\~^<>&%$#_{}*\[\]]", lambda match: special.get(match[0], "\\" + match[0]), visible(text))
