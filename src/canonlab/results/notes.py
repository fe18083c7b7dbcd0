"""What a reader must know before comparing the rows of a task."""

from collections.abc import Iterable
from typing import Any

from canonlab.models.table import MATCHED
from canonlab.results.groups import SIZE, Row, Section, natural
from canonlab.results.load import Run
from canonlab.results.words import enumeration, percent, plural


def section_notes(section: Section) -> list[str]:
    """A sentence each: unfinished and diverged runs, whether equal seeds saw equal data, unequal parameter counts."""
    return [*_unfinished(section.runs), *_diverged(section.rows), *_same_data(section.runs), *_parameters(section.rows)]


def _unfinished(runs: Iterable[Run]) -> Iterable[str]:
    if count := sum(run.result is None and run.diverged is None for run in runs):
        yield f"{plural(count, 'run')} unfinished: shown with the latest evaluation, left out of means."


def _diverged(rows: Iterable[Row]) -> Iterable[str]:
    lost = [row.architecture for row in rows for run in row.runs if run.diverged is not None]
    if lost:
        yield f"{plural(len(lost), 'run')} diverged, of {enumeration(dict.fromkeys(lost))}: left out of means."


def _same_data(runs: Iterable[Run]) -> Iterable[str]:
    """Compares the data hashes of runs that have the seed and the number of training tokens in common."""
    hashes: dict[tuple[int, Any], list[str]] = {}
    for run in runs:
        if run.result and "data_sha256" in run.result.provenance:
            key = (run.seed, run.result.cost["tokens"])
            hashes.setdefault(key, []).append(run.result.provenance["data_sha256"])
    differ = sorted({seed for (seed, _), found in hashes.items() if len(set(found)) > 1})
    if differ:
        yield f"Not comparable: runs of seed {enumeration(map(str, differ))} saw different training data (by SHA-256)."
    elif any(len(found) > 1 for found in hashes.values()):
        yield "Runs of the same seed and as many tokens saw identical training data (by SHA-256)."


def _parameters(rows: Iterable[Row]) -> Iterable[str]:
    counts: dict[str, list[float]] = {}
    for row in rows:
        if count := row.cost("parameters"):
            counts.setdefault(row.settings[SIZE], []).append(count)
    for size in sorted(counts, key=natural):
        excess = max(counts[size]) / min(counts[size]) - 1
        if excess > MATCHED:
            yield f"Parameter counts at {size} differ by up to {percent(excess)}."
