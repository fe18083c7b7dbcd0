"""Runs -> sections (one task each) -> rows (one setting each, all its seeds)."""

import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from canonlab.errors import unknown
from canonlab.results.architecture import with_canon
from canonlab.results.load import Run
from canonlab.results.words import HASHES, metric_family, setting_label, setting_text, span
from canonlab.tasks.base import Evaluation
from canonlab.tasks.catalog import TASKS, build_task
from canonlab.tasks.metrics import Metric, lower_is_better
from canonlab.training.identity import ORIGINS

ARCHITECTURE = ("model.model", "model.canon")
SIZE = "model.size"
QUOTED = (SIZE, "training.steps", "training.batch", "training.lr")
RESOLVED = "resolved"
"""Prefix of what a model's words stand for: shown only where the same words stand for different models."""

OWN = f"{RESOLVED}.own"
"""Whether a mixer is from a user's own file: its class may have a preset's name."""


class Spread(NamedTuple):
    """Mean and range of a metric over the finished runs of a row."""

    mean: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True)
class Row:
    """Runs that differ only in their seed, by seed; they may be from several machines. `settings`, by dotted key, are
    what they have in common."""

    settings: dict[str, Any]
    runs: tuple[Run, ...]

    @property
    def architecture(self) -> str:
        """Model and Canon set, such as "llama-rope + Canon-ABCD"."""
        return with_canon(*(self.settings[key] for key in ARCHITECTURE))

    @property
    def finished(self) -> tuple[Run, ...]:
        """The runs that have a result."""
        return tuple(run for run in self.runs if run.result)

    def measured(self, metric: str) -> list[tuple[Run, Metric]]:
        """The finished runs that have the metric as a finite number, by seed."""
        found = [(run, run.result.evaluation.metrics.get(metric)) for run in self.runs if run.result]
        return [(run, measured) for run, measured in found if measured and math.isfinite(measured.value)]

    def values(self, metric: str) -> list[float]:
        """The values of the metric over these runs."""
        return [measured.value for _, measured in self.measured(metric)]

    def spread(self, metric: str) -> Spread | None:
        """The metric over the finished runs; None when none has it."""
        values = self.values(metric)
        return Spread(math.fsum(values) / len(values), min(values), max(values), len(values)) if values else None

    def cost(self, key: str) -> float | None:
        """The mean of a cost over the finished runs; None when none knows it."""
        values = [run.result.cost.get(key) for run in self.runs if run.result]
        numbers = [value for value in values if isinstance(value, int | float)]
        return math.fsum(numbers) / len(numbers) if numbers else None


