"""What a reader must know before comparing the rows of a task."""

from collections.abc import Iterable, Sequence
from typing import Any

from canonlab.models.table import MATCHED
from canonlab.results.groups import SIZE, Row, Section, natural
from canonlab.results.load import Run
from canonlab.results.words import enumeration, percent, plural, setting_label, setting_text


def section_notes(section: Section) -> list[str]:
    """A sentence each: unfinished and diverged runs, runs made on several machines or more than once, whether equal
    seeds saw equal data, unequal parameter counts."""
    return [
        *_unfinished(section.runs),
        *_diverged(section.rows),
        *_made_again(section.runs),
        *_machines(section),
        *_same_data(section.runs),
        *_parameters(section.rows),
    ]


def _unfinished(runs: Iterable[Run]) -> Iterable[str]:
    if count := sum(run.result is None and run.diverged is None for run in runs):
        yield f"{plural(count, 'run')} unfinished: shown with the latest evaluation, left out of means."


def _diverged(rows: Iterable[Row]) -> Iterable[str]:
    lost = [row.architecture for row in rows for run in row.runs if run.diverged is not None]
    if lost:
        yield f"{plural(len(lost), 'run')} diverged, of {enumeration(dict.fromkeys(lost))}: left out of means."


def _made_again(runs: Iterable[Run]) -> Iterable[str]:
    """Names the folder that counts; where several runs were made again, only the folders that these lie in."""
    made = [(run, *run.twins) for run in runs if run.twins]
    if made:
        told = _differing([run for twins in made for run in twins])
        how = f"on machines that differ in {told}" if told else "and came out otherwise"
        one = len(made) == 1
        places = dict.fromkeys(str(run.folder if one else run.folder.parent) for run, *_ in made)
        counting = f"the one in {enumeration(places)} counts" if one else f"those in {enumeration(places)} count"
        yield f"{plural(len(made), 'run')} {'was' if one else 'were'} made more than once, {how}: {counting}."


def _machines(section: Section) -> Iterable[str]:
    """Which rows have runs of several machines; or, where each has one, in what the rows' machines differ."""
    mixed: dict[str, list[str]] = {}
    for row in section.rows:
        if told := _differing(row.runs):
            mixed.setdefault(told, []).append(row.architecture)
    for told, names in mixed.items():
        yield f"Runs of {enumeration(dict.fromkeys(names))} were made on several machines: they differ in {told}."
    if not mixed and (told := _differing(section.runs)):
        yield f"Rows were made on several machines: they differ in {told}."


def _differing(runs: Sequence[Run]) -> str:
    """In what the machines of runs differ, such as "threads (1 and 2)"; empty where in nothing that is known."""
    machines = [_machine(run) for run in runs]
    keys = dict.fromkeys(key for machine in machines for key in machine)
    found = {key: {setting_text(machine[key]) for machine in machines if key in machine} for key in keys}
    apart = {key: sorted(values, key=natural) for key, values in found.items() if len(values) > 1}
    return enumeration(f"{setting_label(key)} ({enumeration(values)})" for key, values in apart.items())


def _machine(run: Run) -> dict[str, Any]:
    """What a run was made on. Which of a machine's GPUs it was doesn't matter: "cuda:1" is "cuda"."""
    versions = run.result.provenance.get("versions") if run.result else None
    hardware = {"hardware": versions["hardware"]} if isinstance(versions, dict) and "hardware" in versions else {}
    machine = {f"machine.{key}": value for key, value in run.record.machine.items()} | hardware
    return machine | {key: str(machine[key]).partition(":")[0] for key in ("machine.device",) if key in machine}


def _same_data(runs: Iterable[Run]) -> Iterable[str]:
    """Compares the data hashes of runs that have the seed and the number of training tokens in common."""
    hashes: dict[tuple[int, Any], list[str]] = {}
    for run in runs:
        if run.result and run.data:
            hashes.setdefault((run.seed, run.result.cost["tokens"]), []).append(run.data)
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
