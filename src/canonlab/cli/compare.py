"""The command for a mixer's inventor: what is it good at, beside eight references?"""

import dataclasses
import re
import shlex
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from canonlab import reports
from canonlab.cli import console, terminal
from canonlab.cli.arguments import Json, option
from canonlab.cli.results import write_report
from canonlab.cli.sweeps import make
from canonlab.errors import InputError, require_integer
from canonlab.models.config import ModelConfig
from canonlab.models.cost import parameters
from canonlab.results.cells import cells
from canonlab.results.groups import sections
from canonlab.results.load import load_runs
from canonlab.results.profile import LOOKS, Profile, Skill, differences, rows, sentences, skill
from canonlab.results.summary import finite
from canonlab.sweeps.engines import Crew
from canonlab.sweeps.prepare import prepare
from canonlab.sweeps.shipped import unpack
from canonlab.sweeps.status import Observer
from canonlab.sweeps.suite import REFERENCES, SKILLS, Architecture, matched, more_seeds, suite
from canonlab.tasks.base import MAX_WINDOWS
from canonlab.training.config import RunConfig
from canonlab.training.plan import plan_runs

UNITS = {"s": 1, "m": 60, "h": 3600}

CERTAIN = 0.95
"""The part of a budget that is given out: how long runs take is an estimate, and pages are to be written."""

DEMO, SHOWN = ("depo", "brevo"), (("gla", "none"), ("gla", "AbCD"))
"""The skills of the demo, and what it shows beside the first references."""


def compare(
    models: Annotated[
        Positional[tuple[str, ...]],
        arg(metavar="MODEL...", help="path.py:Class, or a preset.", help_behavior_hint="(required)"),
    ],
    skills: Annotated[tuple[Literal[*SKILLS], ...], arg(help="Of the suite; by default all.")] = SKILLS,  # type: ignore[valid-type]
    canon: Annotated[
        tuple[str, ...], option("SET ...", "Canon sets of the models; by default without and with all points.")
    ] = (),
    budget: Annotated[
        str, option("TIME", "For all; what three seeds leave of it goes to further ones where pairs are open: 10m.")
    ] = "0m",
    references: Annotated[
        Literal["trained", "shipped"],
        arg(help="Train the references here, or take measurements that come with canonlab."),
    ] = "trained",
    baseline: Annotated[
        str, option("M", "Decide between the models and this architecture alone, such as gdn or gla/AbCD.")
    ] = "",
    match_params: Annotated[
        FlagCreatePairsOff[bool],
        arg(help="Give the models MLPs with which they have as many parameters as llama-rope."),
    ] = False,
    out: Annotated[Path, arg(help="Folder of the runs, also those of earlier comparisons.")] = Path("runs/compare"),
    as_json: Json = False,
) -> None:
    """Train models and eight references on the miniatures, and say what each is better and worse at.

    Interrupted, start it again. With one more model, only that one trains.
    """
    if not models:
        raise InputError("name a model: path.py:Class, or a preset such as gdn")
    seconds = _seconds(budget)
    mine = [each for model in models for each in _variants(model, canon)]
    mine = [matched(each) for each in mine] if match_params else mine
    known = {(each.model, each.canon) for each in mine}
    others = [Architecture(*each) for each in REFERENCES if each not in known]
    against = others
    if baseline:
        against = [_baseline(baseline, known)]
        others = list(dict.fromkeys([*others, *against]))
    began = time.monotonic()
    runs = suite(skills, [*mine, *others], min(LOOKS))
    notes = []
    if references == "shipped":
        plan_runs(runs)  # what is wrong with a model is said before anything is written
        notes = [unpack(out)]
    found = profile(runs, out, skills, mine, others, against)
    for count in list(LOOKS)[1:]:
        took = time.monotonic() - began
        more = _in_time(found, runs, [*mine, *others], count, CERTAIN * seconds - took, took)
        if not more:
            break
        runs += more
        found = profile(runs, out, skills, mine, others, against)
    show(dataclasses.replace(found, notes=notes), out, as_json)


