"""The paper's own numbers for a contrast: information beside one's own, never evidence."""

import math
from collections.abc import Iterator

from canonlab.claims.architecture import Architecture
from canonlab.claims.contrast import Contrast
from canonlab.results.published import PRESETS, tables
from canonlab.tasks.catalog import TASKS

RANK = {"main": 0, "half": 1}
"""Which of a cell's values a measure is."""


def published_difference(contrast: Contrast) -> float | None:
    """The mean of first - second over the cells that the paper has of both, a share; None where it has none."""
    if isinstance(contrast.second, float) or not {contrast.measure.kind, contrast.against.kind} <= RANK.keys():
        return None
    means = []
    for task in contrast.tasks:
        found = list(_differences(contrast, contrast.second, task))
        if not found:
            return None
        means.append(math.fsum(found) / len(found))
    return math.fsum(means) / len(means)


def _differences(contrast: Contrast, other: Architecture, task: str) -> Iterator[float]:
    of_task = [e for e in tables()["results"] if TASKS[PRESETS[e["task"]]].task.name == task]
    for first in (entry for entry in of_task if _is(entry, contrast.first)):
        for second in (entry for entry in of_task if _is(entry, other)):
            if (first["task"], first.get("K")) != (second["task"], second.get("K")):
                continue
            for one, two in zip(first["percent"], second["percent"], strict=True):
                at = dict(zip(second["sizes"], two, strict=True))
                for size, cell in zip(first["sizes"], one, strict=True):
                    if size in at:
                        yield (cell[RANK[contrast.measure.kind]] - at[size][RANK[contrast.against.kind]]) / 100


def _is(entry: dict[str, object], architecture: Architecture) -> bool:
    settings = dict(architecture.settings)
    residual = settings.pop("canon_residual", True)
    same = (entry["model"], entry["canon"], entry.get("residual", True))
    return same == (architecture.model, architecture.canon, residual) and not settings and architecture.layers is None
