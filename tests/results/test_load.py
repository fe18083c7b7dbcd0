"""Reading run folders: what training writes, what a kill leaves behind, and what damage says."""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from canonlab.errors import InputError, Unreadable
from canonlab.results.cells import cells
from canonlab.results.groups import sections
from canonlab.results.load import Curves, load_run, load_runs
from canonlab.tasks.base import Evaluation
from canonlab.tasks.metrics import Metric
from canonlab.training.loop import train
from canonlab.training.run import create_run
from fabricate import write_run
from tiny_runs import Recorder, tiny_config

Fabricate = Callable[..., Path]
FOLDERS = Path(__file__).parents[1] / "training" / "folders"


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_reads_what_training_writes(tmp_path: Path) -> None:
    created = create_run(tiny_config(), tmp_path / "run")
    result = train(created, Recorder(), "canonlab train copy")
    (run,) = load_runs([tmp_path])
    assert run.folder == tmp_path / "run" and run.record.name == created.plan.name and run.seed == 0 and run.steps == 12
    assert run.curves.loss_steps == (2, 4, 6, 8, 10, 12)
    assert [step for step, _ in run.curves.evaluations] == [6, 12]
    assert run.result is not None and run.result.provenance["command"] == "canonlab train copy"
    assert run.result.provenance["data_sha256"] == result["data_sha256"]
    measure = run.result.evaluation.metrics["token_accuracy"]
    assert vars(measure) == result["evaluation"]["metrics"]["token_accuracy"]
    assert run.evaluation is run.result.evaluation and run.evaluation.headline == ("token_accuracy",)


def test_finds_runs_at_any_depth_in_order_and_once(campaign: Path) -> None:
    runs = load_runs([campaign])
    assert len(runs) == 8
    assert [run.folder for run in runs] == sorted(run.folder for run in runs)
    one = runs[3].folder
    assert load_runs([one]) == [runs[3]]
    assert load_runs([campaign, one, campaign / "depo"]) == runs


def test_other_config_files_and_hidden_folders_are_no_runs(fabricate: Fabricate, tmp_path: Path) -> None:
    run = fabricate()
    for folder in (run / "export", tmp_path / "runs" / "model", tmp_path / "runs" / ".old"):
        folder.mkdir()
        (folder / "config.json").write_text('{"hidden_size": 64}')
    assert [found.folder for found in load_runs([tmp_path])] == [run]
    with pytest.raises(InputError, match="no format version"):
        load_runs([tmp_path / "runs" / "model"])


def test_an_unfinished_run_has_its_last_step_and_evaluation(fabricate: Fabricate) -> None:
    (run,) = load_runs([fabricate(stop=430, seed=2)])
    assert run.result is None and run.curves.last_step == 430
    assert run.state == "seed 2, unfinished (430 of 1,000)"
    assert run.evaluation == run.curves.evaluations[-1][1] and run.curves.evaluations[-1][0] == 400


def test_a_run_that_has_just_begun(fabricate: Fabricate) -> None:
    folder = fabricate(stop=100)
    (folder / "metrics.jsonl").unlink()
    (run,) = load_runs([folder])
    assert run.curves.last_step == 0 and run.evaluation is None
    (folder / "metrics.jsonl").touch()
    assert load_runs([folder]) == [run]


@pytest.mark.parametrize("tail", ['{"kind": "train", "step": 440, "lo', '{"kind": "train", "st\xc3'])
def test_a_torn_last_line_is_left_out(fabricate: Fabricate, tail: str) -> None:
    folder = fabricate(stop=430)
    whole = load_runs([folder])
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(tail.encode("latin-1"))
    assert load_runs([folder]) == whole


@pytest.mark.parametrize(
    "line", [b'{"kind": "train", "step": 3', b"\xff\xfe", b"[1, 2]", b'{"kind": "train", "loss": 1}']
)
def test_damage_in_the_middle_names_file_and_line(fabricate: Fabricate, line: bytes) -> None:
    folder = fabricate(stop=430)
    path = folder / "metrics.jsonl"
    lines = path.read_bytes().splitlines()
    lines[6] = line
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 7\b"):
        load_runs([folder])


