"""The report as plain data, for programs."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from canonlab.results.cells import Cell
from canonlab.results.findings import Finding, findings
from canonlab.results.groups import Row, Section, sections
from canonlab.results.laws import plain
from canonlab.results.load import Run
from canonlab.results.notes import section_notes
from canonlab.results.speed import Reached, reached


def summary(runs: Sequence[Run], baseline: str = "") -> dict[str, Any]:
    """Sections (a task each) of rows (a setting each) of runs (a seed each), ready for strict JSON: no NaN.

    A row's `metrics` have mean, low (least), high (greatest) and number of seeds over its finished runs; its `speed` is
    after how many steps each seed reached a share (null: never). A run's `metrics` have value, low and high (95%
    interval), right and count, of an unfinished run those of its latest evaluation; its `areas` are the mean heights of
    the metrics' curves over training. Runs about people have `laws` too, see `canonlab.results.laws`.
    """
    found = sections(runs, baseline)
    known = {"laws": laws} if (laws := plain(found)) else {}
    return finite({"format": 1, "sections": [_section(section) for section in found], **known})


def finite(value: Any) -> Any:
    """`value` with every number that JSON does not have (NaN, infinities) replaced by None."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _section(section: Section) -> dict[str, Any]:
    rows = [_row(section, row) for row in section.rows]
    decided = [_finding(finding) for finding in findings(section)]
    return {
        "task": section.task,
        "headline": section.headline,
        "notes": section_notes(section),
        "findings": decided,
        "rows": rows,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "first": _side(finding.first, finding.names[0]),
        "second": _side(finding.second, finding.names[1]),
        "size": finding.first.size,
        "metric": finding.first.metric,
        "verdict": finding.verdict,
        "together": finding.comparison.pairs,
        **dataclasses.asdict(finding.comparison),
        "sentence": finding.sentence,
    }


def _side(cell: Cell, name: str) -> dict[str, Any]:
    return {"name": name, "rate": cell.rate, "rates": cell.rates, "at_edge": cell.at_edge}


def _row(section: Section, row: Row) -> dict[str, Any]:
    return {
        "architecture": row.architecture,
        "settings": row.settings,
        "metrics": {name: spread._asdict() for name in section.metrics if (spread := row.spread(name))},
        "speed": [_speed(found) for found in reached(section, [row])],
        "runs": [_run(run) for run in row.runs],
    }


def _speed(found: Reached) -> dict[str, Any]:
    return {"metric": found.metric, "threshold": found.threshold, "steps": found.steps, "median": found.median}


def _run(run: Run) -> dict[str, Any]:
    metrics = run.evaluation.metrics if run.evaluation else {}
    return {
        "name": run.record.name,
        "folder": str(run.folder),
        "identity": run.record.written_identity,
        "seed": run.seed,
        "machine": run.record.machine,
        "measuring": run.record.measuring,
        "finished": run.result is not None,
        "step": run.evaluated_step,
        "steps": run.steps,
        "metrics": {name: dataclasses.asdict(measure) for name, measure in metrics.items()},
        "areas": {name: area.value if (area := run.curves.area(name)) else None for name in metrics},
        "cost": run.result.cost if run.result else None,
        **(run.result.provenance if run.result else {}),
    }
