"""What commands print: progress of a run, coloured windows and tables for people, JSON for programs."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from canonlab.checks import Check
from canonlab.cli.terminal import Terminal, say, wide
from canonlab.errors import visible
from canonlab.models import table as models
from canonlab.models.cost import PASSES
from canonlab.results.words import duration, setting_text, si, span
from canonlab.sweeps.estimate import Estimate, Time
from canonlab.sweeps.forecast import Forecast, Work
from canonlab.tasks.base import Task
from canonlab.training.run import RunFolder

PLAIN_LINE_SECONDS = 10.0
"""How often a run says how it goes when nobody watches a terminal."""


def describe(metrics: Mapping[str, Mapping[str, Any]], names: tuple[str, ...] | list[str]) -> str:
    """The named metrics, e.g. "token_accuracy 99.8%"."""
    return "  ".join(f"{name} {_number(metrics[name], 'value')}" for name in names)


def _number(metric: Mapping[str, Any], key: str) -> str:
    """A number of a metric for people: a share in percent, a mean as it is."""
    value = metric[key]
    if value is None:
        return "-"
    return f"{value:.4g}" if metric["right"] is None else f"{100 * value:.1f}%"


class Progressing:
    """A training listener: a bar on a terminal, a plain line now and then elsewhere. Writes to standard error."""

    def __init__(self) -> None:
        self.console = Terminal(sys.stderr, soft_wrap=True)
        self.live = self.console.is_terminal
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}", markup=False),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.live,
        )
        self.facts: dict[str, str] = {}
        self.last_line = 0.0

    def __enter__(self) -> "Progressing":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def start(self, run: RunFolder, step: int) -> None:
        """See training.loop.Listener."""
        for task in self.bar.task_ids:
            self.bar.remove_task(task)
        self.facts = {"loss": "", "speed": "", "accuracy": ""}
        self.steps, self.first, self.began = run.plan.config.training.steps, step, time.monotonic()
        self.row = self.bar.add_task(run.plan.name.rsplit("-", 1)[0], total=self.steps, completed=step, facts="")
        backend, config = run.plan.backend, run.plan.config.training
        self.message(
            f"{run.folder}: step {step} of {self.steps:,} on {config.batch} x {run.plan.task.context:,} tokens each, "
            f"{backend.device}, {backend.precision}, "
            f"{'compiled' if backend.compile else 'eager'}, {backend.threads} threads, "
            f"Canon by {backend.canon}, linear mixers by {backend.linear}"
        )

    def record(self, record: dict[str, Any]) -> None:
        """See training.loop.Listener."""
        step = record["step"]
        if record["kind"] == "train":
            self.facts["loss"] = f"loss {record['loss']:.3f}"
            self.facts["speed"] = f"{record['tokens_per_second']:,} tokens/s"
        else:
            self.facts["accuracy"] = f"{describe(record['metrics'], record['headline'][:1])} at step {step}"
        facts = "  ".join(filter(None, self.facts.values()))
        self.bar.update(self.row, completed=step, facts=facts)
        now = time.monotonic()
        if not self.live and (now - self.last_line >= PLAIN_LINE_SECONDS or step == self.steps):
            self.last_line = now
            left = (now - self.began) / max(1, step - self.first) * (self.steps - step)
            self.message(f"step {step}/{self.steps}  {facts}  {left:.0f} s left")

    def message(self, text: str) -> None:
        """See training.loop.Listener."""
        self.console.print(visible(text))


STYLES = {
    "special": "bold magenta",
    "query": "bold yellow",
    "length": "bold yellow",
    "operator": "green",
    "number": "cyan",
    "name": "blue",
    "name_end": "cyan",
    "terminal": "cyan",
    "text": "",
}


def coloured_window(task: Task, ids: list[int], marks: list[int], brackets: bool) -> Text:
    """A window for people: tokens coloured by role, marked targets underlined, a new line at each instance.

    With `brackets`, for where no style is shown, marked targets stand in square brackets, unless nearly all are marked.
    """
    text = Text()
    brackets = brackets and not all(marks[1:])
    for position, (i, mark) in enumerate(zip(ids, marks, strict=True)):
        token = task.vocabulary[i]
        if position and token.name == task.separator:
            text.append("\n")
        name = f"[{token.name}]" if mark and brackets else token.name
        text.append(name, style=f"{STYLES[token.role]}{' underline' if mark else ''}".strip())
        text.append(" ")
    return text


def print_window(task: Task, index: int, ids: list[int], marks: list[int]) -> None:
    """One window for people, after a line that says which."""
    out = Terminal(sys.stdout, soft_wrap=True)
    out.print(f"window {index}", style="dim")
    out.print(coloured_window(task, ids, marks, brackets=not out.is_terminal))


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Mappings of the same keys as a table."""
    table = Table(box=None, pad_edge=False)
    for key in rows[0]:
        number = any(isinstance(row[key], int | float) for row in rows)
        table.add_column(key.replace("_", " "), justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row.values()))
    wide().print(table)


