"""Commands about results: the report, the published claims, and measurements of this machine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from canonlab import benchmarks, reports
from canonlab import claims as published
from canonlab.claims import table as claims_table
from canonlab.cli import console, terminal
from canonlab.cli.arguments import Json, option, require_outputs
from canonlab.errors import InputError, unknown
from canonlab.results.agreement import agreements
from canonlab.results.groups import sections
from canonlab.results.load import Run, load_runs
from canonlab.results.summary import summary
from canonlab.results.words import metric_label, settings_text
from canonlab.sweeps.status import not_among
from canonlab.training.backend import environment


def report(
    runs: Annotated[
        Positional[tuple[Path, ...]],
        arg(metavar="RUNS...", help="Run folders, or folders that hold some.", help_behavior_hint="(required)"),
    ],
    out: Annotated[Path | None, arg(help="The page; by default report.html in the first folder named.")] = None,
    csv: Annotated[Path | None, arg(help="Also a CSV file, a line for each metric of each run.")] = None,
    latex: Annotated[Path | None, arg(help="Also LaTeX tables (booktabs), one a task.")] = None,
    figures: Annotated[Path | None, arg(help="Also figures as PDF and PNG, into this folder.")] = None,
    baseline: Annotated[
        str, arg(metavar="MODEL[/CANON]", help="Compare others with this one alone, such as gdn or gdn/AbCD.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Compare runs: a table here, and one self-contained HTML page."""
    if not runs:
        raise InputError("name the run folders to report on, or a folder that holds some")
    page = out or runs[0] / "report.html"
    require_outputs({"out": page, "csv": csv, "latex": latex}, figures)
    if figures:
        reports.require_figures()  # before there is anything to wait for
    loaded = write_report(runs, page, as_json, baseline)
    if csv:
        reports.write_csv(loaded, csv)
    if latex:
        reports.write_latex(loaded, latex)
    if figures:
        reports.write_figures(loaded, figures)


def claims(
    runs: Annotated[
        Positional[tuple[Path, ...]], arg(metavar="[RUNS...]", help="Run folders, or folders that hold some.")
    ] = (),
    as_json: Json = False,
) -> None:
    """The published findings: which recipes test them and, given runs, whether each holds, fails or is not decided."""
    found = published.judge(published.CLAIMS, sections(load(runs)[0]) if runs else [])
    if as_json:
        terminal.print_json(published.summary(found))
    else:
        console.print_tables(claims_table.terminal(found, ran=bool(runs)))


def agreement(
    runs: Annotated[
        Positional[tuple[Path, ...]], arg(metavar="RUNS...", help="Run folders, or folders that hold some.")
    ],
    without: Annotated[
        tuple[str, ...],
        option("MODEL[/CANON] ...", "Architectures to leave out, such as those that settings were chosen on."),
    ] = (),
    as_json: Json = False,
) -> None:
    """Do small models order architectures as the paper's do? Kendall's tau for each skill, with an interval."""
    found = agreements(sections(load(runs)[0]), without)
    rows = [
        {
            "task": f"{each.section.task['name']} {settings_text(each.section.parameters)}",
            "size": each.size,
            "metric": metric_label(each.section.headline[0]),
            "published": each.panel,
            "architectures": len(each.architectures),
            "tau": round(each.tau, 2),
            "95% interval": f"{each.low:.2f} to {each.high:.2f}",
            "decided otherwise": f"{len(each.otherwise)} of {each.decided}",
            "10 points apart in the paper": f"{each.plain}: {each.as_published} as there, {each.plainly_otherwise} not",
        }
        for each in found
    ]
    if as_json:
        details = [{"order": each.architectures, "otherwise": each.otherwise} for each in found]
        terminal.print_json([row | more for row, more in zip(rows, details, strict=True)])
    elif not rows:
        terminal.say("no task here has three architectures or more, finished, that the paper has a whole panel of")
    else:
        console.print_rows(rows)
        for each in found:
            for better, worse in each.otherwise:
                terminal.say(
                    f"{each.section.task['name']}: {better} is better than {worse} here, and worse in the paper"
                )


def bench(
    what: Annotated[Positional[str], arg(metavar="|".join(benchmarks.BENCHMARKS), help="What to measure.")],
    as_json: Json = False,
) -> None:
    """Measure speed on this machine: from the generators to the report; or simulate how often verdicts are right."""
    if what not in benchmarks.BENCHMARKS:
        raise unknown("benchmark", what, benchmarks.BENCHMARKS)
    tables = benchmarks.BENCHMARKS[what]()
    if as_json:
        terminal.print_json({"environment": environment("cpu"), "tables": tables})
        return
    for title, rows in tables.items():
        print()
        terminal.say(title)
        console.print_rows(rows)


def write_report(
    paths: Sequence[Path], page: Path, as_json: bool, baseline: str = "", quiet: bool = False
) -> list[Run]:
    """Print the table of some runs, unless that is to be `quiet`, and write their page: in this order, as the page may
    have no place to be."""
    runs, left_out = load(paths)
    failure: InputError | None = None
    if not as_json and not quiet:
        console.print_tables(reports.terminal_tables(runs, baseline))
    try:
        reports.write_page(runs, page, left_out, baseline)
    except InputError as error:
        failure = error
    if as_json and not quiet:
        terminal.print_json({"page": None if failure else str(page), "left_out": left_out, **summary(runs, baseline)})
    if failure:
        raise failure
    if not as_json:
        terminal.say(f"page: {page.resolve()}")
    return runs


def load(paths: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """The runs in some folders, and a line for each that can't be read, and for what is left of their sweeps, which
    are said here."""
    left_out: list[str] = []
    runs = load_runs(paths, left_out)
    left_out += not_among(run.folder for run in runs)
    for line in left_out:
        terminal.warn(line)
    return runs, left_out
