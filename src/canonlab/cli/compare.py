"""The command for a mixer's inventor: what is it good at, beside eight references?"""

import math
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from tyro.conf import FlagCreatePairsOff, Positional, arg

from canonlab.cli import console, terminal
from canonlab.cli.arguments import Json, option
from canonlab.cli.results import write_report
from canonlab.cli.sweeps import make
from canonlab.errors import InputError
from canonlab.models.config import ModelConfig
from canonlab.models.cost import parameters
from canonlab.results.cells import Cell, cells
from canonlab.results.groups import Section, sections
from canonlab.results.load import load_runs
from canonlab.results.words import metric_label, si
from canonlab.sweeps.engines import Crew
from canonlab.sweeps.prepare import prepare
from canonlab.sweeps.status import Observer
from canonlab.sweeps.suite import (
    LOOKS,
    REFERENCES,
    SKILLS,
    Architecture,
    Pair,
    matched,
    more_seeds,
    pairs,
    place,
    suite,
)
from canonlab.training.config import RunConfig

UNITS = {"s": 1, "m": 60, "h": 3600}


class Skill(NamedTuple):
    """What was found of one skill: its section, the cell of each architecture, and the pairs."""

    name: str
    section: Section
    cells: Mapping[Architecture, Cell]
    pairs: list[Pair]


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
    references = [Architecture(*each) for each in REFERENCES if each not in known]
    began = time.monotonic()
    runs = suite(skills, [*mine, *references], min(LOOKS))
    found = _made(runs, out, skills, mine, references)
    for count in list(LOOKS)[1:]:
        open_pairs = {skill.name: named for skill in found if (named := _open(skill, [*mine, *references]))}
        if not open_pairs or time.monotonic() - began > seconds:
            break
        runs = list({repr(run): run for run in [*runs, *more_seeds(open_pairs, count)]}.values())
        found = _made(runs, out, skills, mine, references)
    write_report((out,), out / "report.html", as_json, quiet=True)
    _print(found, mine, references, as_json)


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


def _made(
    runs: Sequence[RunConfig],
    out: Path,
    skills: Sequence[str],
    mine: Sequence[Architecture],
    references: Sequence[Architecture],
) -> list[Skill]:
    """Make runs that aren't made, and look at all of them."""
    prepared = prepare(runs, out, "compare", shlex.join(["canonlab", *sys.argv[1:]]))
    make(prepared, "local", Crew())
    for run in Observer(out).survey().of("failed", "diverged", "damaged"):
        terminal.warn(f"{out / run.task.folder} {run.state}: {run.reason}")
    asked = {(run.task.name, repr(run.task.set)): skill for skill in skills for run in suite([skill], [mine[0]], 1)}
    owners = {
        entry.folder: (asked[run.task.name, repr(run.task.set)], Architecture(run.model.model, run.model.canon))
        for entry, run in zip(prepared.worklist.entries, runs, strict=True)
    }
    loaded = [run for run in load_runs([out]) if run.folder.name in owners]
    by_skill = {skill: [run for run in loaded if owners[run.folder.name][0] == skill] for skill in skills}
    found = []
    for skill, of_skill in by_skill.items():
        for section in sections(of_skill) if of_skill else []:
            its = {owners[cell.rows[0].runs[0].folder.name][1]: cell for cell in cells(section) if cell.spread}
            sides = [[its[each] for each in group if each in its] for group in _plainly(mine, references)]
            found.append(Skill(skill, section, its, pairs(section, *sides)))
    return found


def _plainly(*groups: Sequence[Architecture]) -> list[list[Architecture]]:
    """Architectures by their words alone."""
    return [[each._replace(mlp_ratio=0.0) for each in group] for group in groups]


def _open(skill: Skill, architectures: Sequence[Architecture]) -> list[tuple[Architecture, Architecture]]:
    """The open pairs of a skill, by their architectures."""
    whole = {each._replace(mlp_ratio=0.0): each for each in architectures}
    names = {id(cell): whole[architecture] for architecture, cell in skill.cells.items()}
    return [(names[id(pair.model)], names[id(pair.reference)]) for pair in skill.pairs if pair.open]


def _print(
    found: Sequence[Skill], mine: Sequence[Architecture], references: Sequence[Architecture], as_json: bool
) -> None:
    """The skill profile."""
    models, others = _plainly(mine, references)
    rows: list[dict[str, Any]] = []
    sentences = []
    for skill in found:
        for model in (each for each in models if each in skill.cells):
            cell = skill.cells[model]
            rivals = [skill.cells[each] for each in others if each in skill.cells]
            its = [pair for pair in skill.pairs if pair.model is cell]
            better, worse = ([pair for pair in its if not pair.open and sign * _lead(pair) > 0] for sign in (1, -1))
            rows.append(
                {
                    "skill": skill.name,
                    "model": cell.architecture,
                    "value": _value(cell),
                    "place": f"{place(cell, rivals)} of {1 + len(rivals)}",
                    "better than": len(better),
                    "worse than": len(worse),
                    "open": sum(pair.open for pair in its),
                    "parameters": si(cell.parameters or math.nan),
                }
            )
            sentences += [_sentence(skill, pair) for pair in its]
    decided = sum(not pair.open for skill in found for pair in skill.pairs)
    total = sum(len(skill.pairs) for skill in found)
    if as_json:
        terminal.print_json({"profile": rows, "sentences": sentences, "decided": decided, "pairs": total})
        return
    console.print_rows(rows)
    for line in sentences:
        terminal.say(line)
    terminal.say(f"{decided} of {total} pairs decided")


def _value(cell: Cell) -> str:
    return f"{cell.spread.mean:.3g} {metric_label(cell.metric)}" if cell.spread else "-"


def _lead(pair: Pair) -> float:
    return pair.decision.difference if pair.decision else 0.0


def _sentence(skill: Skill, pair: Pair) -> str:
    names = f"{skill.name}: {pair.model.architecture} against {pair.reference.architecture}"
    found = pair.decision
    if found is None:
        return f"{names}: too few seeds"
    word = "open" if pair.open else "better" if found.difference > 0 else "worse"
    return f"{names}: {word}, by {found.difference:+.3g} ({found.low:+.3g} to {found.high:+.3g}, {pair.seeds} seeds)"
