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
from canonlab.results.knowledge import ALONE, KINDS, SCALED, SCHEDULE, WORDS, text, useful

KNOWLEDGE = "knowledge"
"""The tasks about people together, as a subject."""


def subjects(task: Mapping[str, Any]) -> tuple[str, ...]:
    """What contrasts may call the task of a section; a mixture counts as knowledge alone."""
    name = str(useful(task)["name"])
    known = (KNOWLEDGE,) if name in KINDS else ()
    return known if task["name"] == "mixture" else (name, *known)


@dataclass(frozen=True)
class Knowledge(Architecture):
    """An architecture after so many exposures of people in a text.

    `peak`: at the size, number of people, batch and rate at which its bits per parameter are most, as the published
    peaks are; else at each size and number of people.
    """

    exposures: int = 100
    text: str = ALONE
    peak: bool = False

    @property
    def at_its_best(self) -> bool:
        return self.peak

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
