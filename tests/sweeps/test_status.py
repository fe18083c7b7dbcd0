"""What is told of a folder of runs: from the runs' own files, whatever state they are in."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from canonlab.errors import InputError
from canonlab.files import read_json, write_json
from canonlab.locks import locked
from canonlab.sweeps.status import Observer, Survey, Task, _left, not_among
from canonlab.sweeps.status import RunStatus as Run
from canonlab.training.loop import train
from canonlab.training.run import create_run
from tiny_runs import Recorder, listed, make_runs, tiny_config


def stop_at(step: int) -> Recorder:
    """A listener that ends a run there, as a kill would."""

    def act(record: dict[str, Any]) -> None:
        if record["step"] == step:
            raise KeyboardInterrupt

    return Recorder(act)


@pytest.fixture
def various(tmp_path: Path) -> Path:
    """A sweep of five runs: one done, one interrupted, one diverged, one failed, one to do."""
    runs = listed([tiny_config(seed=seed) for seed in range(5)], tmp_path)
    for seed, listener in ((0, Recorder()), (1, stop_at(8))):
        with suppress(KeyboardInterrupt):
            train(create_run(tiny_config(seed=seed), runs.folder(runs.entries[seed])), listener)
    for seed in (2, 3):
        create_run(tiny_config(seed=seed), runs.folder(runs.entries[seed]))
    write_json(runs.folder(runs.entries[2]) / "diverged.json", {"step": 7, "reason": "not finite"})
    write_json(runs.folder(runs.entries[3]) / "failed.json", {"reason": "no memory", "said": ["one", "two"]})
    return tmp_path


def test_each_state_and_what_belongs_to_it(various: Path) -> None:
    survey = Observer(various).survey()
    done, interrupted, diverged, failed, to_do = survey.runs
    assert [run.state for run in survey.runs] == ["done", "interrupted", "diverged", "failed", "to do"]
    result = read_json(various / done.task.folder / "result.json")
    assert done.metric == "token_accuracy" and done.share
    assert done.value == result["evaluation"]["metrics"]["token_accuracy"]["value"]
    assert (interrupted.step, interrupted.steps, interrupted.metric) == (8, 12, "token_accuracy")
    assert diverged.reason == "step 7: not finite" and failed.reason == "no memory" and failed.said == ("one", "two")
    (cell,) = survey.cells
    assert (cell.cell, cell.done, cell.runs) == ("copy-llama-rope-ABCD-1L16D2H", 1, 5) and cell.best in survey.runs
    assert survey.left is not None
    with locked(various / interrupted.task.folder):
        assert Observer(various).survey().states["running"] == 1
    assert json.loads(json.dumps(survey.plain()))["states"] == survey.states
    assert to_do.value is None


def test_time_left_is_that_of_the_cell_by_how_many_are_at_work() -> None:
    def run(cell: str, state: str, step: int = 0, seconds: float = 0.0) -> Run:
        return Run(Task(f"{cell}-{state}-{step}", cell, 10), state, step, 100, seconds)

    fast, slow = run("a", "done", seconds=1.0), run("b", "done", seconds=3.0)
    assert _left([]) is None and _left([run("a", "to do")]) is None and _left([fast, slow]) == 0
    assert _left([fast, slow, run("a", "to do"), run("b", "to do")]) == pytest.approx(4)
    assert _left([fast, slow, run("b", "running", 50), run("b", "running", 50)]) == pytest.approx(1.5)
    assert _left([fast, slow, run("new", "to do")]) == pytest.approx(2)


def test_what_has_ended_is_read_once_until_it_is_made_again(various: Path) -> None:
    observer = Observer(various)
    before = observer.survey()
    failed = various / before.runs[3].task.folder / "failed.json"
    failed.write_text("anything")
    assert observer.survey() == before
    failed.unlink()
    assert observer.survey().runs[3].state == "interrupted"


def test_runs_that_are_in_no_list(tmp_path: Path) -> None:
    (run,) = make_runs([tiny_config(lr=1e-3)], tmp_path)
    (tmp_path / "sweep" / "tiny.json").unlink()
    for folder in (tmp_path, run.folder):
        (found,) = Observer(folder).survey().runs
        assert found.state == "done"
    assert Observer(tmp_path).survey().runs[0].task.cell == "copy-llama-rope-ABCD-1L16D2H"


@pytest.mark.parametrize("file", ["result.json", "config.json", "metrics.jsonl"])
def test_damage_is_told_of_the_run_alone(various: Path, file: str) -> None:
    runs = Observer(various).survey().runs
    run = runs[0] if file == "result.json" else runs[1]
    (various / run.task.folder / file).write_text('{"half": \n{}\n')
    found = Observer(various).survey().runs
    assert [each.state for each in found if each.task == run.task] == ["damaged"]
    assert [each for each in found if each.task != run.task] == [each for each in runs if each.task != run.task]


@pytest.mark.parametrize(("name", "message"), [("nowhere", "no such folder"), ("empty", "no run found in")])
def test_a_folder_without_runs_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        Observer(tmp_path / name).survey()


def test_a_long_log_is_read_from_its_end(various: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Observer(various).survey().runs[1]
    opened = (various / before.task.folder / "metrics.jsonl").stat().st_size
    monkeypatch.setattr("canonlab.sweeps.status.LOG_END", opened - 10)
    assert Observer(various).survey().runs[1] == before


def test_nothing_is_written(various: Path) -> None:
    def snapshot() -> list[tuple[str, int]]:
        return sorted((str(path), os.stat(path).st_mtime_ns) for path in various.rglob("*"))

    before = snapshot()
    survey: Survey = Observer(various).survey()
    assert survey.runs and snapshot() == before


def test_runs_of_a_sweep_that_are_not_reported_on_are_told(various: Path) -> None:
    folders = [various / run.task.folder for run in Observer(various).survey().runs]
    there = folders[:4]  # the fifth isn't begun
    assert not_among(there) == []
    assert not_among(there[:3]) == [f"1 run of the same sweep, in {various}, left out"]
    assert not_among(there[:1]) == [f"3 runs of the same sweep, in {various}, left out"]
    (various / "sweep" / "tiny.json").unlink()
    assert not_among(there[:1]) == []  # runs of no sweep
