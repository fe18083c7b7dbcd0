"""Recipes with quantized runs: what they stand for, in which order they are made, and who waits for whom."""

import dataclasses
import threading
from pathlib import Path
from typing import Any

import pytest

from canonlab.files import read_json, write_json
from canonlab.locks import locked
from canonlab.quantization.config import QuantizationConfig
from canonlab.results.load import load_runs
from canonlab.sweeps import worker
from canonlab.sweeps.forecast import costs_of, forecast, states
from canonlab.sweeps.recipe import parse_recipe
from canonlab.sweeps.worker import retry, work
from canonlab.sweeps.worklist import read_worklist
from canonlab.training.config import RunConfig
from canonlab.training.plan import plan_runs
from canonlab.training.run import create_run
from tiny_runs import Recorder, listed, tiny_config


def quantized(bits: int, *words: Any, **training: Any) -> RunConfig:
    return dataclasses.replace(tiny_config(**training), quantization=QuantizationConfig(bits, *words))


def test_a_recipe_has_each_run_once() -> None:
    recipe = parse_recipe(
        {
            "task": {"name": "copy", "set": {"N": 6, "context": 28}},
            "grid": {
                "quantization.bits": [0, 8, 4],
                "quantization.method": ["gptq", "nearest"],
                "quantization.windows": [16, 32],
            },
        }
    )
    found = [(run.quantization.bits, run.quantization.method) for run in recipe.runs]
    assert sorted(found) == sorted([(0, "gptq"), *((b, m) for b in (8, 4) for m in ("gptq", "gptq", "nearest"))])


def test_what_is_made_of_others_counts_them_once(tmp_path: Path) -> None:
    alone, whole = [quantized(4), quantized(4, "nearest")], [quantized(4), tiny_config(), quantized(4, "nearest")]
    plans = [plan_runs(configs) for configs in (alone, whole)]
    assert [[plan.quantizes for plan in each] for each in plans] == [[False, True, True], [True, False, True]]
    works = [forecast(each, costs_of(each), states(each, tmp_path)) for each in plans]
    (trained,) = plan_runs([tiny_config()])
    for found in works:
        assert found.all.runs == 3 and found.all.flops == forecast([trained], costs_of([trained]), ["to do"]).all.flops
        (group,) = found.comparisons
        assert group.models == 3


def test_what_quantizes_is_made_last(tmp_path: Path) -> None:
    runs = listed([quantized(4), quantized(3, "nearest"), tiny_config()], tmp_path)
    assert [bool(each.origin) for each in runs.entries] == [True, True, False]
    assert {each.origin for each in runs.entries} == {"", runs.entries[2].folder}
    listener = Recorder()
    assert work(runs, listener) == []
    assert [line for line in listener.messages if line.startswith("run ")] == ["run 3 of 3", "run 1 of 3", "run 2 of 3"]
    assert all(run.result for run in load_runs([tmp_path]))
    again = Recorder()
    assert work(listed([quantized(4)], tmp_path), again) == [] and again.records == again.messages == []


def test_one_waits_for_who_trains_what_it_is_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = listed([quantized(4, "nearest")], tmp_path)
    origin = create_run(tiny_config(), parent=tmp_path).folder
    monkeypatch.setattr(worker, "WAIT", 0.02)
    listener = Recorder()
    with locked(origin):
        work(runs, listener, patience=0.1)
    waiting = [line for line in listener.messages if "waiting for process" in line]
    assert len(waiting) == 2 and str(origin) in waiting[0] and str(origin) in waiting[1]
    assert not (tmp_path / runs.entries[1].folder).exists()
    assert work(runs, Recorder()) == [] and all(run.result for run in load_runs([tmp_path]))


@pytest.mark.parametrize("attempt", range(3))
def test_two_workers_make_each_once(tmp_path: Path, attempt: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "WAIT", 0.02)
    configs = [quantized(4, "nearest", seed=seed) for seed in range(2)]
    path = listed(configs, tmp_path).path
    listeners = [Recorder(), Recorder()]
    crew = [threading.Thread(target=work, args=(read_worklist(path), listener)) for listener in listeners]
    for each in crew:
        each.start()
    for each in crew:
        each.join(60)
        assert not each.is_alive()
    steps = [record["step"] for listener in listeners for record in listener.records if record["kind"] == "eval"]
    assert sorted(steps) == [6, 6, 12, 12], "of two runs that are trained"
    assert len([run for run in load_runs([tmp_path]) if run.result]) == 4


def test_what_is_made_of_a_run_that_diverged_fails_until_that_is_made_again(tmp_path: Path) -> None:
    lost = {"lr": 1e30, "clip": 0.0, "warmup": 0, "steps": 40, "log_every": 1}
    runs = listed([quantized(4, **lost)], tmp_path)
    assert work(runs, Recorder()) == []
    failed = read_json(runs.folder(runs.entries[1]) / "failed.json")
    assert runs.entries[0].folder in failed["reason"] and "diverged" in failed["reason"]
    listener = Recorder()
    assert work(runs, listener) == [] and listener.messages == []
    retry(runs)
    assert not (runs.folder(runs.entries[1]) / "failed.json").exists()


def test_a_list_of_before_is_read(tmp_path: Path) -> None:
    runs = listed([tiny_config()], tmp_path)
    content = {key: value for key, value in read_json(runs.path).items() if key != "format"}
    for run in content["runs"]:
        del run["origin"], run["config"]["quantization"]
    write_json(runs.path, content)
    assert read_worklist(runs.path).entries == runs.entries
