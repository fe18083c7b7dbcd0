"""Commands for who designs experiments: do settings tell architectures apart, and never an architecture from itself?"""

from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from canonlab.cli import console, terminal
from canonlab.cli.arguments import Json
from canonlab.cli.results import load
from canonlab.results.groups import sections
from canonlab.results.null import nulls
from canonlab.results.profile import APART, LOOKS
from canonlab.results.signal import as_row, signals
from canonlab.results.words import metric_label, settings_text

Runs = Annotated[Positional[tuple[Path, ...]], arg(metavar="RUNS...", help="Run folders, or folders that hold some.")]


def signal(
    runs: Runs,
    metric: Annotated[
        str, arg(help="Instead of the metric that the runs are compared by; area_loss for the loss over training.")
    ] = "",
    as_json: Json = False,
) -> None:
    """How plainly do settings tell architectures apart? The spread between these over that between seeds.

    Choose the settings of a small experiment by it, on seeds and architectures that you don't report on.
    """
    rows = [as_row(each) for each in signals(sections(load(runs)[0]), metric)]
    _print(rows, "no settings here have two architectures or more, with two finished seeds of each", as_json)


def null(runs: Runs, as_json: Json = False) -> None:
    """How often is an architecture told from itself? From runs of many seeds, two sets of which are drawn."""
    rows = [
        {
            "task": f"{each.section.task['name']} {settings_text(each.section.parameters)}",
            "architecture": each.cell.architecture,
            "metric": metric_label(each.cell.metric),
            "seeds": each.seeds,
            "decided at 3 seeds": f"{each.once:.1%}",
            "by looks as of compare": "-" if each.looks is None else f"{each.looks:.1%}",
        }
        for each in nulls(sections(load(runs)[0]), LOOKS, APART)
    ]
    _print(rows, "no architecture here has six finished seeds or more", as_json)


def _print(rows: list[dict[str, Any]], nothing: str, as_json: bool) -> None:
    """Print rows, or what to say where there are none."""
    if as_json:
        terminal.print_json(rows)
    elif not rows:
        terminal.say(nothing)
    else:
        console.print_rows(rows)
