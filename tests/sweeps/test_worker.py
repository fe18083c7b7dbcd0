"""A worker of a sweep: what it skips, goes on with, leaves to others, and what a run that fails does to the others."""

import dataclasses
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from canonlab.errors import Failed, Interrupted
from canonlab.files import read_json
from canonlab.locks import locked
from canonlab.models.config import ModelConfig
from canonlab.sweeps.status import Observer
from canonlab.sweeps.worker import retry, work
from canonlab.training.config import RunConfig
from canonlab.training.loop import failures, train
from canonlab.training.run import create_run, open_run
from tiny_runs import MIXER, Recorder, alone, listed, make_runs, tiny_config, varied

DIVERGES = {"lr": 1e30, "clip": 0.0, "warmup": 0, "steps": 40, "log_every": 1}


def test_a_diverged_run_stops_no_other_and_is_not_repeated(tmp_path: Path) -> None:
    configs = [tiny_config(**DIVERGES), tiny_config()]
    diverged, done = make_runs(configs, tmp_path)
    assert done.done and not diverged.done
    record = read_json(diverged.folder / "diverged.json")
    assert set(record) == {"format", "step", "reason"}
    log = (diverged.folder / "metrics.jsonl").read_bytes()

    second = Recorder()
    assert [run.folder for run in make_runs(configs, tmp_path, second)] == [diverged.folder, done.folder]
    assert second.records == second.messages == [] and (diverged.folder / "metrics.jsonl").read_bytes() == log
    (run,) = Observer(tmp_path).survey().of("diverged")
    assert f"step {record['step']}: " in run.reason

    third = Recorder()
    retry(listed(configs, tmp_path))
    make_runs(configs, tmp_path, third)
    assert {entry["step"] for entry in third.records} == set(range(1, record["step"]))


def test_what_is_left_is_run(tmp_path: Path) -> None:
    make_runs([tiny_config()], tmp_path)
    listener = Recorder()
    runs = make_runs([tiny_config(), tiny_config(seed=1)], tmp_path, listener)
    assert all(run.done for run in runs) and listener.messages[0] == "run 2 of 2"


@pytest.fixture
def various(tmp_path: Path) -> Iterator[list[RunConfig]]:
    """Runs that might disturb each other: experts on two threads in bf16, and a user's file that draws random numbers,
    and changes arithmetic when it is imported."""
    plain = tiny_config(steps=4, eval_every=4, eval_windows=2, final_windows=2, isolate=True)
    own = varied(varied(plain, "training", isolate=False), "model", model=f"{tmp_path / 'mine.py'}:Mean", canon="AC")
    experts = varied(varied(plain, "training", microbatch=2), "model", model="llama-moe", canon="AC")
    experts = varied(varied(experts, "backend", threads=2, precision="bf16"), "task", set={"N": 7, "context": 32})
    text = MIXER.replace("self.out(x.", "self.out(torch.nn.functional.dropout(x, 0.1, self.training).")
    disturbing = f'torch.set_float32_matmul_precision("medium")  # in {tmp_path}, as equal files are imported once'
    (tmp_path / "mine.py").write_text(f"{text}\n\n{disturbing}\n")
    yield [plain, experts, own]
    torch.set_float32_matmul_precision("highest")


def results_of(configs: list[RunConfig], folder: Path) -> dict[str, Any]:
    runs = make_runs(configs, folder)
    return {run.plan.name: {**run.result(), "cost": None, "log": None} for run in runs}


def test_runs_have_the_same_bits_in_any_order(tmp_path: Path, various: list[RunConfig]) -> None:
    assert results_of(various, tmp_path / "one") == results_of(various[::-1], tmp_path / "other")


@pytest.mark.slow
def test_a_run_has_the_bits_in_a_sweep_that_it_has_alone(tmp_path: Path, various: list[RunConfig]) -> None:
    run, *_ = make_runs(various, tmp_path / "runs")
    assert run.result()["weights_sha256"] == alone(various[0], tmp_path / "alone")["weights_sha256"]


def failing(folder: Path, line: str, condition: str = "x.shape[0] > 1") -> ModelConfig:
    """A mixer that executes `line` when it is trained, not when it is tried."""
    before = "        return self.out"
    assert before in MIXER
    path = folder / "mine.py"
    path.write_text(MIXER.replace(before, f"        if {condition} and self.training:\n            {line}\n{before}"))
    return ModelConfig(model=f"{path}:Mean", size="1L16D2H")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("raise ValueError('no')", r"mine.py, line 20: ValueError: no$"),
        ("raise SystemExit(0)", r"mine.py, line 20: SystemExit: 0$"),
        ("return x[:, :1, :3], state", "RuntimeError: The size of tensor"),
    ],
)
def test_a_users_code_that_fails_stops_no_other_run(tmp_path: Path, line: str, reason: str) -> None:
    broken = dataclasses.replace(tiny_config(), model=failing(tmp_path, line, "x.shape[0] == 4"))
    listener = Recorder()
    runs = make_runs([broken, tiny_config()], tmp_path / "runs", listener)
    assert [run.done for run in runs] == [False, True]
    record = read_json(runs[0].folder / "failed.json")
    assert re.search(reason, record["reason"]) and "\n" not in record["reason"]
    assert "Traceback" in record["traceback"][0] and f"{runs[0].folder} failed: {record['reason']}" in listener.messages
    before = (runs[0].folder / "environment.json").read_bytes()
    make_runs([broken, tiny_config()], tmp_path / "runs")  # not again, unless that is asked for
    assert (runs[0].folder / "environment.json").read_bytes() == before


