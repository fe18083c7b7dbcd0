"""Sections, rows, notes and the plain form."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from canonlab.results.groups import Row, Section, natural, sections
from canonlab.results.load import Curves, Result, Run, load_runs
from canonlab.results.notes import section_notes
from canonlab.results.summary import summary
from canonlab.tasks.base import Evaluation
from fabricate import metric, record

Fabricate = Callable[..., Path]
Task = dict[str, Any]


def section_of(folder: Path) -> Section:
    (section,) = sections(load_runs([folder]))
    return section


def test_tasks_make_sections_and_all_but_the_seed_makes_rows(campaign: Path) -> None:
    copy, depo = sections(load_runs([campaign]))
    assert (copy.task["name"], depo.task["name"]) == ("copy", "depo")
    assert [row.architecture for row in depo.rows] == ["llama-rope", "llama-rope + Canon-ABCD"]
    assert [[run.seed for run in row.runs] for row in depo.rows] == [[0, 1, 2], [0, 1, 2]]
    assert depo.varied == ()
    assert depo.quoted == {"model.size": "2L64D", "training.steps": 1000, "training.batch": 32, "training.lr": 0.003}


def test_another_parameter_or_context_is_another_task(fabricate: Fabricate, depo: Task, tmp_path: Path) -> None:
    fabricate(depo)
    fabricate({**depo, "context": 128})
    fabricate({**depo, "version": 2})
    fabricate({**depo, "parameters": {**depo["parameters"], "N": 12}})
    texts = [section.parameters for section in sections(load_runs([tmp_path]))]
    assert len(texts) == 4 and len({str(text) for text in texts}) == 4


def test_rows_are_told_apart_by_what_differs_and_sorted_by_size(fabricate: Fabricate, tmp_path: Path) -> None:
    for size in ("12L64D", "2L64D"):
        for lr in (0.003, 0.0005):
            fabricate(size=size, lr=lr)
    section = section_of(tmp_path)
    assert section.varied == ("model.size", "training.lr")
    assert [section.label(row).partition(", ")[2] for row in section.rows] == [
        "size 2L64D, learning rate 0.0005",
        "size 2L64D, learning rate 0.003",
        "size 12L64D, learning rate 0.0005",
        "size 12L64D, learning rate 0.003",
    ]


def test_same_words_for_different_models_are_told_apart(fabricate: Fabricate, tmp_path: Path) -> None:
    fabricate(model="/home/a/mixer.py:Mine", size="2L64D")
    fabricate(model="/home/b/mixer.py:Mine", size="2L64D")
    fabricate(model="llama-rope", size="4L64D")
    section = section_of(tmp_path)
    labels = [section.label(row) for row in section.rows]
    assert len(set(labels)) == 3 and all("Mine + Canon-ABCD, size 2L64D, " in label for label in labels[:2])
    assert "resolved.sources.0.sha256" in section.varied and "resolved.layers" not in section.varied
    assert "resolved.pattern.0.mixer.arguments.position" in section.varied


def test_a_mixers_own_convolution_is_called_what_it_is(fabricate: Fabricate, tmp_path: Path) -> None:
    for canon in ("", "b", "AbCD"):
        fabricate(model="gdn", canon=canon)
    assert {row.architecture for row in section_of(tmp_path).rows} == {"gdn", "gdn + conv1d", "gdn + Canon-AbCD"}


def test_mean_and_range_are_over_finished_seeds(campaign: Path) -> None:
    rows = sections(load_runs([campaign / "depo"]))[0].rows
    for row, seeds in zip(rows, (3, 2), strict=True):
        values = [json.loads((run.folder / "result.json").read_text()) for run in row.runs if run.result]
        rates = [value["evaluation"]["metrics"]["accuracy_k4"]["right"] / 1000 for value in values]
        spread = row.spread("accuracy_k4")
        assert spread is not None and spread.seeds == len(rates) == seeds
        assert spread.mean == pytest.approx(sum(rates) / seeds)
        assert (spread.low, spread.high) == (min(rates), max(rates))
        assert row.spread("no such metric") is None


def test_a_quoted_difficulty_is_charted_with_all_others(campaign: Path) -> None:
    copy, depo = sections(load_runs([campaign]))
    assert depo.headline == ("accuracy_k4", "accuracy_k2")
    assert depo.charted == ("accuracy_k1", "accuracy_k2", "accuracy_k4")
    assert copy.charted == ("token_accuracy",)
    assert depo.shares == {"accuracy_k1", "accuracy_k2", "accuracy_k4", "token_accuracy"}


def test_notes(campaign: Path) -> None:
    depo = sections(load_runs([campaign / "depo"]))[0]
    unfinished, data, parameters = section_notes(depo)
    assert unfinished.startswith("1 run unfinished")
    assert data == "Runs of the same seed and as many tokens saw identical training data (by SHA-256)."
    assert parameters == "Parameter counts at 2L64D differ by up to 3.5%."


def test_different_data_for_one_seed_is_said(fabricate: Fabricate, tmp_path: Path) -> None:
    fabricate(canon="")
    path = fabricate(canon="AC") / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "data_sha256": "f" * 64}))
    assert any("Not comparable: runs of seed 0 saw different" in note for note in section_notes(section_of(tmp_path)))


def test_runs_of_several_machines_are_one_row_and_it_is_said(fabricate: Fabricate, tmp_path: Path) -> None:
    for seed in range(4):
        fabricate(seed=seed, backend={"threads": 1 + seed % 2, "device": f"cuda:{seed}"})
        fabricate(seed=seed, canon="", backend={"device": "cuda:7"})
    section = section_of(tmp_path)
    assert [[run.seed for run in row.runs] for row in section.rows] == [[0, 1, 2, 3]] * 2
    assert section.varied == () and not any("thread" in key for key in section.shared)
    (note,) = (note for note in section_notes(section) if "machines" in note)
    assert note == "Runs of llama-rope + Canon-ABCD were made on several machines: they differ in threads (1 and 2)."


def test_rows_of_different_machines_are_said(fabricate: Fabricate, tmp_path: Path) -> None:
    for canon, hardware in (("", "old card"), ("A", "new card")):
        path = fabricate(canon=canon) / "result.json"
        result = json.loads(path.read_text())
        path.write_text(json.dumps({**result, "versions": {**result["versions"], "hardware": hardware}}))
    assert "Rows were made on several machines: they differ in hardware (new card and old card)." in section_notes(
        section_of(tmp_path)
    )


def test_runs_made_twice_are_said(fabricate: Fabricate, tmp_path: Path) -> None:
    folders = sorted(fabricate(backend={"threads": threads}) for threads in (1, 2))
    how = "on machines that differ in threads (1 and 2)"
    assert section_notes(section_of(tmp_path)) == [
        f"1 run was made more than once, {how}: the one in {folders[0]} counts.",
    ]
    for threads in (1, 2):
        fabricate(seed=1, backend={"threads": threads})
    assert f"2 runs were made more than once, {how}: those in {folders[0].parent} count." in section_notes(
        section_of(tmp_path)
    )


def test_one_run_claims_nothing_about_data_or_parameters(fabricate: Fabricate, tmp_path: Path) -> None:
    fabricate()
    assert section_notes(section_of(tmp_path)) == []


def test_summary_is_strict_json(campaign: Path) -> None:
    path = next(campaign.glob("copy/*/result.json"))
    result = json.loads(path.read_text())
    result["evaluation"]["metrics"]["token_accuracy"]["value"] = None
    path.write_text(json.dumps(result))
    plain = json.loads(json.dumps(summary(load_runs([campaign])), allow_nan=False))
    copy, depo = plain["sections"]
    assert sorted(str(row["metrics"].get("token_accuracy", {}).get("seeds")) for row in copy["rows"]) == ["1", "None"]
    runs = depo["rows"][1]["runs"]
    assert [(run["seed"], run["finished"], run["step"]) for run in runs] == [
        (0, True, 1000),
        (1, True, 1000),
        (2, False, 400),
    ]
    assert depo["rows"][1]["metrics"]["accuracy_k4"]["seeds"] == 2
    assert runs[0]["metrics"]["accuracy_k4"]["count"] == 1000 and runs[0]["cost"]["seconds"] == 41.5
    assert len(runs[0]["weights_sha256"]) == 64 and runs[2]["cost"] is None


def test_natural_order() -> None:
    assert sorted(["12L512D", "8L512D", "", "8L64D"], key=natural) == ["", "8L64D", "8L512D", "12L512D"]
    assert sorted([0.003, 0.0005, 10], key=natural) == [0.0005, 0.003, 10]


def test_charts_show_depths_and_divergence_but_no_parts() -> None:
    def section(headline: tuple[str, ...], *metrics: str, shares: bool = True) -> Section:
        found = {name: metric(0.5, right=1 if shares and name != "kl" else None) for name in metrics}
        run = Run(Path(), record(), Curves(), Result(Evaluation(found, headline, {}), {}, {}))
        return Section({}, (Row({}, (run,)),))

    brevo = section(("accuracy",), "accuracy", "accuracy_depth1", "accuracy_depth2", "accuracy_deeper")
    assert brevo.charted == ("accuracy", "accuracy_depth1", "accuracy_depth2")
    lano = section(("accuracy",), "accuracy", "continuation_accuracy", "kl")
    assert lano.charted == ("accuracy", "kl")
    capo = section(
        ("bits_per_parameter", "bits"), "bits_per_parameter", "bits", "bits_major", "bits_names", shares=False
    )
    assert capo.charted == ("bits_per_parameter", "bits")