@dataclass(frozen=True)
class Section:
    """All rows of one task: the same name, version, parameters, context and, for a user's own, source."""

    task: dict[str, Any]
    rows: tuple[Row, ...]
    baseline: str = ""
    """The architecture that others are compared with (`is_baseline`); "" for all with all."""

    @property
    def runs(self) -> list[Run]:
        """All runs, row by row."""
        return [run for row in self.rows for run in row.runs]

    @cached_property
    def evaluations(self) -> list[Evaluation]:
        """The final or latest evaluation of every run that has one."""
        return [run.evaluation for run in self.runs if run.evaluation]

    def label(self, row: Row) -> str:
        """What tells a row from all others: "llama-rope + Canon-ABCD, learning rate 0.003"."""
        rest = (f"{setting_label(key)} {setting_text(row.settings.get(key))}" for key in self.varied)
        return ", ".join([row.architecture, *rest])

    def mean_of(self, row: Row) -> str:
        """What stands before the means of a row, such as "mean of 3", or "mean of 2 to 3" seeds by metric."""
        counts = [spread.seeds for name in self.headline if (spread := row.spread(name))]
        return f"mean of {span(counts)}" if counts else ""

    @cached_property
    def axis(self) -> str | None:
        """The name of the parameter that makes the task harder; None where it names none."""
        return next((run.record.difficulty for run in self.runs if run.record.difficulty), None)

    @cached_property
    def level(self) -> Any:
        """How hard the task is: the value of that parameter (see `level_of`)."""
        return level_of(self.task, self.axis)

    @property
    def parameters(self) -> dict[str, Any]:
        """What tells the task from others of its name: its parameters, context, version and source."""
        task = self.task
        version = {"version": task["version"]} if task.get("version", 1) != 1 else {}
        source = {"source": task["source"]["sha256"][:10]} if task.get("source") else {}
        shown = {key: value for key, value in task["parameters"].items() if key not in HASHES}
        return {**shown, "context": task["context"], **version, **source}

    @cached_property
    def varied(self) -> tuple[str, ...]:
        """The settings, model and Canon apart, in which rows differ: these tell rows of one architecture apart."""
        words = _varied(self.rows, resolved=False)
        alike: dict[str, list[Row]] = {}
        for row in self.rows:
            alike.setdefault(repr([row.settings.get(key) for key in (*ARCHITECTURE, *words)]), []).append(row)
        rest = (key for rows in alike.values() for key in _varied(rows, resolved=True))
        return tuple(dict.fromkeys([*words, *rest]))

    @cached_property
    def shared(self) -> dict[str, Any]:
        """The settings that all rows have in common."""
        apart = (*self.varied, *ARCHITECTURE)
        first = self.rows[0].settings
        return {key: value for key, value in first.items() if key not in apart and not key.startswith(RESOLVED)}

    @property
    def quoted(self) -> dict[str, Any]:
        """The common settings that a reader asks for first."""
        return {key: self.shared[key] for key in QUOTED if key in self.shared}

    @cached_property
    def headline(self) -> tuple[str, ...]:
        """The metrics to quote, the main one first."""
        return tuple(dict.fromkeys(name for evaluation in self.evaluations for name in evaluation.headline))

    @cached_property
    def own_headline(self) -> tuple[str, ...]:
        """Those of them that the task itself quotes, which are what the paper has: no loss."""
        return tuple(name for name in self.headline if not lower_is_better(name))

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """All metrics: the quoted ones, then the rest in natural order."""
        names = {name for evaluation in self.evaluations for name in evaluation.metrics}
        return tuple(dict.fromkeys([*self.headline, *sorted(names, key=natural)]))

    @cached_property
    def charted(self) -> tuple[str, ...]:
        """The metrics that get a learning curve: the quoted ones; each difficulty of a quoted one (all hops of Depo, or
        Brevo's accuracy by depth); and what is no share, such as the loss and Lano's divergence, unless it is part of
        another one, as the bits of names are."""
        families = {family[:2] for name in self.headline if (family := metric_family(name))}
        members = [
            name
            for name in self.metrics
            if (family := metric_family(name)) and (family[:2] in families or family[0] in self.headline)
        ]
        parts = tuple(f"{name}_" for name in ("loss", *self.headline))
        means = [name for name in self.metrics if name not in self.shares and not name.startswith(parts)]
        single = [name for name in dict.fromkeys([*self.headline, *means]) if name not in members]
        return (*single, *sorted(members, key=natural))

    @cached_property
    def shares(self) -> frozenset[str]:
        """The metrics that are shares of right answers, to be shown in percent."""
        metrics = (metric for evaluation in self.evaluations for metric in evaluation.metrics.items())
        return frozenset(name for name, metric in metrics if metric.right is not None)


