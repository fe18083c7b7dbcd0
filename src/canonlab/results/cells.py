"""Rows -> cells: one architecture at one size on one task, the best of its learning rates, all of its seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from canonlab.results.architecture import SCALES, in_words, unusual
from canonlab.results.comparability import must_share, terms
from canonlab.results.compare import DECIDING, LEVEL, Value
from canonlab.results.groups import RESOLVED, SIZE, Row, Section, Spread, is_baseline, natural
from canonlab.results.load import Run
from canonlab.results.words import setting_label, setting_text
from canonlab.tasks.metrics import Z95, Metric, lower_is_better, t_quantile

RATE = "training.lr"

SCHEDULE = ("training.exposures", "training.steps", "training.batch")
"""How long a model is trained: what tells cells of one architecture apart before all else."""


@dataclass(frozen=True, eq=False)
class Cell:
    """The rows of one model (all its settings) in one section that stand on the same terms: they differ in the rate.

    `best` is the row with the best mean of the section's main metric over its finished seeds, of those with seeds
    enough for a decision, and without a run that diverged, if there are any. The paper quotes the best run; `best_run`
    is its value.
    """

    section: Section
    rows: tuple[Row, ...]

    @property
    def model(self) -> dict[str, Any]:
        """The settings of the model by dotted key, in the user's words."""
        return {key: value for key, value in self.rows[0].settings.items() if key.startswith("model.")}

    @cached_property
    def architecture(self) -> str:
        """Model and Canon set, and whatever else of the model but its size is not as usual; scales are no part of what
        it is."""
        apart = {name: value for name, value in unusual(self.model).items() if name not in SCALES}
        return ", ".join([self.rows[0].architecture, *in_words(apart.items())])

    @property
    def size(self) -> str:
        return str(self.rows[0].settings[SIZE])

    @property
    def place(self) -> tuple[Any, str]:
        """Difficulty and size."""
        return self.section.level, self.size

    @property
    def metric(self) -> str:
        """The metric to compare by: the section's main one."""
        return self.section.headline[0] if self.section.headline else ""

    @property
    def sign(self) -> int:
        """1 where more of the metric is better, -1 where less is."""
        return -1 if lower_is_better(self.metric) else 1

    @cached_property
    def by_rate(self) -> list[Row]:
        """A row for each learning rate. Where the same rate has several, of other microbatches for example, the one
        with the most runs that ended stands for it."""
        found: dict[Any, Row] = {}
        for row in self.rows:
            known = found.setdefault(row.settings.get(RATE), row)
            if len(_ended(row)) > len(_ended(known)):
                found[row.settings.get(RATE)] = row
        return list(found.values())

    @cached_property
    def best(self) -> Row | None:
        """The row that stands for the cell; None when no finished run has the metric. A learning rate at which a run
        diverged comes after all at which none did, since the runs that are left may be the lucky ones."""
        ranked = [
            (min(spread.seeds, DECIDING), not diverged(row), self.sign * spread.mean, row)
            for row in self.by_rate
            if (spread := row.spread(self.metric))
        ]
        return max(ranked, key=lambda entry: entry[:3])[3] if ranked else None

    @property
    def steps(self) -> int:
        """How many training steps its runs take."""
        return self.rows[0].runs[0].steps

    @cached_property
    def terms(self) -> tuple[tuple[str, str], ...]:
        """The settings that cells of its section must share to be compared with it: size, training, precision."""
        return terms(self.rows[0].settings)

    @cached_property
    def spread(self) -> Spread | None:
        """The main metric of the best row over its seeds."""
        return self.best.spread(self.metric) if self.best else None

    @property
    def best_run(self) -> float | None:
        """The main metric of the best run at any rate and seed."""
        values = [value for row in self.rows for value in row.values(self.metric)]
        return max(values, key=lambda value: self.sign * value, default=None)

    @cached_property
    def tried(self) -> list[Row]:
        """The rows that count as learning rates tried: those with as many ended runs as the best one has seeds, or
        enough for a decision. A run that diverged has ended too, as badly as a rate can do."""
        least = min(self.spread.seeds, DECIDING) if self.spread else 1
        return [row for row in self.by_rate if len(_ended(row)) >= least]

    @property
    def rates(self) -> list[float]:
        """The learning rates tried, ascending."""
        return sorted({row.settings[RATE] for row in self.tried if RATE in row.settings})

    @property
    def rate(self) -> float | None:
        """The learning rate of the best row."""
        return self.best.settings.get(RATE) if self.best else None

    @property
    def at_edge(self) -> bool:
        """Whether the best of several rates is the least or the greatest, so that one beyond may be better still."""
        return len(self.rates) > 1 and self.rate in (self.rates[0], self.rates[-1])

    @property
    def parameters(self) -> float | None:
        return self.best.cost("parameters") if self.best else None

    def values(self, metric: str) -> dict[int, Value]:
        """A metric of the best row's finished seeds, with the error of its evaluation."""
        measured = self.best.measured(metric) if self.best else []
        return {run.seed: Value(found.value, _error(found), run.data) for run, found in measured}

    def lost(self, other: "Cell | None") -> list[int]:
        """The seeds at which its best row diverged and, where there is another cell, that one's did not."""
        excused = diverged(other.best) if other and other.best else []
        return [seed for seed in diverged(self.best) if seed not in excused] if self.best else []


