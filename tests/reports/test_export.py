"""CSV and LaTeX: every number is in them, and text from users breaks neither."""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from canonlab.errors import InputError, visible
from canonlab.reports.export import COLUMNS, write_csv, write_latex
from canonlab.results.load import load_runs
from canonlab.tasks.catalog import build_task


def test_every_metric_of_every_run_has_a_line(campaign: Path, tmp_path: Path) -> None:
    runs = load_runs([campaign])
    write_csv(runs, tmp_path / "new" / "results.csv")
    with (tmp_path / "new" / "results.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS and len(lines) == 6 * 4 + 2 * 3
    for run in runs:
        mine = {line["metric"]: line for line in lines if line["run"] == run.record.name}
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


def test_what_is_not_known_is_empty(fabricate: Callable[..., Path], tmp_path: Path) -> None:
    folder = fabricate()
    result = json.loads((folder / "result.json").read_text())
    result["evaluation"]["metrics"]["accuracy_k1"].update(value=None, low=None)
    result["cost"]["seconds"] = None
    (folder / "result.json").write_text(json.dumps(result))
    (run,) = load_runs([folder])
    assert run.evaluation is not None
    run.evaluation.metrics["accuracy_k1"] = replace(run.evaluation.metrics["accuracy_k1"], high=math.nan)
    write_csv([run], tmp_path / "a.csv")
    with (tmp_path / "a.csv").open() as file:
        (line,) = (line for line in csv.DictReader(file) if line["metric"] == "accuracy_k1")
    assert [line[key] for key in ("value", "low", "high", "seconds")] == [""] * 4


def test_latex_has_a_table_a_task_and_no_raw_special_character(fabricate: Callable[..., Path], tmp_path: Path) -> None:
    for seed in range(2):
        folder = fabricate(model="my_mixer & 50%", canon="ABCD", seed=seed)
    write_latex(load_runs([folder.parent]), tmp_path / "table.tex")
    text = (tmp_path / "table.tex").read_text()
    assert text.count(r"\begin{tabular}{lr}") == 1 and r"my\_mixer \& 50\% + Canon-ABCD & " in text
    assert "N = 10, 2L64D" in text and r"\% to " in text


def latex(folder: Path, path: Path) -> str:
    write_latex(load_runs([folder]), path)
    return path.read_text()


def test_latex_sets_minus_signs_and_powers(fabricate: Callable[..., Path], tmp_path: Path) -> None:
    for seed, value in enumerate((-0.198, -2e-05, -1234.0)):
        folder = fabricate(seed=seed)
        result = json.loads((folder / "result.json").read_text())
        result["evaluation"]["metrics"]["accuracy_k4"].update(value=value, right=None)
        (folder / "result.json").write_text(json.dumps(result))
        found = latex(folder, tmp_path / "one.tex")
        assert (r"& $-0.198$ \\", r"& $-2 \times 10^{-5}$ \\", r"& $-1{,}234$ \\")[seed] in found
    text = latex(folder.parent, tmp_path / "all.tex")
    assert r"& $-411.4$ {\scriptsize $-1{,}234$ to $-2 \times 10^{-5}$} \\" in text
    assert "--" not in text


def test_latex_names_the_rate_where_several_were_tried(fabricate: Callable[..., Path], tmp_path: Path) -> None:
    tried = ((0.002, 400, ""), (0.00001, 900, r" {\scriptsize lr $1 \times 10^{-5}$ $\leftrightarrow$}"))
    for rate, right, named in (*tried, (0.000001, 300, r" {\scriptsize lr $1 \times 10^{-5}$}")):
        folder = fabricate(lr=rate)
        result = json.loads((folder / "result.json").read_text())
        result["evaluation"]["metrics"]["accuracy_k4"].update(value=right / 1000, right=right)
        (folder / "result.json").write_text(json.dumps(result))
        text = latex(folder.parent, tmp_path / "a.tex")
        assert rf"& {max(40.0, 90.0 * (named != ''))}\%{named} \\" in text
    assert text.startswith("%") and "lr:" in text.splitlines()[0]


def test_what_cannot_be_written_is_said(campaign: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_csv(load_runs([campaign]), tmp_path / "file" / "x.csv")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝"])
def test_no_cell_is_a_formula_and_numbers_stay_numbers(
    start: str, fabricate: Callable[..., Path], tmp_path: Path
) -> None:
    folder = fabricate(model=f"mine.py:{start}cmd()")
    result = json.loads((folder / "result.json").read_text())
    result["command"] = f"{start}HYPERLINK()"
    result["evaluation"]["metrics"]["accuracy_k1"].update(value=-0.5, right=None)
    (folder / "result.json").write_text(json.dumps(result))
    write_csv(load_runs([folder]), tmp_path / "a.csv")
    text = (tmp_path / "a.csv").read_bytes().decode()
    lines = list(csv.DictReader(text.splitlines()))
    assert len(lines) == len(text.splitlines()) - 1 == 4, "a line a metric, whatever is in the cells"
    for key, rest in (("command", "HYPERLINK()"), ("model", "cmd()")):
        assert {line[key] for line in lines} == {f"'{visible(start)}{rest}"}
    assert next(line["value"] for line in lines if line["metric"] == "accuracy_k1") == "-0.5"


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("50%", r"50\%"),
        ("}{\\end", r"\}\{\textbackslash{}end"),
        ("\n\nb\x1b[1m", r"\textbackslash{}n\textbackslash{}nb\textbackslash{}x1b{[}1m"),
        ("[2cm]", "{[}2cm{]}"),
        ("*", "{*}"),
    ],
)
def test_latex_prints_any_name(name: str, printed: str, fabricate: Callable[..., Path], tmp_path: Path) -> None:
    folder = fabricate(model=f"mine.py:{name}", canon="")
    for file in folder.glob("*.json*"):
        file.write_text(
            file.read_text()
            .replace("accuracy_k4", json.dumps(name)[1:-1])
            .replace('"name": "depo"', f'"name": {json.dumps(name)}')
        )
    text = latex(folder, tmp_path / "a.tex")
    assert text.count(printed) == 3, "as the architecture, and as task and metric in the caption"
    assert "\n\n" not in text.rstrip() and text.count("{") == text.count("}") + text.count(r"\{") - text.count(r"\}")
