"""A skill profile: what are models better and worse at than references, and what is open?

All are trained alike, with three seeds. Then pairs of a model and a reference that are open get further seeds, looked
at after each. So that many looks err no more often together, each has a part of the error (`LOOKS`, 5% in all for each
skill), and a lead has to be plainer than after one look (`APART`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from canonlab.results.cells import Cell, cells
from canonlab.results.decide import Decision, Rule, Side
from canonlab.results.groups import Section
from canonlab.results.words import NOTHING, enumeration, metric_label, si

LOOKS = {3: 0.02, 4: 0.01, 5: 0.01, 6: 0.005, 8: 0.005}
"""Seeds -> the part of the error that the look at so many has."""

APART = 1.5
"""See `results.decide.APART`."""

Name = tuple[str, str]
"""A model in a user's words, and its Canon set."""


@dataclass(frozen=True)
class Pair:
    """A model against a reference on one skill: `decision` is that of the last look that was made, or of the first one
    that decided; `seeds` are those of that look. Its difference is turned so that more is better for the model."""

    model: Cell
    reference: Cell
    decision: Decision | None
    seeds: int

    @property
    def open(self) -> bool:
        """Whether more seeds may decide it."""
        return self.decision is None or not self.decision.decided

    @property
    def verdict(self) -> str:
        """Whether the model is better or worse, or that is open."""
        if self.decision is None or self.open:
            return "open"
        return "better" if self.decision.difference > 0 else "worse"


def pairs(section: Section, models: Sequence[Cell], references: Sequence[Cell]) -> list[Pair]:
    """All pairs of a model and a reference in a section, after the looks that their seeds allow."""
    everyone, chosen = [cell for cell in cells(section) if cell.spread], len(models) * len(references)
    rules = {
        count: Rule(tuple(_first(cell, count) for cell in everyone), chosen, level, APART)
        for count, level in LOOKS.items()
    }
    return [_looked(rules, model, reference) for model in models for reference in references]


def _looked(rules: Mapping[int, Rule], model: Cell, reference: Cell) -> Pair:
    found, seeds = None, 0
    for count, rule in rules.items():
        one, other = (_first(cell, count) for cell in (model, reference))
        if min(len(one), len(other)) < count:
            break
        decision = rule.pair(one, other)
        found, seeds = decision.reversed if decision and model.sign < 0 else decision, count
        if found and found.decided:
            break
    return Pair(model, reference, found, seeds)


def _first(cell: Cell, seeds: int) -> Side:
    """The values of a cell's seeds below `seeds`."""
    return {seed: value for seed, value in cell.values(cell.metric).items() if seed < seeds}


@dataclass(frozen=True)
class Skill:
    """What was found of one skill: the cell of each architecture that has a finished run, and the pairs."""

    name: str
    section: Section
    cells: Mapping[Name, Cell]
    pairs: Sequence[Pair]

    @property
    def metric(self) -> str:
        """What is compared."""
        return self.section.headline[0]

    def of(self, model: Cell, verdict: str) -> list[Pair]:
        """A model's pairs with a verdict: better, worse or open."""
        return [pair for pair in self.pairs if pair.model is model and pair.verdict == verdict]


@dataclass(frozen=True)
class Profile:
    """Models beside references, skill by skill."""

    models: Sequence[Name]
    references: Sequence[Name]
    skills: Sequence[Skill]
    notes: Sequence[str] = ()
    """Whatever a reader has to know besides."""

    @property
    def pairs(self) -> list[Pair]:
        """All pairs."""
        return [pair for skill in self.skills for pair in skill.pairs]

    @property
    def decided(self) -> int:
        """How many of them are."""
        return sum(not pair.open for pair in self.pairs)

    @property
    def verdict(self) -> str:
        """How many, in words."""
        return f"{self.decided} of {len(self.pairs)} pairs decided"


def skill(
    name: str, section: Section, named: Mapping[Name, Cell], models: Sequence[Name], others: Sequence[Name]
) -> Skill:
    """The skill that a section is about; its pairs are of models and others that have a cell there."""
    sides = [[named[each] for each in group if each in named] for group in (models, others)]
    return Skill(name, section, named, pairs(section, *sides))


def rows(profile: Profile) -> list[dict[str, Any]]:
    """For a table, one for each skill and model."""
    found = []
    for skill in profile.skills:
        rivals = [skill.cells[name] for name in profile.references if name in skill.cells]
        for cell in (skill.cells[name] for name in profile.models if name in skill.cells):
            found.append(
                {
                    "skill": skill.name,
                    "model": cell.architecture,
                    "value": value(cell),
                    "place": f"{place(cell, rivals)} of {1 + len(rivals)}",
                    "better than": len(skill.of(cell, "better")),
                    "worse than": len(skill.of(cell, "worse")),
                    "open": len(skill.of(cell, "open")),
                    "parameters": si(cell.parameters or math.nan),
                }
            )
    return found


def sentences(profile: Profile) -> list[str]:
    """What is decided of each model, skill by skill."""
    found = []
    for skill in profile.skills:
        for cell in (skill.cells[name] for name in profile.models if name in skill.cells):
            told = [
                f"{verdict} than {enumeration([pair.reference.architecture for pair in its])}"
                for verdict in ("better", "worse")
                if (its := skill.of(cell, verdict))
            ]
            open_ones = len(skill.of(cell, "open"))
            rest = [f"open against {open_ones}"] if open_ones else []
            if told or rest:  # no reference has a finished run otherwise
                found.append(f"{skill.name}: {cell.architecture} is {'; '.join([*told, *rest])}")
    return found


def differences(profile: Profile) -> list[dict[str, Any]]:
    """Every pair as plain data."""
    return [
        {
            "skill": skill.name,
            "model": pair.model.architecture,
            "reference": pair.reference.architecture,
            "verdict": pair.verdict,
            "difference": pair.decision.difference if pair.decision else None,
            "low": pair.decision.low if pair.decision else None,
            "high": pair.decision.high if pair.decision else None,
            "seeds": pair.seeds,
        }
        for skill in profile.skills
        for pair in skill.pairs
    ]


def place(model: Cell, references: Sequence[Cell]) -> int:
    """Where a model stands among the references by its mean, 1 for the best."""
    mine = mean(model)
    return 1 + sum(mean(reference) > mine for reference in references)


def mean(cell: Cell) -> float:
    """Over seeds, turned so that more is better."""
    return cell.sign * cell.spread.mean if cell.spread else float("-inf")


def value(cell: Cell) -> str:
    """The mean with its metric, for people."""
    return f"{cell.spread.mean:.3g} {metric_label(cell.metric)}" if cell.spread else NOTHING
