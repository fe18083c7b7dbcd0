"""How plainly do settings tell architectures apart? What the settings of a miniature are chosen by.

Runs are grouped by all their settings but architecture and seed. Of each group: the spread of the architectures' means
over the spread of seeds, and how many of the pairs the rule decides. Neither asks which architecture is the better
one, so that settings that are chosen by them may still be judged by an order that is known.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from canonlab.errors import unknown
from canonlab.results.compare import Value
from canonlab.results.decide import Rule
from canonlab.results.groups import ARCHITECTURE, Row, Section
from canonlab.results.words import metric_label, settings_text
from canonlab.tasks.metrics import AREA

APART = ("training.seed", "training.microbatch", "resolved", "model.mixer", *ARCHITECTURE)
"""What runs of a group may differ in."""


@dataclass(frozen=True)
class Signal:
    """Of one metric of a group. `settings` are those that not all groups share.

    `ratio` is the standard deviation of the architectures' means over that of seeds, all architectures together.
    """

    section: Section
    settings: Mapping[str, Any]
    metric: str
    means: Mapping[str, float]
    """By architecture."""
    seeds: int
    ratio: float
    decided: int
    pairs: int
    seconds: float
    """A run of the slowest architecture, on average."""


def signals(found: Sequence[Section], metric: str = "") -> Iterator[Signal]:
    """The signal of every group of two architectures or more with two finished seeds each; by the metric that the runs
    are compared by unless one is named. InputError when a section has none of that name."""
    for section in found:
        groups: dict[str, list[Row]] = {}
        for row in section.rows:
            groups.setdefault(repr(sorted(_shared(row).items())), []).append(row)
        name = metric or section.headline[0]
        if name.removeprefix(AREA) not in section.metrics:
            raise unknown("metric", name, section.metrics)
        every = [_shared(rows[0]) for rows in groups.values()]
        varied = [key for key in every[0] if len({repr(each.get(key)) for each in every}) > 1]
        for rows in groups.values():
            sides = {row.architecture: _values(row, name) for row in rows}
            sides = {architecture: side for architecture, side in sides.items() if len(side) > 1}
            if len(sides) > 1:
                settings = {key: value for key, value in _shared(rows[0]).items() if key in varied}
                yield _signal(section, settings, name, sides, rows)


def _shared(row: Row) -> dict[str, Any]:
    return {
        key: value for key, value in row.settings.items() if not f"{key}.".startswith(tuple(f"{a}." for a in APART))
    }


def _values(row: Row, metric: str) -> dict[int, Value]:
    if not metric.startswith(AREA):
        return {run.seed: Value(found.value, data=run.data) for run, found in row.measured(metric)}
    heights = ((run, run.curves.area(metric.removeprefix(AREA))) for run in row.finished)
    return {run.seed: Value(height.value, data=run.data) for run, height in heights if height}


def _signal(
    section: Section, settings: dict[str, Any], metric: str, sides: dict[str, dict[int, Value]], rows: Sequence[Row]
) -> Signal:
    rule = Rule(tuple(sides.values()))
    means = {name: math.fsum(each.value for each in side.values()) / len(side) for name, side in sides.items()}
    middle = math.fsum(means.values()) / len(means)
    between = math.sqrt(math.fsum((mean - middle) ** 2 for mean in means.values()) / (len(means) - 1))
    within = math.sqrt(rule.variance)
    made = [rule.pair(one, other) for one, other in itertools.combinations(sides.values(), 2)]
    return Signal(
        section,
        settings,
        metric,
        means,
        min(map(len, sides.values())),
        between / within if within else math.inf,
        sum(each is not None and each.decided for each in made),
        len(made),
        max(row.cost("seconds") or math.nan for row in rows),
    )


def as_row(signal: Signal) -> dict[str, Any]:
    """For a table."""
    return {
        "task": f"{signal.section.task['name']} {settings_text(signal.section.parameters)}",
        "settings": settings_text(dict(signal.settings)) or "-",
        "metric": metric_label(signal.metric),
        "architectures": len(signal.means),
        "seeds": signal.seeds,
        "signal": f"{signal.ratio:.1f}",
        "decided": f"{signal.decided} of {signal.pairs}",
        "seconds": f"{signal.seconds:.0f}",
    }