def diverged(row: Row) -> list[int]:
    """The seeds at which a row diverged."""
    return [run.seed for run in row.runs if run.diverged is not None]


def _ended(row: Row) -> list[Run]:
    return [run for run in row.runs if run.result or run.diverged is not None]


def _error(metric: Metric) -> float:
    """The standard error of an evaluation, from its 95% interval: Wilson's of a share, Student's of a mean."""
    low, high = metric.interval or (metric.value, metric.value)
    of_a_mean = metric.right is None and metric.clusters > 1
    return (high - low) / 2 / (t_quantile(metric.clusters - 1, LEVEL) if of_a_mean else Z95)


def cells(section: Section) -> list[Cell]:
    """The cells of a section, in the order of its rows."""
    found: dict[str, list[Row]] = {}
    for row in section.rows:
        model = [(key, value) for key, value in row.settings.items() if key.startswith(("model.", RESOLVED))]
        found.setdefault(repr([sorted(model), terms(row.settings)]), []).append(row)
    return [Cell(section, tuple(rows)) for rows in found.values()]


def as_many_rates(first: Cell, second: Cell) -> bool:
    """Whether both were tried at as many learning rates. Else the one with more is likelier to come out better by
    chance: the best of three equal rates against one is "decided" in 6% of comparisons of 5 seeds."""
    return len(first.tried) == len(second.tried)


def rivals(found: Sequence[Cell]) -> list[list[Cell]]:
    """The cells with a result in groups that may be compared, smaller sizes first; in each the likely best first."""
    groups: dict[tuple[tuple[str, str], ...], list[Cell]] = {}
    for cell in sorted(found, key=lambda cell: -cell.sign * cell.spread.mean if cell.spread else 0.0):
        if cell.spread:
            groups.setdefault(cell.terms, []).append(cell)
    return sorted(groups.values(), key=lambda group: (natural(group[0].size), natural(repr(group[0].terms))))


def baseline_of(group: Sequence[Cell]) -> Cell | None:
    """The cell of a group of rivals that is the chosen baseline of its section, of several the one with fewest Canon
    points; None where there is none."""
    wanted = group[0].section.baseline
    found = [cell for cell in group if wanted and is_baseline(cell.rows[0].settings, wanted)]
    return min(found, key=_points, default=None)


def _points(cell: Cell) -> int:
    return len(str(cell.model["model.canon"]))


def pairs(group: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """The pairs of a group of rivals that are worth a sentence, the likely better first: every architecture with the
    chosen baseline; where there is none with the best one, and each Canon set of a model with the smallest of its
    sets."""
    if base := baseline_of(group):
        place = group.index(base)
        return [(cell, base) for cell in group[:place]] + [(base, cell) for cell in group[place + 1 :]]
    chosen = [(group[0], other) for other in group[1:]]
    models: dict[str, list[Cell]] = {}
    for cell in group:
        models.setdefault(str(cell.model["model.model"]), []).append(cell)
    for variants in models.values():
        least = min(variants, key=_points)
        position = variants.index(least)
        chosen += [(cell, least) for cell in variants[:position]]
        chosen += [(least, cell) for cell in variants[position + 1 :]]
    return list(dict.fromkeys(chosen))


def more_words(found: Sequence[Cell]) -> list[list[str]]:
    """For each cell what its name must say besides its architecture, such as "steps 300", where another one has the
    same architecture and place."""
    alike: dict[tuple[str, tuple[Any, str]], list[Cell]] = {}
    for cell in found:
        alike.setdefault((cell.architecture, cell.place), []).append(cell)
    keys: dict[str, list[str]] = {}
    for (architecture, _), same in alike.items():
        chosen = keys.setdefault(architecture, [])
        chosen += [key for key in telling([_traits(cell) for cell in same]) if key not in chosen]
    return [
        [f"{setting_label(key)} {setting_text(_traits(cell).get(key))}" for key in keys[cell.architecture]]
        for cell in found
    ]


def telling(traits: Sequence[Mapping[str, Any]]) -> list[str]:
    """The first keys that are enough to tell things with these traits apart."""
    chosen: list[str] = []
    classes = 1
    for key in dict.fromkeys(key for each in traits for key in each):
        if classes == len(traits):
            break
        told = len({repr([each.get(name, ()) for name in (*chosen, key)]) for each in traits})
        if told > classes:
            chosen, classes = [*chosen, key], told
    return chosen


def _traits(cell: Cell) -> dict[str, Any]:
    """All that can tell cells of one architecture and place apart, what readers know best first."""
    settings = cell.rows[0].settings
    first = {key: settings[key] for key in SCHEDULE if key in settings}
    told = {key: value for key, value in settings.items() if must_share(key)}
    last = {key: value for key, value in settings.items() if key.startswith(RESOLVED)}
    return {**first, **told, "context": cell.section.task["context"], **cell.model, **last}