def sections(runs: Sequence[Run], baseline: str = "") -> list[Section]:
    """The runs grouped by task and setting; tasks by name, rows by model, Canon and the rest in natural order.

    InputError when there is a `baseline`, an architecture with which others are compared, that none of them is of.
    """
    if baseline and not any(is_baseline(_settings(run), baseline) for run in runs):
        known = (f"{s['model.model']}/{s['model.canon'] or 'none'}" for s in map(_settings, runs))
        raise unknown("baseline", baseline, known)
    tasks: dict[str, dict[str, list[Run]]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        task, common = (json.dumps(part, sort_keys=True) for part in (run.record.config["task"], _repeated(run)))
        tasks.setdefault(task, {}).setdefault(common, []).append(run)
    found = []
    for task in sorted(tasks, key=natural):
        rows = sorted((Row(_settings(group[0]), tuple(group)) for group in tasks[task].values()), key=_row_order)
        found.append(Section(rows[0].runs[0].record.config["task"], tuple(rows), baseline))
    return sorted(found, key=lambda section: section.task["name"])


def is_baseline(settings: Mapping[str, Any], baseline: str) -> bool:
    """Whether a row is of an architecture in words: a model, such as gdn, or one with its Canon set, gdn/AbCD or
    gdn/none."""
    model, _, canon = baseline.partition("/")
    return settings["model.model"] == model and canon in ("", settings["model.canon"] or "none")


def level_of(task: Mapping[str, Any], axis: str | None) -> Any:
    """A task's value of the parameter that makes it harder: a number, or text; None where `axis` is.

    Of a grammar that is shipped its name, as a run knows it by its hash.
    """
    value = task["parameters"].get(axis)
    plain = value if value is None or isinstance(value, int | float) else setting_text(value)
    return _shipped().get(value, plain) if isinstance(value, str) else plain


def level_text(axis: str | None, level: Any) -> str:
    """How hard a task is, for people: "N = 225", "cfg3f"; nothing where no parameter says it."""
    if level is None:
        return ""
    return level if isinstance(level, str) else f"{axis} = {setting_text(level)}"


@functools.cache
def _shipped() -> dict[str, str]:
    """The names of levels that tasks identify by a hash."""
    found = {}
    for name, preset in TASKS.items():
        axis = preset.task.difficulty_parameter
        if isinstance(word := preset.parameters.get(axis or ""), str):
            found[build_task(name).identity["parameters"][axis]] = word
    return found


def _varied(rows: Sequence[Row], resolved: bool) -> list[str]:
    """The settings whose values differ between the rows: the users' words, or what they were resolved to."""
    keys = dict.fromkeys(key for row in rows for key in row.settings if key not in ARCHITECTURE)
    some = [key for key in keys if key.startswith(RESOLVED) == resolved]
    return [key for key in some if len({repr(row.settings.get(key)) for row in rows}) > 1]


def natural(value: Any) -> tuple[tuple[int, float, str], ...]:
    """A sort key: numbers by size, before text in which "8L512D" comes before "12L512D", the empty one first."""
    if isinstance(value, int | float):
        return ((0, value, ""),)
    parts = re.findall(r"\d+|\D+", str(value or ""))
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)


def _repeated(run: Run) -> dict[str, Any]:
    """All that determines a run's weights but the task and the seed: what runs of a row have in common."""
    config = run.record.config
    made_of = {origin: _unseeded(config[origin]) for origin in ORIGINS if origin in config}
    return {"model": config["model"], "precision": config["precision"], **_unseeded(config, "training"), **made_of}


def _unseeded(config: Mapping[str, Any], *parts: str) -> dict[str, Any]:
    """These parts of a configuration, or all, without the seed: that of the run itself and of what it is made of.

    Nor the step of the checkpoint that it began with, which differs among seeds where that was the best one.
    """
    kept = {part: config[part] for part in parts or config if part != "step"}
    if isinstance(training := kept.get("training"), Mapping):
        kept["training"] = {key: value for key, value in training.items() if key != "seed"}
    if isinstance(start := kept.get("start"), Mapping):
        kept["start"] = _unseeded(start)
    return kept


def _settings(run: Run) -> dict[str, Any]:
    """The same for people, flat: the model in the user's words, {"model.model": "llama-rope", "training.lr": 0.003}."""
    asked, common = run.record.asked["model"], _repeated(run)
    mixers = ",".join(name.rpartition(".py:")[2] for name in asked["model"].split(","))
    words = {**asked, "model": mixers, "canon": common["model"]["canon"]["points"]}
    if "quantization" in common:  # another model than the one that was trained
        words["quantization"] = common["quantization"]
    flat: dict[str, Any] = {}

    def visit(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, entry in value.items():
                visit(f"{prefix}.{key}", entry)
        elif isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
            visit(prefix, dict(enumerate(value)))
        else:
            flat[prefix] = value

    visit("model", words)
    visit(RESOLVED, common["model"])
    flat[OWN] = ".py:" in asked["model"]
    visit("training", common["training"])
    visit("precision", common["precision"])
    if "start" in common:
        visit("start", common["start"])
    return flat


def _row_order(row: Row) -> list[tuple[tuple[int, float, str], ...]]:
    first = (*ARCHITECTURE, SIZE)
    rest = sorted(key for key in row.settings if key not in first)
    return [natural(row.settings.get(key)) for key in (*first, *rest)]
