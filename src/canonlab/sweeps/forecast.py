"""What the runs of a recipe take, how far they are, and what they will be able to decide: before any of them starts."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from canonlab.models.cost import PASSES, Cost, cost
from canonlab.results.cells import Cell, cells
from canonlab.results.compare import DECIDING, LEVEL, seeds_for
from canonlab.results.groups import sections
from canonlab.results.load import Curves, Run
from canonlab.training.parts import DONE, TO_DO, state
from canonlab.training.plan import Plan
from canonlab.training.record import Record
from canonlab.training.run import as_known, known_runs


class Work(NamedTuple):
    """Runs, the tokens that they train on, and the FLOPs that this takes, forward and backward, in all."""

    runs: int
    tokens: int
    flops: int


@dataclass(frozen=True)
class Comparisons:
    """Groups of cells that are alike in what the seeds asked for can decide.

    Cells of a group are what a report compares: models on one task, of one size, trained in one way. `decidable` of the
    `pairs` in each group have seeds enough to decide a plain difference, and as many learning rates. One that is within
    the gaps between seeds, as where runs learn or don't, takes `needed` seeds in common: see `results.decide`.
    """

    groups: int
    models: int
    rates: tuple[int, int]
    """Fewest and most of a model."""
    seeds: tuple[int, int]
    """Fewest and most of a model at a learning rate."""
    needed: int
    pairs: int
    decidable: int


@dataclass(frozen=True)
class Forecast:
    """All that can be said of a recipe's runs before they start."""

    states: dict[str, int]
    """How many runs are done, interrupted, ..., or still to do."""
    all: Work
    left: Work
    """What isn't done yet, interrupted runs counted fully."""
    parameters: tuple[int, int]
    """Of the smallest and the largest model."""
    comparisons: list[Comparisons]

    @property
    def seeds_for_all(self) -> int | None:
        """How many seeds of everything it takes to decide all plain differences; None where they are enough."""
        return DECIDING if any(each.seeds[0] < DECIDING for each in self.comparisons) else None

    @property
    def seeds_within_gaps(self) -> int | None:
        """How many it takes to decide all others as well; None where they are enough."""
        return max((each.needed for each in self.comparisons if each.seeds[0] < each.needed), default=None)

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return {**dataclasses.asdict(self), "all": self.all._asdict(), "left": self.left._asdict()}


def states(plans: Iterable[Plan], parent: Path) -> list[str]:
    """What has become of each run below `parent`. Reads only."""
    known = known_runs(parent)
    folders = (known.get(as_known(plan, known).identity) for plan in plans)
    return [TO_DO if folder is None else state(folder) for folder in folders]


def forecast(plans: Sequence[Plan], costs: Sequence[Cost], states: Sequence[str]) -> Forecast:
    """What runs take and can decide, given their models' costs and what has become of each so far (`DONE` or else)."""
    left = [each for each, state in zip(zip(plans, costs, strict=True), states, strict=True) if state != DONE]
    parameters = [each.parameters for each in costs]
    return Forecast(
        dict(Counter(states)),
        _work(zip(plans, costs, strict=True)),
        _work(left),
        (min(parameters), max(parameters)),
        _comparisons(plans),
    )


def costs_of(plans: Sequence[Plan]) -> list[Cost]:
    """What the model of each plan costs; most plans have a model that others have as well."""
    keys = [repr((plan.decoder, plan.task.context)) for plan in plans]
    one_of_each = dict(zip(keys, plans, strict=True))
    found = {key: cost(p.decoder, p.task.context, p.backend.device) for key, p in one_of_each.items()}
    return [found[key] for key in keys]


def training_flops(plan: Plan, found: Cost) -> int:
    """The FLOPs that a run trains with, given the cost of its model."""
    return PASSES * found.flops_per_token * tokens_of(plan)


def tokens_of(plan: Plan) -> int:
    """The tokens that a run trains on."""
    return plan.steps * plan.config.training.batch * plan.task.context


def _work(runs: Iterable[tuple[Plan, Cost]]) -> Work:
    of_each = [(1, tokens_of(plan), training_flops(plan, found)) for plan, found in runs]
    return Work(*(sum(each) for each in zip(*of_each, strict=True))) if of_each else Work(0, 0, 0)


def _comparisons(plans: Sequence[Plan]) -> list[Comparisons]:
    """By the rules of the report: its sections, cells and terms, of runs without a result."""
    groups: dict[Any, list[Cell]] = {}
    for number, section in enumerate(sections([_unstarted(plan) for plan in plans])):
        for cell in cells(section):
            groups.setdefault((number, cell.terms), []).append(cell)
    alike = Counter(_group(group) for group in groups.values() if len(group) > 1)
    found = [dataclasses.replace(group, groups=many) for group, many in alike.items()]
    return sorted(found, key=lambda each: (each.models, each.seeds, each.rates))


def _group(group: Sequence[Cell]) -> Comparisons:
    pairs = math.comb(len(group), 2)
    needed = seeds_for(LEVEL / pairs)
    rates = [len(cell.by_rate) for cell in group]
    seeds = [[{run.seed for run in row.runs} for row in cell.by_rate] for cell in group]
    common = [set.intersection(*of_rates) for of_rates in seeds]  # any of the rates may turn out to be the best
    decidable = sum(
        rates[one] == rates[other] and min(len(common[one]), len(common[other])) >= DECIDING
        for one, other in combinations(range(len(group)), 2)
    )
    numbers = [len(of_rate) for of_rates in seeds for of_rate in of_rates]
    return Comparisons(1, len(group), (min(rates), max(rates)), (min(numbers), max(numbers)), needed, pairs, decidable)


def _unstarted(plan: Plan) -> Run:
    """The run of a plan as a report would load it."""
    asked: Mapping[str, Any] = dataclasses.asdict(plan.asked)
    record = Record(
        plan.identity,
        plan.identity,
        plan.name,
        dict(asked),
        {},
        plan.content,
        plan.measuring,
        plan.machine,
        plan.task.difficulty_parameter,
    )
    return Run(Path(plan.name), record, Curves(), None)
