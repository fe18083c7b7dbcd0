"""How a sweep goes, for people: redrawn in place on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Sequence

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from canonlab.cli import terminal
from canonlab.errors import visible
from canonlab.sweeps.status import Best, RunStatus, Survey
from canonlab.training.parts import DONE, RUNNING, TO_DO

LINE_SECONDS = 15.0
"""How often a sweep says how it goes when nobody watches a terminal."""

MOST_CELLS = 30
"""Cells in a table that has to fit a screen."""

MOST_RUNS = 8
"""Runs that are shown by themselves of those at work, and of those that failed."""

CELLS_IN_A_LINE = 3


class SweepLog:
    """Shows surveys on standard error; spends a tenth of the time on looking at most, however many runs there are."""

    def __init__(self) -> None:
        self.console = terminal.Terminal(sys.stderr, soft_wrap=not terminal.watched(sys.stderr))
        self.live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        self.next = self.next_line = 0.0
        self.known: dict[str, str] | None = None

    def __enter__(self) -> "SweepLog":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def update(self, look: Callable[[], Survey], last: bool = False) -> None:
        """Look, if it is time to."""
        now = time.monotonic()
        if now < self.next and not last:
            return
        survey = look()
        self.next = time.monotonic() + max(1.0, 10 * (time.monotonic() - now))
        if self.live:
            self.live.update(_picture(survey), refresh=True)
        else:
            self._lines(survey, now, last)

    def _lines(self, survey: Survey, now: float, last: bool) -> None:
        states = {run.task.folder: run.state for run in survey.runs}
        for run in survey.runs:
            if self.known and run.state != self.known.get(run.task.folder) and run.state not in (RUNNING, TO_DO):
                self._say(f"{run.task.folder}: {_ended(run)}")
        self.known = states
        if last or now >= self.next_line:
            self.next_line = now + LINE_SECONDS
            self._say(summary(survey))

    def _say(self, text: str) -> None:
        self.console.print(visible(text))

    @staticmethod
    def print(survey: Survey) -> None:
        """One survey, on standard output."""
        out = terminal.Terminal(sys.stdout, width=None if sys.stdout.isatty() else terminal.PIPED_WIDTH)
        out.print(_picture(survey, most=len(survey.runs)))


def summary(survey: Survey) -> str:
    """A survey in a line: "12 of 60 done, 2 running, 46 to do, 5 min left; best: copy llama ABCD 1L32D 99.8%"."""
    counts = survey.states
    words = [f"{counts.get(DONE, 0):,} of {len(survey.runs):,} done"]
    words += [f"{count:,} {state}" for state, count in counts.items() if state != DONE]
    if survey.left:
        words.append(f"{duration(survey.left)} left")
    best = [f"{cell.cell} {_value(cell.best)}" for cell in _latest(survey.cells)]
    return ", ".join(words) + (f"; best: {', '.join(best)}" if best else "")


def _latest(cells: Sequence[Best]) -> list[Best]:
    """The cells that are being worked on, or were last."""
    begun = [cell for cell in cells if cell.best]
    return begun[-CELLS_IN_A_LINE:]


def duration(seconds: float) -> str:
    """Seconds as people say them: "40 s", "12 min", "3.5 h", "2.1 days"."""
    for unit, length, digits in (("days", 86400, 1), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.{digits}f} {unit}"
    return f"{seconds:.0f} s"


def _value(run: RunStatus | None) -> str:
    if run is None or run.value is None:
        return "-"
    return f"{100 * run.value:.1f}%" if run.share else f"{run.value:.4g}"


def _running(run: RunStatus) -> str:
    metric = f", {run.metric} {_value(run)}" if run.metric else ""
    return f"running: {run.task.folder}, step {run.step:,} of {run.steps:,}{metric}"


def _ended(run: RunStatus) -> str:
    return f"{run.state}{f', {run.metric} {_value(run)}' if run.value is not None else ''}" + (
        f": {run.reason}" if run.reason else ""
    )


def _picture(survey: Survey, most: int = MOST_CELLS) -> Group:
    """All of a survey."""
    done, running = survey.of(DONE), survey.of(RUNNING)
    head = Table.grid(padding=(0, 1))
    head.add_row(Text(summary(survey).partition("; best")[0]), ProgressBar(len(survey.runs), len(done), width=30))
    cells = Table(box=None, pad_edge=False)
    for name in ("cell", "done", "best so far", "of run"):
        cells.add_column(name, justify="left" if name in ("cell", "of run") else "right", overflow="fold")
    found = survey.cells
    for cell in found[:most]:
        run = cell.best.task.folder.removeprefix(f"{cell.cell}-").rpartition("-")[0] if cell.best else ""
        metric = f"{cell.best.metric} {_value(cell.best)}" if cell.best else ""
        cells.add_row(Text(cell.cell), f"{cell.done} of {cell.runs}", metric, Text(run))
    more = [Text(f"and {len(found) - most} more cells")] if len(found) > most else []
    wrong = survey.of("failed", "diverged", "damaged")
    lines = [Text(_running(run)) for run in running[:MOST_RUNS]]
    lines += [Text(f"{run.task.folder}: {_ended(run)}") for run in wrong[:MOST_RUNS]]
    return Group(head, *lines, cells, *more)
