"""Rows -> cells: one architecture at one size on one task, the best of its learning rates, all of its seeds."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from canonlab.reports.compare import DECIDING, Comparison, Value, compare
from canonlab.reports.groups import RESOLVED, SIZE, Row, Section, Spread, natural
from canonlab.reports.published import DIFFICULTY, USUAL, Published, difficulty, published
from canonlab.tasks.metrics import Z95

RATE = "training.lr"
WORDS = {"canon_frozen": "frozen", "canon_residual": "no residual", "canon_activation": "SiLU"}
"""What a setting that is not the usual one makes of an architecture, for people."""

TRAINED = ("training.steps", "training.batch", "training.exposures")
"""What cells that are compared must have in common."""


@dataclass(frozen=True, eq=False)
class Cell:
    """The rows of one model (all its settings) in one section that are trained equally long, at other rates mostly.

    `best` is the row with the highest mean of the section's main metric over its finished seeds, of those with seeds
    enough for a decision if there are any. The paper quotes the best run; `best_run` is its value.
    """

    section: Section
    rows: tuple[Row, ...]

    @property
    def model(self) -> dict[str, Any]:
        """The settings of the model by dotted key, in the user's words."""
        return {key: value for key, value in self.rows[0].settings.items() if key.startswith("model.")}

    @property
    def architecture(self) -> str:
        """Model and Canon set, and whatever else of the model but its size is not as usual."""
        return ", ".join([self.rows[0].architecture, *unusual(self.model)])

    @property
    def size(self) -> str:
        return str(self.rows[0].settings[SIZE])

    @property
    def place(self) -> tuple[str, str]:
        """Difficulty and size."""
        return str(difficulty(self.section.task)), self.size

    @property
    def metric(self) -> str:
        """The metric to compare by: the section's main one."""
        return self.section.headline[0] if self.section.headline else ""

    @cached_property
    def best(self) -> Row | None:
        """None when no run is finished, or none of them has the metric."""
        spreads = [(spread, row) for row in self.rows if (spread := row.spread(self.metric))]
        ranked = [(min(spread.seeds, DECIDING), spread.mean, row) for spread, row in spreads]
        return max(ranked, key=lambda entry: entry[:2])[2] if ranked else None

    @property
    def trained(self) -> tuple[Any, ...]:
        """How long: steps, batch, exposures."""
        return tuple(self.rows[0].settings.get(key) for key in TRAINED)

    @property
    def spread(self) -> Spread | None:
        """The main metric of the best row over its seeds."""
        return self.best.spread(self.metric) if self.best else None

    @property
    def best_run(self) -> float | None:
        """The main metric of the best run at any rate and seed."""
        values = [value for row in self.rows for value in row.values(self.metric)]
        return max(values, default=None)

    @property
    def rates(self) -> list[float]:
        """All learning rates with a finished run, ascending."""
        return sorted({row.settings[RATE] for row in self.rows if row.finished and RATE in row.settings})

    @property
    def rate(self) -> float | None:
        """The learning rate of the best row."""
        return self.best.settings.get(RATE) if self.best else None

    @property
    def at_edge(self) -> bool:
        """Whether the best of several rates is the least or the greatest, so that one beyond may be better still."""
        return len(self.rates) > 1 and self.rate in (self.rates[0], self.rates[-1])

    @property
    def published(self) -> Published | None:
        """The paper's cell for the same task, model and size."""
        return published(self.section.task, self.rows[0].settings)

    @property
    def parameters(self) -> float | None:
        return self.best.cost("parameters") if self.best else None

    def values(self, metric: str) -> dict[int, Value]:
        """A metric of the best row's finished seeds, with the error of its evaluation."""
        found = {}
        for run in self.best.finished if self.best else ():
            measure = run.result.evaluation.metrics.get(metric) if run.result else None
            if measure is not None and measure.value == measure.value:
                low, high = measure.interval or (measure.value, measure.value)
                found[run.seed] = Value(measure.value, (high - low) / (2 * Z95))
        return found


