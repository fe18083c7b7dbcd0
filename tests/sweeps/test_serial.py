"""Runs one after another: what is skipped, what goes on, and what a diverged run does to the others."""

from pathlib import Path

from canonlab.files import read_json
from canonlab.sweeps.serial import run_all
from tiny_runs import Recorder, tiny_config

DIVERGES = {"lr": 1e30, "clip": 0.0, "warmup": 0, "steps": 40, "log_every": 1}


def test_a_diverged_run_stops_no_other_and_is_not_repeated(tmp_path: Path) -> None:
    configs = [tiny_config(**DIVERGES), tiny_config()]
    first = Recorder()
    diverged, done = run_all(configs, tmp_path, first, "sweep")
    assert done.done and not diverged.done
    record = read_json(diverged.folder / "diverged.json")
    assert set(record) == {"format", "step", "reason"}
    log = (diverged.folder / "metrics.jsonl").read_bytes()

    second = Recorder()
    assert [run.folder for run in run_all(configs, tmp_path, second, "sweep")] == [diverged.folder, done.folder]
    assert second.records == [] and (diverged.folder / "metrics.jsonl").read_bytes() == log
    (message,) = second.messages
    assert f"canonlab resume {diverged.folder}" in message and f"step {record['step']}" in message


def test_what_is_left_is_run(tmp_path: Path) -> None:
    run_all([tiny_config()], tmp_path, Recorder(), "sweep")
    listener = Recorder()
    runs = run_all([tiny_config(), tiny_config(seed=1)], tmp_path, listener, "sweep")
    assert all(run.done for run in runs) and listener.messages[0] == "run 2 of 2"