def test_a_record_without_its_loss_names_file_and_line(fabricate: Fabricate) -> None:
    folder = fabricate(stop=20)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "step": 30, "loss": "low"}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 3: loss = 'low': must be a number"):
        load_runs([folder])


def test_a_number_that_does_not_exist_is_nan(fabricate: Fabricate) -> None:
    folder = fabricate()
    edit(folder / "result.json", lambda result: result["evaluation"]["metrics"]["accuracy_k4"].update(value=None))
    (run,) = load_runs([folder])
    assert run.evaluation is not None and math.isnan(run.evaluation.metrics["accuracy_k4"].value)
    assert run.evaluation.metrics["accuracy_k4"].interval is None


@pytest.mark.parametrize("file", ["config.json", "result.json"])
def test_a_newer_format_is_refused(fabricate: Fabricate, file: str) -> None:
    folder = fabricate()
    edit(folder / file, lambda content: content.update(format=3))
    with pytest.raises(InputError, match="written by a newer canonlab"):
        load_runs([folder])


@pytest.mark.parametrize("file", ["config.json", "result.json"])
def test_a_truncated_file_is_named(fabricate: Fabricate, file: str) -> None:
    folder = fabricate()
    text = (folder / file).read_text()
    (folder / file).write_text(text[: len(text) // 2])
    with pytest.raises(InputError, match=f"{file} is damaged"):
        load_runs([folder.parent])


def test_missing_fields_are_named(fabricate: Fabricate) -> None:
    folder = fabricate()
    edit(folder / "config.json", lambda content: content["config"]["training"].pop("seed"))
    with pytest.raises(InputError, match=r"config\.json: config\.training\.seed is missing"):
        load_runs([folder])


@pytest.mark.parametrize("rate", [None, math.nan, "fast"])
def test_a_learning_rate_is_a_number(fabricate: Fabricate, rate: object) -> None:
    folder = fabricate()
    edit(folder / "config.json", lambda content: content["config"]["training"].update(lr=rate))
    with pytest.raises(InputError, match=r"config\.json: config\.training\.lr = .*: must be a (finite )?number"):
        load_runs([folder])
    edit(folder / "config.json", lambda content: content["config"]["training"].pop("lr"))
    with pytest.raises(InputError, match=r"config\.json: config\.training\.lr is missing"):
        load_runs([folder])


def test_a_diverged_run_knows_at_which_step(fabricate: Fabricate) -> None:
    folder = fabricate(stop=100)
    for content, said in (({"step": 80}, None), ({}, "step is missing"), ({"step": "80"}, "step = '80': must be an")):
        (folder / "diverged.json").write_text(json.dumps({"format": 1, **content}))
        if said is None:
            assert load_runs([folder])[0].diverged == 80
        else:
            with pytest.raises(InputError, match=rf"diverged\.json: {said}"):
                load_runs([folder])


def test_a_result_of_another_run_is_refused(fabricate: Fabricate) -> None:
    folder = fabricate()
    edit(folder / "result.json", lambda content: content.update(identity="0" * 64))
    with pytest.raises(InputError, match="is another run's"):
        load_runs([folder])


def test_of_folders_of_one_run_the_finished_one_counts(fabricate: Fabricate, tmp_path: Path) -> None:
    done, other = fabricate(), fabricate(seed=1)
    first, last = (Path(shutil.copytree(done, tmp_path / "runs" / name)) for name in ("a", "z"))
    assert [run.folder for run in load_runs([tmp_path])] == [first, other], "the first of several"
    (first / "result.json").unlink()
    (done / "result.json").unlink()
    assert [run.folder for run in load_runs([tmp_path])] == [other, last]
    (last / "result.json").unlink()
    assert [run.folder for run in load_runs([tmp_path])] == [first, other], "the first where none is finished"


def test_a_run_made_twice_counts_once_and_knows_its_twin(fabricate: Fabricate, tmp_path: Path) -> None:
    """Another number of threads rounds otherwise: the same run, but other weights."""
    folders = sorted(fabricate(backend={"threads": threads}) for threads in (1, 2, 4))
    shutil.copytree(folders[0], tmp_path / "runs" / "z")
    (run,) = load_runs([tmp_path])
    assert run.folder == folders[0] and [twin.folder for twin in run.twins] == folders[1:]
    for folder in folders[:2]:
        (folder / "result.json").unlink()
    (run,) = load_runs([tmp_path])
    assert run.folder == folders[2] and [twin.folder for twin in run.twins] == [tmp_path / "runs" / "z"]


def test_machine_and_measuring_make_no_other_run(fabricate: Fabricate) -> None:
    folder = fabricate()
    other = fabricate(
        training={"log_every": 5, "eval_every": 7, "checkpoint_every": 3, "eval_windows": 2, "final_windows": 9},
        backend={"device": "cuda", "compile": True, "threads": 9, "canon": "reference", "linear": "fla"},
    )
    one, two = (load_run(each).record for each in (folder, other))
    assert one.identity == two.identity and one.config == two.config and one.written_identity != two.written_identity
    assert two.measuring["log_every"] == 5 and two.machine["threads"] == 9 and "precision" not in two.machine
    for changed in ({"training": {"batch": 8}}, {"backend": {"precision": "bf16"}}, {"seed": 1}, {"canon": "A"}):
        assert load_run(fabricate(**changed)).record.identity != one.identity


def test_folders_of_version_0_1_are_read() -> None:
    finished, stopped = (load_run(FOLDERS / "0.1" / name) for name in ("finished", "stopped"))
    assert finished.result and finished.evaluated_step == 40 and stopped.result is None
    record = finished.record
    assert record.difficulty == "N" and record.config["precision"] == "fp32" and record.machine["threads"] == 1
    assert record.measuring["final_windows"] == 8 and record.written_identity.startswith("c7882b6fc2")


def test_a_users_task_named_like_a_built_in_one_has_no_difficulty(fabricate: Fabricate, depo: dict[str, Any]) -> None:
    assert load_run(fabricate(depo)).record.difficulty == "N"
    assert load_run(fabricate({**depo, "source": {"sha256": "0"}})).record.difficulty is None


def found(paths: list[Path], left_out: list[str] | None = None) -> list[str]:
    """The folders of runs, from the first path on."""
    return [str(run.folder.relative_to(paths[0])) for run in load_runs(paths, left_out)]


def test_runs_inside_of_runs_are_found(tmp_path: Path) -> None:
    outer = write_run(tmp_path, seed=0)
    inner = write_run(outer, seed=1)
    deepest = write_run(inner / "checkpoints" / "old", seed=2)
    assert found([tmp_path]) == [str(each.relative_to(tmp_path)) for each in (outer, inner, deepest)]


def test_linked_folders_are_taken_in_once_each(tmp_path: Path) -> None:
    elsewhere, here = tmp_path / "elsewhere", tmp_path / "here"
    far, near = write_run(elsewhere / "a", seed=0), write_run(here / "z", seed=1)
    (here / "link").symlink_to(elsewhere)
    (here / "again").symlink_to(elsewhere / "a")
    (here / "near").symlink_to(near)
    (here / "loop").symlink_to(here)
    (near / "up").symlink_to("../..")
    left_out: list[str] = []
    assert found([here], left_out) == [f"link/a/{far.name}", f"z/{near.name}"] and left_out == []
    assert len(load_runs([here / "near", here / "loop", here])) == 2


def test_links_that_lead_nowhere_are_said(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs")
    (tmp_path / "runs" / "unmounted").symlink_to("/nowhere/runs")
    (tmp_path / "runs" / "itself").symlink_to("itself")
    (tmp_path / "runs" / "notes.txt").symlink_to(run / "config.json")
    left_out: list[str] = []
    assert found([tmp_path / "runs"], left_out) == [run.name]
    assert sorted(line.partition("runs/")[2] for line in left_out) == [
        "itself: Too many levels of symbolic links",
        "unmounted: No such file or directory",
    ]
    with pytest.raises(Unreadable, match="cannot read .*runs/(itself|unmounted)"):
        load_runs([tmp_path / "runs"])


@pytest.mark.parametrize("closed", ["", "config.json", "metrics.jsonl", "result.json"])
def test_what_is_closed_to_us_is_left_out_and_said(closed: str, powerless: Path) -> None:
    runs = [write_run(powerless, seed=seed) for seed in range(2)]
    (runs[0] / closed).chmod(0)
    left_out: list[str] = []
    try:
        assert found([powerless], left_out) == [runs[1].name]
        assert left_out == [f"left out: cannot read {runs[0] / closed}: Permission denied"]
        for paths in ([powerless], [runs[0]]):
            with pytest.raises(Unreadable, match="Permission denied"):
                load_runs(paths)
        with pytest.raises(InputError, match=f"cannot read {runs[0]}.*: Permission denied"):
            load_runs([runs[0]], [])
    finally:
        (runs[0] / closed).chmod(0o700)


def test_what_is_damaged_is_not_left_out(fabricate: Fabricate) -> None:
    folder = fabricate()
    fabricate(seed=1)
    (folder / "result.json").write_text("{")
    with pytest.raises(InputError, match="result.json is damaged"):
        load_runs([folder.parent], [])


def test_folders_without_runs(fabricate: Fabricate, tmp_path: Path) -> None:
    fabricate()
    with pytest.raises(InputError, match=r"run '.*rums': there is no such folder; did you mean '.*runs'\?"):
        load_runs([tmp_path / "rums"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no run found in .*empty"):
        load_runs([tmp_path / "empty"])


def test_the_area_is_the_mean_height_of_the_curve() -> None:
    def height(*points: tuple[int, float], metric: str = "loss") -> float | None:
        found = [(step, Evaluation({"loss": Metric(y, None, 1, y - 1, y + 2, 1)}, ("loss",), {})) for step, y in points]
        area = Curves(evaluations=tuple(found)).area(metric)
        assert area is None or (area.value - area.low, area.high - area.value) == pytest.approx((1, 2))
        return area and area.value

    assert height((10, 1.0), (20, 0.5), (40, 0.5)) == pytest.approx((10 * 0.75 + 20 * 0.5) / 30)
    assert height((10, 1.0)) is None and height((10, 1.0), (20, 1.0), metric="kl") is None
    assert height((0, 1.0), (5, math.nan), (10, 0.0)) == pytest.approx(0.5)


def test_runs_may_be_compared_by_an_area(tmp_path: Path) -> None:
    config = tiny_config()
    training = dataclasses.replace(config.training, metric="area_loss")
    created = create_run(dataclasses.replace(config, training=training), tmp_path / "run")
    result = train(created, Recorder(), "canonlab train copy")
    assert result["evaluation"]["headline"][0] == result["best"]["metric"] == "loss"
    (run,) = load_runs([tmp_path])
    assert run.result and run.result.evaluation.headline[:2] == ("area_loss", "loss")
    first, last = (evaluation.metrics["loss"].value for _, evaluation in run.curves.evaluations)
    assert run.result.evaluation.metrics["area_loss"].value == pytest.approx((first + last) / 2)
    (section,) = sections([run])
    (cell,) = cells(section)
    assert cell.metric == "area_loss" and cell.sign == -1


def test_a_field_that_is_newer_than_a_folder_makes_no_other_row(fabricate: Fabricate) -> None:
    """Runs of one setting made before and after a mixer got a field: the field is at the value that it came with."""
    folders = [fabricate(seed=0), fabricate(seed=1)]

    def newer(content: dict[str, Any]) -> None:
        for block in content["config"]["model"]["pattern"]:
            assert block["mixer"]["class"] == "Attention"
            block["mixer"]["arguments"] |= {"norm_eps": 1e-6, "rope_base": 10_000.0}

    edit(folders[1] / "config.json", newer)
    (section,) = sections(load_runs(folders))
    assert len(section.rows) == 1 and len(section.rows[0].runs) == 2