def cells(section: Section) -> list[Cell]:
    """The cells of a section, in the order of its rows."""
    found: dict[str, list[Row]] = {}
    for row in section.rows:
        model = {k: v for k, v in row.settings.items() if k.startswith(("model.", RESOLVED)) or k in TRAINED}
        found.setdefault(repr(sorted(model.items(), key=lambda item: item[0])), []).append(row)
    return [Cell(section, tuple(rows)) for rows in found.values()]


def compare_cells(first: Cell, second: Cell) -> Comparison | None:
    """Their best rows, seed by seed, on the main metric; None without a common seed, or of other training lengths.

    The best rates may differ: each architecture is given its own, as in the paper.
    """
    if first.trained != second.trained:
        return None
    return compare(first.values(first.metric), second.values(second.metric))


def as_many_rates(first: Cell, second: Cell) -> bool:
    """Whether both were tried at as many learning rates. Else the one with more is likelier to come out better by
    chance: the best of three equal rates against one is "decided" in 6% of comparisons of 5 seeds."""
    return len(first.rates) == len(second.rates)


def pairs(found: Sequence[Cell]) -> Iterator[tuple[Cell, Cell]]:
    """The pairs worth a sentence, the likely better first: at each size and length of training every architecture with
    the best one, and each Canon set of a model with the smallest of its sets."""
    places: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in found:
        if cell.spread:
            places.setdefault((cell.size, *cell.trained), []).append(cell)
    for place in sorted(places, key=lambda place: [natural(part) for part in place]):
        group = sorted(places[place], key=lambda cell: -cell.spread.mean if cell.spread else 0.0)
        chosen = [(group[0], other) for other in group[1:]]
        models: dict[str, list[Cell]] = {}
        for cell in group:
            models.setdefault(str(cell.model["model.model"]), []).append(cell)
        for variants in models.values():
            least = min(variants, key=lambda cell: len(str(cell.model["model.canon"])))
            position = variants.index(least)
            chosen += [(cell, least) for cell in variants[:position]]
            chosen += [(least, cell) for cell in variants[position + 1 :]]
        yield from dict.fromkeys(chosen)


def families(found: Sequence[Section]) -> list[list[Section]]:
    """Sections that differ only in difficulty, easiest first."""
    groups: dict[str, list[Section]] = {}
    for section in found:
        task = section.task
        fixed = {k: v for k, v in task["parameters"].items() if k != DIFFICULTY.get(task["name"])}
        if DIFFICULTY.get(task["name"]) != "grammar":
            fixed["context"] = task["context"]
        key = repr([task["name"], task.get("version"), task.get("source"), sorted(fixed.items())])
        groups.setdefault(key, []).append(section)
    return [sorted(group, key=lambda section: natural(difficulty(section.task))) for group in groups.values()]


Grid = dict[str, dict[tuple[str, str], Cell]]
"""Architecture -> (difficulty, size) -> cell."""


def grid(group: Sequence[Section]) -> Grid:
    """The cells with a finished run of sections that differ only in difficulty."""
    finished = [cell for section in group for cell in cells(section) if cell.spread]
    places = Counter((cell.architecture, cell.place) for cell in finished)
    several = {architecture for (architecture, _), count in places.items() if count > 1}
    found: Grid = {}
    for cell in finished:
        steps = f", {cell.trained[0]:,} steps" if cell.architecture in several else ""
        found.setdefault(cell.architecture + steps, {})[cell.place] = cell
    return found


def grid_metric(found: Grid) -> str:
    """The metric that the cells of a grid are compared by."""
    return next(cell.metric for row in found.values() for cell in row.values())


def by_width(size: str) -> Any:
    """A key that puts sizes into the paper's order: by width, and within a width by layers."""
    return natural("D".join(reversed(size.split("L"))))


def unusual(model: Mapping[str, Any]) -> list[str]:
    """What the settings of a model (by dotted key) beside preset, Canon set and size say that is not as usual."""
    words = []
    for key, usual in USUAL.items():
        value = model.get(f"model.{key}", usual)
        if value != usual and key != "tied":  # a matter of the task, Capo, not of the architecture
            words.append(WORDS.get(key) or f"{key.replace('_', ' ')} {value}")
    prefix = "model.mixer."
    arguments = [f"{key.removeprefix(prefix)} {value}" for key, value in model.items() if key.startswith(prefix)]
    return [*words, *arguments]
