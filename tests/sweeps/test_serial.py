"""Runs one after another: what is skipped, what goes on, and what a run that fails or diverges does to the others."""

import dataclasses
import re
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from canonlab.files import locked, read_json
from canonlab.models.config import ModelConfig
from canonlab.sweeps.serial import run_all
from canonlab.training.config import RunConfig
from canonlab.training.loop import Failed, Interrupted, _failures, train
from canonlab.training.run import create_run, open_run
from tiny_runs import MIXER, Recorder, alone, tiny_config, varied

DIVERGES = {"lr": 1e30, "clip": 0.0, "warmup": 0, "steps": 40, "log_every": 1}


def test_a_diverged_run_stops_no_other_and_is_not_repeated(tmp_path: Path) -> None:
    configs = [tiny_config(**DIVERGES), tiny_config()]
    first = Recorder()
    (diverged, done), failures = run_all(configs, tmp_path, first, "sweep")
    assert failures == []
    assert done.done and not diverged.done
    record = read_json(diverged.folder / "diverged.json")
    assert set(record) == {"format", "step", "reason"}
    log = (diverged.folder / "metrics.jsonl").read_bytes()

    second = Recorder()
    assert [run.folder for run in run_all(configs, tmp_path, second, "sweep")[0]] == [diverged.folder, done.folder]
    assert second.records == [] and (diverged.folder / "metrics.jsonl").read_bytes() == log
    (message,) = second.messages
    assert f"canonlab resume {diverged.folder}" in message and f"step {record['step']}" in message


def test_what_is_left_is_run(tmp_path: Path) -> None:
    run_all([tiny_config()], tmp_path, Recorder(), "sweep")
    listener = Recorder()
    runs, _ = run_all([tiny_config(), tiny_config(seed=1)], tmp_path, listener, "sweep")
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
    runs, failures = run_all(configs, folder, Recorder(), "sweep")
    assert not failures
    return {run.plan.name: {**run.result(), "cost": None, "log": None} for run in runs}


def test_runs_have_the_same_bits_in_any_order(tmp_path: Path, various: list[RunConfig]) -> None:
    assert results_of(various, tmp_path / "one") == results_of(various[::-1], tmp_path / "other")


@pytest.mark.slow
def test_a_run_has_the_bits_in_a_sweep_that_it_has_alone(tmp_path: Path, various: list[RunConfig]) -> None:
    (run, *_), _ = run_all(various, tmp_path / "runs", Recorder(), "sweep")
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
    runs, failures = run_all([broken, tiny_config()], tmp_path / "runs", listener, "sweep")
    assert [run.done for run in runs] == [False, True]
    (failure,) = failures
    assert re.search(reason, failure) and "\n" not in failure
    record = read_json(runs[0].folder / "failed.json")
    assert failure == f"{runs[0].folder}: {record['reason']}" and "Traceback" in record["traceback"][0]


@pytest.mark.parametrize("damage", ["checkpoint", "held", "result", "config"])
def test_a_folder_that_cannot_be_used_stops_no_other_run(tmp_path: Path, damage: str) -> None:
    (run,), _ = run_all([tiny_config()], tmp_path, Recorder(), "sweep")
    if damage != "result":
        (run.folder / "result.json").unlink()
    damaged = {"checkpoint": "checkpoints/last.safetensors", "result": "result.json", "config": "config.json"}
    if damage in damaged:
        path = run.folder / damaged[damage]
        path.write_bytes(path.read_bytes()[:-9])
    with locked(run.folder) if damage == "held" else nullcontext():
        runs, failures = run_all([tiny_config(), tiny_config(seed=1)], tmp_path, Recorder(), "sweep")
    assert runs[-1].done and len(failures) == 1 and str(run.folder) in failures[0]
    assert ("another process is working on" if damage == "held" else "damaged") in failures[0]


def test_memory_that_is_not_enough_is_told(tmp_path: Path) -> None:
    line = "raise RuntimeError('DefaultCPUAllocator: can\\'t allocate memory: you tried to allocate 9 bytes')"
    with pytest.raises(Failed, match="mine.py, line 20: RuntimeError: DefaultCPUAllocator"):
        config = dataclasses.replace(tiny_config(), model=failing(tmp_path, line, "x.shape[0] == 4"))
        train(create_run(config, tmp_path / "run"), Recorder())
    with pytest.raises(Failed, match="out of memory; a microbatch takes less"), _failures():
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
        run_all(configs, tmp_path, listener, "canonlab sweep laptop/copy --out 'my runs'")
    said = r"run 2 of 3 stopped at step [45] of 12; go on with: canonlab sweep laptop/copy --out 'my runs'"
    assert re.fullmatch(said, str(stopped.value))
    assert all(run.done for run in run_all(configs, tmp_path, Recorder(), "sweep")[0])