def print_models(rows: Sequence[Mapping[str, Any]], vocabulary: int, context: int) -> None:
    """What models cost, and what the numbers mean."""
    shown = models.readable(rows)
    if "name" in rows[0]:
        shown = [{key: row[key] for key in ("name", "about", "without_embedding", models.AGAINST)} for row in shown]
    print_rows(shown)
    if not all(row["matched"] for row in rows):
        words = f"* differs from {models.REFERENCE} (same Canon points) by more than {models.MATCHED:.0%}"
        say(f"{words}: a comparison should say so")
    if "name" not in rows[0]:
        say(f"vocabulary of {vocabulary:,} tokens; FLOPs and state (fp32) at {context:,} tokens")


def print_forecast(found: Forecast, taken: Estimate, recipe: str, folder: Path) -> None:
    """What a recipe's runs take, what has become of them so far, and what they can decide."""
    say(f"{recipe}, in {folder}: {', '.join(f'{count:,} {state}' for state, count in found.states.items())}")
    works = {"in all": (found.all, taken.all), "left": (found.left, taken.left)}
    print_rows([{"": words, **_work(*work, taken.gpu)} for words, work in works.items()])
    sizes = " to ".join(dict.fromkeys(map(si, found.parameters)))
    say(f"{sizes} parameters; FLOPs are those of training, {PASSES} times those of forward passes")
    _print_estimate(taken)
    _print_comparisons(found)


def _work(work: Work, took: Time | None, gpu: str | None) -> dict[str, str | int]:
    row: dict[str, str | int] = {"runs": work.runs, "tokens": si(work.tokens), "FLOPs": f"{work.flops:.3g}"}
    if took:
        row["time"] = duration(took.wall)
        row |= {f"{gpu}-hours": f"{took.runs / 3600:,.3g}"} if gpu else {}
    return row


def _print_estimate(taken: Estimate) -> None:
    """Where the time is that of, what it rests on, memory and disk."""
    say(f"on {taken.where}")
    for note in taken.notes:
        say(f"  {note}")
    if taken.memory is None:
        say("memory: not known, as the kernels of a model can't be counted without running them")
    else:
        fits = "which fits" if taken.memory.bytes <= taken.room else "which does not fit: set training.microbatch"
        say(f"memory: up to {si(taken.memory.bytes)}B a run, of {si(taken.room)}B that there are, {fits}")
        say(f"  the largest is {taken.memory.run}")
    say(f"disk: {si(taken.disk.done)}B when all is done, and up to {si(taken.disk.running)}B more meanwhile")


def _print_comparisons(found: Forecast) -> None:
    if not found.comparisons:
        say("no two models of one size are trained on one task in one way: nothing can be compared")
        return
    print_rows(
        [
            {
                "groups": each.groups,
                "models in each": each.models,
                "learning rates": span(each.rates),
                "seeds": span(each.seeds),
                "pairs that can be decided": f"{each.decidable:,} of {each.pairs:,}",
                "seeds within their gaps": each.needed,
            }
            for each in found.comparisons
        ]
    )
    for needed, what in (
        (found.seeds_for_all, "a difference that is plainly wider than the gaps between seeds"),
        (found.seeds_within_gaps, "one within these gaps, as where runs learn or don't,"),
    ):
        if needed:
            say(f"{what} takes {needed} seeds: --set training.seed=[{','.join(map(str, range(needed)))}]")


def print_checks(checks: Sequence[Check]) -> None:
    """What was checked and seen, a row each, and what to do about what failed."""
    words = {True: "ok", False: "FAILED", None: "not checked"}
    print_rows([{"check": c.name, "result": words[c.passed], "seen": c.seen, "what to do": c.advice} for c in checks])


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else visible(str(value))


def print_task(name: str, task: Task) -> None:
    """A task for people: what it is, parameters, and the vocabulary by role."""
    out = Terminal(sys.stdout, soft_wrap=True)
    summary = (type(task).__doc__ or "").strip().splitlines()
    out.print(f"{name}: {summary[0] if summary else ''}")
    for key, value in {**task.parameters, "context": task.context}.items():
        parts = isinstance(value, tuple) and any(isinstance(entry, dict) for entry in value)
        out.print(f"  {key} = {setting_text(value) if parts else value}")
    for fact in task.facts():
        out.print(f"  {fact}")
    out.print(f"vocabulary: {len(task.vocabulary)} tokens")
    for role in dict.fromkeys(token.role for token in task.vocabulary):
        names = [token.name for token in task.vocabulary if token.role == role]
        shown = " ".join(names if len(names) <= 8 else [*names[:4], "...", names[-1]])
        out.print(f"  {role} ({len(names)}): {shown}")


def print_evaluation(evaluation: Mapping[str, Any], title: str) -> None:
    """All metrics with their intervals and counts, and the notes."""
    out = Terminal(sys.stdout, soft_wrap=True)
    out.print(title, style="bold")
    for name, metric in evaluation["metrics"].items():
        value, low, high = (_number(metric, key) for key in ("value", "low", "high"))
        interval = "exact" if metric["low"] == metric["high"] is not None else f"95% [{low}, {high}]"
        star = "*" if name in evaluation["headline"] else " "
        out.print(f" {star} {name:<20} {value:>7}  {interval}, {metric['count']} counted")
    notes = ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in evaluation["notes"].items())
    out.print(f"   {notes}", style="dim")


def print_tables(tables: Sequence[RenderableType]) -> None:
    """Tables, or blocks of text and tables, one below another."""
    out = wide()
    for table in tables:
        out.print(table)
