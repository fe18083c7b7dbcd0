"""Which runs are meant by "gpt2-original after 100 exposures, among junk"? Source: arXiv 2404.05405.

The findings of Part 3.3 are about how often and in which text people are read, as much as about architectures. So their
sides say that too, and are compared across tasks: people alone, and the same people in a mixture.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from canonlab.claims.architecture import Architecture, scales
from canonlab.results.cells import Cell
from canonlab.results.comparability import terms
from canonlab.results.groups import SIZE

KNOWLEDGE = "knowledge"
"""The tasks of `KINDS` together, as a subject."""

KINDS = ("capo", "biod")

ALONE, SIMPLE, JUNK, REPEATED, LABELLED = "alone", "simple", "junk", "repeated junk", "labelled, junk"
"""Texts: people alone, written anew each time or (`SIMPLE`) always alike; or in between of junk that never comes again,
of junk that does, and of the former with a token of their own before each of them (`LABELLED`)."""

WORDS = {
    ALONE: "",
    SIMPLE: "always in the same words",
    JUNK: "among junk",
    REPEATED: "among repeated junk",
    LABELLED: "among junk, with a token of their own",
}

ONCE = 1_000_000
"""Junk about as many people or more is taken to be read once."""

SCHEDULE = ("training.steps", "training.exposures", "training.lr")
"""What follows from the text and the exposures, or is each side's own."""

SCALED = (SIZE, "training.batch", "training.weight_decay")
"""What goes with the number of people, and differs between the sides where each stands with its best one."""


def useful(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """The task that a section is about, as its record has it: a mixture's first part, or itself."""
    if task["name"] != "mixture":
        return task
    part: Mapping[str, Any] = task["parameters"]["parts"][0]
    return part


def subjects(task: Mapping[str, Any]) -> tuple[str, ...]:
    """What contrasts may call the task of a section; a mixture counts as knowledge alone."""
    name = str(useful(task)["name"])
    known = (KNOWLEDGE,) if name in KINDS else ()
    return known if task["name"] == "mixture" else (name, *known)


def text(task: Mapping[str, Any]) -> str | None:
    """In which text people are read; None for one that no finding is about."""
    if task["name"] != "mixture":
        return SIMPLE if task["parameters"].get("simple") else ALONE
    first, *rest = task["parameters"]["parts"]
    if any(part["name"] not in KINDS for part in rest) or any(part["domain"] for part in rest):
        return None
    share = first["share"] / sum(part["share"] for part in task["parameters"]["parts"])
    if share != 1 / 8:
        return None
    once = all(part["parameters"]["N"] >= ONCE for part in rest)
    if first["domain"]:
        return LABELLED if once else None
    return JUNK if once else REPEATED


@dataclass(frozen=True)
class Knowledge(Architecture):
    """An architecture after so many exposures of people in a text.

    `peak`: at the size and number of people at which its bits per parameter are most; else at each of them.
    """

    exposures: int = 100
    text: str = ALONE
    peak: bool = False

    def __str__(self) -> str:
        at = "at its peak" if self.peak else ""
        return ", ".join(filter(None, [super().__str__(), f"{self.exposures} exposures", WORDS[self.text], at]))

    def matches(self, cell: Cell) -> bool:
        settings = cell.rows[0].settings
        exposed = settings.get("training.exposures") == self.exposures
        return exposed and text(cell.section.task) == self.text and self.fits(settings)

    def place(self, cell: Cell) -> str:
        settings, task = cell.rows[0].settings, useful(cell.section.task)
        parameters = {key: value for key, value in task["parameters"].items() if key != "simple"}
        apart = (*SCHEDULE, *SCALED) if self.peak else SCHEDULE
        if self.peak:
            del parameters["N"]
        shared = {key: value for key, value in terms(settings) if key not in apart}
        about = [task["name"], task["version"], sorted(parameters.items()), task["context"]]
        return repr([about, sorted(shared.items()), scales(settings)])

    def rank(self, cell: Cell) -> float:
        found = cell.spread if self.peak else None
        return found.mean if found else 0.0
