"""The published numbers of Part 4.1 (arXiv 2512.17351), cell by cell, to stand beside one's own.

`published.json` holds one entry per task, architecture and Canon set: rows are the three difficulties of the task,
columns sizes of the model, and a cell has one share in percent per quoted metric. Each is the paper's best over its
learning rates (and for Mano two seeds).
"""

import functools
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any, NamedTuple

from canonlab.results.architecture import unusual
from canonlab.results.groups import OWN, level_of
from canonlab.tasks.catalog import TASKS, build_task
from canonlab.training.config import TrainingConfig
from canonlab.training.published import TRAINING

PRESETS = {name: name for name in ("depo1", "depo2", "brevo1", "brevo2", "mano")} | {"lano": "lano-cfg3f"}
"""Published task -> a preset of it, whatever its difficulty."""


class Published(NamedTuple):
    """One cell: shares by quoted metric, main one first, and by depth for Brevo1.

    It stands in `figures` of the paper, `uncertain` where it can't be told for sure which cell is meant. It was trained
    for so many `steps` on windows of `context` tokens, with these `settings` of training. `released` is what the model
    has in the paper's code otherwise than in its text.
    """

    values: tuple[float, ...]
    by_depth: tuple[float, ...]
    figures: tuple[int, ...]
    uncertain: bool
    steps: int
    context: int
    settings: Mapping[str, Any]
    released: Mapping[str, Any]


@functools.cache
def tables() -> dict[str, Any]:
    """The content of published.json."""
    text = resources.files("canonlab.results").joinpath("published.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def published_task(task: Mapping[str, Any]) -> str | None:
    """The published name of a task, such as "depo1", whatever its difficulty; None when the paper has no such task."""
    for name, preset in ((name, TASKS[reference]) for name, reference in PRESETS.items()):
        apart = (preset.task.difficulty_parameter, "K", "context")
        ours, paper = (
            {key: _plain(value) for key, value in parameters.items() if key not in apart}
            for parameters in (task["parameters"], preset.parameters)
        )
        if task["name"] == preset.task.name and ours == paper and not task.get("source"):
            return name
    return None


def published(task: Mapping[str, Any], settings: Mapping[str, Any], level: Any = None) -> Published | None:
    """The published cell of a task (name, parameters) and a model's settings by dotted key; None when there is none.

    `level` is another difficulty of the task than its own.
    """
    name = published_task(task)
    released = _released(settings)
    if name is None or settings.get(OWN) or not _presumed(settings, released):
        return None
    if level is None:
        level = level_of(task, TASKS[PRESETS[name]].task.difficulty_parameter)
    levels = tables()["difficulty"][name]
    key = (name, task["parameters"].get("K"), settings["model.model"], settings["model.canon"])
    entry = _entries().get((*key, bool(settings.get("model.canon_residual", True))))
    size = settings["model.size"]
    if entry is None or level not in levels or size not in entry["sizes"]:
        return None
    row, column = levels.index(level), entry["sizes"].index(size)
    depths = entry["by_depth"][row][column] if "by_depth" in entry else []
    preset = f"lano-{level}" if name == "lano" else PRESETS[name]
    training = TrainingConfig(**TRAINING[preset])
    return Published(
        tuple(value / 100 for value in entry["percent"][row][column]),
        tuple(value / 100 for value in depths),
        tuple(entry["figures"]),
        entry.get("uncertain", False),
        tables()["steps"][name][row],
        build_task(preset).context,
        {key: getattr(training, key) for key in ("batch", "schedule", "weight_decay")},
        released,
    )


@functools.cache
def _entries() -> dict[tuple[Any, ...], dict[str, Any]]:
    return {
        (entry["task"], entry.get("K"), entry["model"], entry["canon"], entry.get("residual", True)): entry
        for entry in tables()["results"]
    }


def _released(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the released code of the paper has otherwise than its text, by field of a model, for one of its cells.

    Without its convolution GLA has a SiLU on q, k and v.
    """
    plain = settings["model.model"] == "gla" and "b" not in settings["model.canon"]
    return {"mixer.qkv_activation": "silu"} if plain else {}


def _presumed(settings: Mapping[str, Any], released: Mapping[str, Any]) -> bool:
    """Whether a model is as published cells have theirs: nothing is unusual but the residual, which they have both
    ways, and what the released code has otherwise; head and embedding are apart."""
    apart = {key: value for key, value in unusual(settings).items() if key != "canon_residual"}
    return apart.items() <= released.items() and not settings.get("model.tied")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
