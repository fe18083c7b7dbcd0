"""CSV and LaTeX: every number is in them, and text from users breaks neither."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from canonlab.errors import InputError
from canonlab.reports.export import COLUMNS, write_csv, write_latex
from canonlab.reports.load import load_runs
from canonlab.tasks.catalog import build_task


def test_every_metric_of_every_run_has_a_line(campaign: Path, tmp_path: Path) -> None:
    runs = load_runs([campaign])
    write_csv(runs, tmp_path / "new" / "results.csv")
    with (tmp_path / "new" / "results.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS and len(lines) == 6 * 4 + 2 * 3
    for run in runs:
        mine = {line["metric"]: line for line in lines if line["run"] == run.name}
        assert run.evaluation and mine.keys() == run.evaluation.metrics.keys()
        for name, measure in run.evaluation.metrics.items():
            assert float(mine[name]["value"]) == measure.value and int(mine[name]["right"]) == measure.right
            assert mine[name]["finished"] == str(run.result is not None)
        if run.result:
            result = json.loads((run.folder / "result.json").read_text())
            assert mine[run.evaluation.headline[0]]["data_sha256"] == result["data_sha256"]


def test_published_values_stand_beside(fabricate: Callable[..., Path], tmp_path: Path) -> None:
    folder = fabricate({**build_task("depo1", {"K": 4}).identity, "source": None}, canon="", size="8L512D")
    write_csv(load_runs([folder]), tmp_path / "a.csv")
    with (tmp_path / "a.csv").open() as file:
        published = {line["metric"]: line["published"] for line in csv.DictReader(file)}
    assert published["accuracy_k4"] == "0.97" and published["accuracy_k2"] == "1.0" and published["accuracy_k1"] == ""


def test_latex_has_a_table_a_task_and_no_raw_special_character(fabricate: Callable[..., Path], tmp_path: Path) -> None:
    for seed in range(2):
        folder = fabricate(model="my_mixer & 50%", canon="ABCD", seed=seed)
    write_latex(load_runs([folder.parent]), tmp_path / "table.tex")
    text = (tmp_path / "table.tex").read_text()
    assert text.count(r"\begin{tabular}{lr}") == 1 and r"my\_mixer \& 50\% + Canon-ABCD & " in text
    assert "N = 10, 2L64D" in text and r"\%--" in text


def test_what_cannot_be_written_is_said(campaign: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_csv(load_runs([campaign]), tmp_path / "file" / "x.csv")