def demo(
    out: Annotated[Path, arg(help="Folder of the runs.")] = Path("runs/demo"),
    steps: Annotated[int | None, arg(help="Fewer steps than the recipes', for a quick look.")] = None,
    as_json: Json = False,
) -> None:
    """A skill profile in small: linear attention beside attention, with and without Canon layers, on two skills."""
    if steps is not None:
        require_integer("steps", steps, 2, MAX_WINDOWS)  # an evaluation in the middle, and one at the end
    mine, references = ([Architecture(*each) for each in group] for group in (SHOWN, REFERENCES[:2]))
    runs = suite(DEMO, [*mine, *references], min(LOOKS))
    if steps is not None:
        runs = [
            dataclasses.replace(run, training=dataclasses.replace(run.training, steps=steps, eval_every=steps // 2))
            for run in runs
        ]
    show(profile(runs, out, DEMO, mine, references), out, as_json)


def _seconds(budget: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])", budget.strip())
    if match is None:
        raise InputError(f"budget = {budget!r}: must be a time, such as 90s, 10m or 2h")
    return float(match[1]) * UNITS[match[2]]


def _variants(model: str, canon: Sequence[str]) -> list[Architecture]:
    """A model without Canon layers, but with its own convolution if it has one, and with all that it can have."""
    if canon:
        return [Architecture(model, points) for points in canon]
    return [Architecture(model, points) for points in dict.fromkeys((_plain(model), _all(model)))]


def _baseline(name: str, models: Collection[tuple[str, str]]) -> Architecture:
    """The architecture of that name: a model, and after a slash its Canon set, if it isn't the plain one."""
    model, _, points = name.partition("/")
    chosen = Architecture(model, points or _plain(model))
    if chosen[:2] in models:
        raise InputError(f"baseline = {name!r}: is one of the models that are compared with it")
    return chosen


def _plain(model: str) -> str:
    return "b" if _fits(model, "b") else "none"


def _all(model: str) -> str:
    return next((points for points in ("AbCD", "ABCD", "ACD", "AC", "A") if _fits(model, points)), "none")


def _fits(model: str, points: str) -> bool:
    """Whether a model can have these Canon points; what else is wrong with it is said when its runs are planned."""
    try:
        parameters(ModelConfig(model, "1L64D4H", points).decoder(8))
    except InputError:
        return False
    return True


def profile(
    runs: Sequence[RunConfig],
    out: Path,
    skills: Sequence[str],
    mine: Sequence[Architecture],
    references: Sequence[Architecture],
    against: Sequence[Architecture] | None = None,
) -> Profile:
    """Make the runs that aren't made, and look at all, at pairs with references that are `against` or all."""
    prepared = prepare(runs, out, "compare", shlex.join(["canonlab", *sys.argv[1:]]))
    make(prepared, "local", Crew())
    for run in Observer(out).survey().of("failed", "diverged", "damaged"):
        terminal.warn(f"{out / run.task.folder} {run.state}: {run.reason}")
    asked = {(run.task.name, repr(run.task.set)): skill for skill in skills for run in suite([skill], [mine[0]], 1)}
    owners = {
        entry.folder: (asked[run.task.name, repr(run.task.set)], (run.model.model, run.model.canon))
        for entry, run in zip(prepared.worklist.entries, runs, strict=True)
    }
    loaded = [run for run in load_runs([out]) if run.folder.name in owners]
    against = references if against is None else against
    models, others, rivals = ([(each.model, each.canon) for each in group] for group in (mine, references, against))
    found = []
    for name in skills:
        of_skill = [run for run in loaded if owners[run.folder.name][0] == name]
        for section in sections(of_skill) if of_skill else []:
            its = {owners[cell.rows[0].runs[0].folder.name][1]: cell for cell in cells(section) if cell.spread}
            found.append(skill(name, section, its, models, rivals))
    return Profile(models, others, found)


def _in_time(
    found: Profile,
    runs: Sequence[RunConfig],
    architectures: Sequence[Architecture],
    count: int,
    left: float,
    took: float,
) -> list[RunConfig]:
    """The runs that the look at `count` seeds takes besides those that `took` so many seconds, on the skills that are
    done with it in the time `left`, those of the shortest runs first."""
    lasts = {each.name: _seconds_of_a_run(each) for each in found.skills}
    # how long one second of a run keeps the machine, which makes several at once
    pace = took * len(lasts) / max(1e-9, len(runs) * sum(lasts.values()))
    made, more = {repr(run) for run in runs}, []
    for each in sorted(found.skills, key=lambda each: lasts[each.name]):
        pairs = _open(each, architectures)
        new = [run for run in more_seeds({each.name: pairs}, count) if repr(run) not in made]
        if (time_of := pace * lasts[each.name] * len(new)) <= left:
            more += new
            left -= time_of
    return more


def _seconds_of_a_run(skill: Skill) -> float:
    """The mean over architectures."""
    costs = [cell.best.cost("seconds") or 0.0 for cell in skill.cells.values() if cell.best]
    return sum(costs) / max(1, len(costs))


def _open(skill: Skill, architectures: Sequence[Architecture]) -> list[tuple[Architecture, Architecture]]:
    """The open pairs of a skill, by their architectures."""
    whole = {(each.model, each.canon): each for each in architectures}
    names = {id(cell): whole[name] for name, cell in skill.cells.items()}
    return [(names[id(pair.model)], names[id(pair.reference)]) for pair in skill.pairs if pair.open]


def show(found: Profile, out: Path, as_json: bool) -> None:
    """The profile as a table and in sentences, and as a page beside that of all its runs."""
    write_report((out,), out / "report.html", as_json, quiet=True)
    page = reports.write_profile(found, out / "profile.html", link="report.html")
    reports.write_strip(found, out / "profile.svg")
    if as_json:
        told = {"profile": rows(found), "sentences": sentences(found), "differences": differences(found)}
        counts = {"decided": found.decided, "pairs": len(found.pairs)}
        terminal.print_json(finite({**told, **counts, "notes": found.notes, "page": str(page)}))
        return
    console.print_rows(rows(found))
    for line in [*sentences(found), *found.notes, found.verdict, f"profile: {page.resolve()}"]:
        terminal.say(line)