@pytest.mark.parametrize("damage", ["checkpoint", "result", "config"])
def test_a_folder_that_cannot_be_used_stops_no_other_run(tmp_path: Path, damage: str) -> None:
    (run,) = make_runs([tiny_config()], tmp_path)
    if damage != "result":
        (run.folder / "result.json").unlink()
    damaged = {"checkpoint": "checkpoints/last.safetensors", "result": "result.json", "config": "config.json"}
    if damage in damaged:
        path = run.folder / damaged[damage]
        path.write_bytes(path.read_bytes()[:-9])
    runs = listed([tiny_config(), tiny_config(seed=1)], tmp_path)
    work(runs, Recorder())
    wrong, done = Observer(tmp_path).survey().runs
    assert done.state == "done" and wrong.state == ("damaged" if damage == "result" else "failed")
    assert "damaged" in wrong.reason


def test_a_run_that_another_process_makes_is_left_to_it_and_waited_for(tmp_path: Path) -> None:
    runs = listed([tiny_config(), tiny_config(seed=1)], tmp_path)
    folder = runs.folder(runs.entries[0])
    train(create_run(tiny_config(steps=12), folder), Recorder())  # which the other process will have done then
    result = (folder / "result.json").rename(tmp_path / "result.json")
    listener = Recorder()
    waiting = threading.Event()
    listener.message = lambda text: waiting.set() if "waiting for process" in text else None  # type: ignore[method-assign]
    with locked(folder), ThreadPoolExecutor(1) as pool:
        working = pool.submit(work, runs, listener)
        assert waiting.wait(60) and not working.done()
        assert [run.state for run in Observer(tmp_path).survey().runs] == ["running", "done"]
        result.rename(folder / "result.json")
        assert working.result(60) == []
    assert {record["step"] for record in listener.records} <= set(range(13)) and len(listener.records) == 8


def test_a_worker_that_would_only_wait_may_leave(tmp_path: Path) -> None:
    runs = listed([tiny_config(), tiny_config(seed=1)], tmp_path)
    (folder := runs.folder(runs.entries[0])).mkdir()
    with locked(folder):
        assert work(runs, Recorder(), patience=0.0) == []
    assert [run.state for run in Observer(tmp_path).survey().runs] == ["to do", "done"]


def test_memory_that_is_not_enough_is_told(tmp_path: Path) -> None:
    line = "raise RuntimeError('DefaultCPUAllocator: can\\'t allocate memory: you tried to allocate 9 bytes')"
    with pytest.raises(Failed, match="mine.py, line 20: RuntimeError: DefaultCPUAllocator"):
        config = dataclasses.replace(tiny_config(), model=failing(tmp_path, line, "x.shape[0] == 4"))
        train(create_run(config, tmp_path / "run"), Recorder())
    with pytest.raises(Failed, match="out of memory; a microbatch takes less"), failures():
        torch.empty(1 << 60)


def test_what_cannot_be_measured_is_not_lost(tmp_path: Path) -> None:
    """An evaluation that fails leaves a checkpoint of its step, and is made when the run goes on."""
    flag = tmp_path / "broken"
    condition = f"not self.training and len(x) > 1 and __import__('os').path.exists({str(flag)!r})"
    model = failing(tmp_path, "raise ValueError('no')")
    text = (tmp_path / "mine.py").read_text().replace("x.shape[0] > 1 and self.training", condition)
    (tmp_path / "mine.py").write_text(text)
    config = dataclasses.replace(tiny_config(checkpoint_every=100), model=model)
    flag.touch()
    with pytest.raises(Failed, match="mine.py, line 20: ValueError: no"):
        train(create_run(config, tmp_path / "run"), Recorder())
    flag.unlink()
    listener = Recorder()
    result = train(open_run(tmp_path / "run"), listener)
    assert listener.first == 6 and [r["step"] for r in listener.records if r["kind"] == "eval"] == [6, 12]
    assert result["weights_sha256"] == train(create_run(config, tmp_path / "whole"), Recorder())["weights_sha256"]


def test_a_stopped_sweep_says_how_to_go_on_with_the_sweep(tmp_path: Path) -> None:
    def stop(record: dict[str, Any]) -> None:
        if len(listener.messages) == 2 and record["step"] == 4:
            signal.raise_signal(signal.SIGTERM)

    listener = Recorder(stop)
    configs = [tiny_config(), tiny_config(seed=1), tiny_config(seed=2)]
    with pytest.raises(Interrupted) as stopped:
        work(listed(configs, tmp_path, "canonlab sweep laptop/copy --out 'my runs'"), listener)
    said = r"run 2 of 3 stopped at step [45] of 12; go on with: canonlab sweep laptop/copy --out 'my runs'"
    assert re.fullmatch(said, str(stopped.value))
    assert all(run.done for run in make_runs(configs, tmp_path))
