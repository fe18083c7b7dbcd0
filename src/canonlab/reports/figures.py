"""The page's charts as figures for a paper: PDF and PNG by matplotlib."""

import importlib
import itertools
import math
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from canonlab.extras import optional
from canonlab.files import safe_name, writing
from canonlab.results.capacity import LINES, points
from canonlab.results.cells import Cell, cells
from canonlab.results.grid import by_width, families, grid, grid_metric
from canonlab.results.groups import Row, Section, level_text, natural, sections
from canonlab.results.load import Run
from canonlab.results.speed import THRESHOLDS, levels, reached
from canonlab.results.words import metric_label, setting_text, si, title

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("-", "--", ":", "-.", (0, (8, 2)), (0, (5, 1, 1, 1, 1, 1)))
FORMATS = ("pdf", "png")
STYLE = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,
    "text.parse_math": False,  # a user's names may have dollars in them
}

STEM, STEM_OF_TASK = 112, 70
"""Characters of a figure's name before its format, and of what names the task in it."""

Entry = tuple[Any, str]
"""What was drawn and its name, for a legend."""


def require_figures() -> Any:
    """The module that draws; InputError where it is not installed."""
    return optional("matplotlib", "figures", "drawing figures")


def write_figures(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Draw everything there is to draw into `folder`, each figure as PDF and PNG; the files' paths.

    Heat maps a task; by size learning curves a metric, and skill speed, each architecture at its best learning rate;
    bits against parameters. InputError without matplotlib, or when a file cannot be written.
    """
    require_figures().use("Agg")
    plt = importlib.import_module("matplotlib.pyplot")
    found, written = sections(runs), []
    with plt.rc_context(STYLE):
        for name, figure in _named(_figures(plt, found)):
            for suffix in FORMATS:
                path = folder / f"{name}.{suffix}"
                # A fixed date, so that the same runs give the same bytes.
                metadata = {"CreationDate": None} if suffix == "pdf" else {"Software": None}
                with writing(path, "figures") as temporary:
                    figure.savefig(temporary, format=suffix, dpi=200, bbox_inches="tight", metadata=metadata)
                written.append(path)
            plt.close(figure)
    return written


def _figures(plt: Any, found: Sequence[Section]) -> Iterator[tuple[str, Any]]:
    for group in families(found):
        if figure := _heatmaps(plt, group):
            yield f"{_stem(group[0], level=False)}-heatmaps", figure
    for section in found:
        if not any(run.curves.evaluations for run in section.runs):
            continue
        sizes = _best_rows(section)
        for size, rows in sizes.items():
            stem = _stem(section) + (f"-{_slug(size)}" if len(sizes) > 1 else "")
            for metric in section.charted:
                yield f"{stem}-{_slug(metric)}", _curves(plt, section, rows, metric)
            if len(levels(section)) > 1 and any(each.median for each in reached(section, rows)):
                yield f"{stem}-speed", _speed(plt, section, rows)
    if any(True for section in found for _ in points(section)):
        yield "capacity", _capacity(plt, found)


def _named(figures: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The figures under names that any system takes and, whatever it thinks of capitals, keeps apart."""
    taken: set[str] = set()
    for text, figure in figures:
        plain = safe_name(text, STEM)
        names = itertools.chain([plain], (f"{plain}-{number}" for number in itertools.count(2)))
        name = next(name for name in names if name.lower() not in taken)
        taken.add(name.lower())
        yield name, figure


def _best_rows(section: Section) -> dict[str, list[Row]]:
    """By size the row of each cell that is worth a curve: the best, or the first one with evaluations."""
    found: dict[str, list[Row]] = {}
    for cell in sorted(cells(section), key=lambda cell: by_width(cell.size)):
        begun = (row for row in cell.rows if any(run.curves.evaluations for run in row.runs))
        if row := cell.best or next(begun, None):
            found.setdefault(cell.size, []).append(row)
    return found


def _heatmaps(plt: Any, group: Sequence[Section]) -> Any:
    """One panel an architecture: difficulties down, sizes across, shares in percent."""
    found = grid(group)
    if not any(cell.metric in cell.section.shares for row in found.values() for cell in row.values()):
        return None
    levels = sorted({place[0] for row in found.values() for place in row}, key=natural)
    sizes = sorted({place[1] for row in found.values() for place in row}, key=by_width)
    columns = min(4, len(found))
    lines = math.ceil(len(found) / columns)
    names = [textwrap.fill(name, 24) for name in found]
    titled = 0.12 * max(name.count("\n") for name in names)
    figsize = columns * max(1.9, 0.8 + 0.55 * len(sizes)), 0.4 + lines * (0.8 + 0.3 * len(levels) + titled)
    figure, axes = plt.subplots(lines, columns, squeeze=False, figsize=figsize, layout="constrained")
    for axis in axes.flat[len(found) :]:
        axis.axis("off")
    for axis, name, row in zip(axes.flat, names, found.values(), strict=False):
        values = [[_percent(row.get((level, size))) for size in sizes] for level in levels]
        axis.imshow(values, vmin=0, vmax=100, cmap="Blues", aspect="auto")
        for y, line in enumerate(values):
            for x, value in enumerate(line):
                if not math.isnan(value):
                    colour = "white" if value > 60 else "black"
                    axis.text(x, y, f"{value:.1f}", ha="center", va="center", color=colour, fontsize=7)
        axis.set_xticks(range(len(sizes)), sizes, rotation=30, ha="right")
        axis.set_yticks(range(len(levels)), [level_text(group[0].axis, level) for level in levels])
        axis.set_title(name, fontsize=8)
    figure.suptitle(f"{title(group[0].task['name'])}: {metric_label(grid_metric(found))} (%)")
    return figure


def _percent(cell: Cell | None) -> float:
    return 100 * cell.spread.mean if cell and cell.spread else math.nan


def _curves(plt: Any, section: Section, rows: Sequence[Row], metric: str) -> Any:
    """Mean and range over the seeds of each row, by training step."""
    figure, axis = plt.subplots(figsize=(4.2, 2.8))
    share = metric in section.shares
    entries: list[Entry] = []
    for row, colour, dash in _lines(rows):
        by_step: dict[int, list[float]] = {}
        for run in row.finished or row.runs:
            for step, evaluation in run.curves.evaluations:
                if metric in evaluation.metrics:
                    by_step.setdefault(step, []).append(evaluation.metrics[metric].value * (100 if share else 1))
        steps = [step for step, values in by_step.items() if len(values) == len(row.finished or row.runs)]
        means = [sum(by_step[step]) / len(by_step[step]) for step in steps]
        (line,) = axis.plot(steps, means, color=colour, linestyle=dash, linewidth=1.3)
        entries.append((line, section.label(row)))
        bounds = [[edge(by_step[step]) for step in steps] for edge in (min, max)]
        axis.fill_between(steps, *bounds, color=colour, alpha=0.15, linewidth=0)
    axis.set_xlabel("training step")
    axis.set_ylabel(metric_label(metric) + (" (%)" if share else ""))
    _legend(axis, entries)
    return figure


def _speed(plt: Any, section: Section, rows: Sequence[Row]) -> Any:
    """Median steps to 50% (hollow) and 95% (full) at each difficulty."""
    figure, axis = plt.subplots(figsize=(4.2, 2.8))
    entries: list[Entry] = []
    for row, colour, dash in _lines(rows):
        for threshold in THRESHOLDS:
            found = [each for each in reached(section, [row]) if each.threshold == threshold and each.median]
            face = colour if threshold > 0.5 else "white"
            places = [str(each.level) for each in found], [each.median for each in found]
            (line,) = axis.plot(*places, color=colour, linestyle=dash, marker="o", markerfacecolor=face, markersize=5)
            if threshold == THRESHOLDS[0]:
                entries.append((line, section.label(row)))
    axis.set_xlabel("difficulty")
    axis.set_ylabel("steps to 50% (hollow) and 95% (full)")
    _legend(axis, entries)
    return figure


def _capacity(plt: Any, found: Sequence[Section]) -> Any:
    """Bits against parameters with lines of equal bits per parameter."""
    figure, axis = plt.subplots(figsize=(4.2, 3.4))
    everything = [(section, list(points(section))) for section in found]
    counts = [point.parameters for _, group in everything for point in group]
    edges = [min(counts) / 1.6, max(counts) * 1.6]
    entries: list[Entry] = []
    for bits in LINES:
        axis.plot(edges, [bits * edge for edge in edges], color="grey", linewidth=0.7, linestyle=":")
        axis.annotate(f"{bits} bits", (edges[1], bits * edges[1]), fontsize=6, color="grey", ha="right", va="bottom")
    for section, group in everything:
        for row, colour, _ in _lines(section.rows):
            mine = [point for point in group if point.row is row]
            if mine:
                places = [point.parameters for point in mine], [point.bits for point in mine]
                (dots,) = axis.plot(*places, "o", color=colour, markersize=4)
                entries.append((dots, f"{section.label(row)}, {si(mine[0].people)} people"))
    axis.set(xscale="log", yscale="log", xlabel="parameters", ylabel="bits", xlim=edges)
    ticker = importlib.import_module("matplotlib.ticker")
    for scale in (axis.xaxis, axis.yaxis):
        # The usual labels of a logarithmic scale are mathtext, which is switched off.
        scale.set_major_locator(ticker.LogLocator(subs=(1,) if edges[1] > 100 * edges[0] else (1, 2, 5)))
        scale.set_major_formatter(lambda value, _: si(value))
        scale.set_minor_formatter(ticker.NullFormatter())
    _legend(axis, entries)
    return figure


def _lines(rows: Sequence[Row]) -> Iterator[tuple[Row, str, Any]]:
    """Each row with its colour, one an architecture, and a dash that tells rows of one colour apart."""
    colours: dict[str, str] = {}
    used: Counter[str] = Counter()
    for row in rows:
        colour = colours.setdefault(row.architecture, COLOURS[len(colours) % len(COLOURS)])
        yield row, colour, DASHES[used[colour] % len(DASHES)]
        used[colour] += 1


def _legend(axis: Any, entries: Sequence[Entry]) -> None:
    handles = [handle for handle, _ in entries]
    places = {"loc": "upper left", "bbox_to_anchor": (1.01, 1), "ncols": 1 + len(entries) // 25, "handlelength": 3}
    legend = axis.legend(handles, ["name"] * len(entries), frameon=False, fontsize=6, **places)
    for text, (_, label) in zip(legend.get_texts(), entries, strict=True):
        text.set_text(label)  # afterwards, as a legend leaves out labels that begin with "_"


def _stem(section: Section, level: bool = True) -> str:
    """The task's part of a figure's name; without the difficulty where `level` is false."""
    named = {key: value for key, value in section.parameters.items() if level or key != section.axis}
    words = [f"{key}{setting_text(value)}" for key, value in named.items()]
    return safe_name("-".join([section.task["name"], *map(_slug, words)]), STEM_OF_TASK)


def _slug(text: str) -> str:
    """`text` with underscores for spaces and punctuation; what is not ASCII stays, for `safe_name` to tell apart."""
    return re.sub(r"[^A-Za-z0-9\x80-\U0010ffff]+", "_", text).strip("_")
