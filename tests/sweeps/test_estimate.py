"""Time, memory and disk of runs before they start; with measurements that are made up, so that results are exact."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from canonlab.errors import Failed, InputError
from canonlab.models.cost import cost
from canonlab.sweeps import estimate, gpus
from canonlab.sweeps.estimate import Estimate, Run, Time, _schedule
from canonlab.sweeps.forecast import costs_of, training_flops
from canonlab.sweeps.measure import Measured, Seconds, evaluated_windows
from canonlab.sweeps.recipe import parse_recipe
from canonlab.training.config import RunConfig
from canonlab.training.plan import Plan, plan_runs
from tiny_runs import make_runs, tiny_config, varied

TINY = dataclasses.asdict(tiny_config(steps=6, eval_every=2, eval_windows=4, final_windows=8, checkpoint_every=3))


def planned(**grid: list[object]) -> list[Plan]:
    return plan_runs(
        parse_recipe({**TINY, "grid": {name.replace("__", "."): axis for name, axis in grid.items()}}).runs
    )


class Faked:
    """In place of `measure_all`: a step takes 1 s, a window 0.1 s, a checkpoint 0.5 s; only `most` runs are in time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cores: int, most: int = 100, share: float = 1.0) -> None:
        self.most, self.share = most, share
        monkeypatch.setattr(estimate, "measure_all", self)
        monkeypatch.setattr("canonlab.sweeps.layout.cores", lambda: cores)

    def __call__(self, configs: Sequence[RunConfig], threads: int, workers: int) -> Measured:
        self.configs, self.threads, self.workers = configs, threads, workers
        seconds = Seconds(start=2.0, first=10.0, step=1.0, window=0.1, save=0.5)
        return Measured(3.0, [seconds if number < self.most else None for number in range(len(configs))], self.share)


ONE = 2 + 6 * 1 + (3 * 4 + 8) * 0.1 + (3 + 2) * 0.5
"""Seconds of such a run: start, steps, windows of evaluations and of the final one; checkpoints and best ones."""


def here(plans: Sequence[Plan], parent: Path, done: int = 0, measuring: bool = True) -> Estimate:
    states = ["done"] * done + ["to do"] * (len(plans) - done)
    return estimate.here(plans, costs_of(plans), states, parent, measuring)


def test_runs_of_one_kind_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faked = Faked(monkeypatch, cores=2)
    plans = planned(model__canon=["none", "ABCD"], training__seed=[0, 1, 2], training__lr=[0.1, 0.2])
    found = here(plans, tmp_path, done=11)
    assert [config.model.canon for config in faked.configs] == ["none", "ABCD"] and (faked.threads, faked.workers) == (
        1,
        2,
    )
    assert found.all and found.left and found.at_once == 2
    assert found.all.runs == pytest.approx(12 * ONE) and found.left.runs == pytest.approx(ONE)
    # both workers have 6 runs, of both kinds; loading stands three times one after another: command, worker, report
    assert found.all.wall == pytest.approx(3 * 3 + 2 * 10 + 6 * ONE)
    assert found.left.wall == pytest.approx(3 * 3 + 10 + ONE)
    assert found.notes == ["measured: 2 kinds of run, 2 at once"]
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_measured_in_time_is_scaled_by_its_flops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Faked(monkeypatch, cores=1, most=1)
    plans = planned(model__model=["llama-rope"], model__size=["1L16D2H", "2L64D2H"])
    found = here(plans, tmp_path)
    small, large = costs_of(plans)
    flops = small.flops_per_token / large.flops_per_token
    scaled = 2 + flops * (6 + 20 * 0.1) + small.parameters / large.parameters * 5 * 0.5
    assert found.all and found.all.runs == pytest.approx(ONE + scaled)
    assert "not measured: 1 kind more, by the FLOPs of the nearest one with the same mixers" in found.notes


def test_a_busy_machine_and_one_that_is_too_slow_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Faked(monkeypatch, cores=2, share=0.4)
    assert "other work kept it waiting 60% of the time" in here(planned(), tmp_path).notes[1]
    Faked(monkeypatch, cores=2, most=0)
    with pytest.raises(Failed, match="no run could be measured"):
        here(planned(), tmp_path)


def test_without_measuring_there_is_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "measure_all", None)
    monkeypatch.setattr("canonlab.sweeps.layout.measure", None)
    plans = [dataclasses.replace(plan, asked=varied(plan.asked, "backend", threads=0)) for plan in planned()]
    found = here(plans, tmp_path, measuring=False)
    assert (found.all, found.left) == (None, None) and found.memory and found.disk.done


def test_workers_take_the_largest_run_that_is_left() -> None:
    runs = [Run("a", 1, 1.0), Run("a", 9, 9.0), Run("b", 5, 5.0), Run("b", 4, 4.0)]
    assert _schedule(runs, {"a": 0.0, "b": 0.0}, 2, 0.0) == Time(10.0, 19.0)
    assert _schedule(runs, {"a": 0.0, "b": 2.0}, 2, 0.0) == Time(11.0, 19.0)
    assert _schedule(runs, {"a": 0.0, "b": 0.0}, 1, 1.0) == Time(1 + 1 + 19, 19.0)
    assert _schedule([], {}, 2, 1.0) == Time(0.0, 0.0)


def test_gpus_by_published_rates(tmp_path: Path) -> None:
    plans = [
        dataclasses.replace(plan, asked=varied(plan.asked, "backend", precision="auto"))
        for plan in planned(training__seed=[0, 1, 2])
    ]
    costs = costs_of(plans)
    found = estimate.on_gpus(plans, costs, ["done", "to do", "to do"], *gpus.parse("2xh100"))
    forward = evaluated_windows(plans[0]) * costs[0].flops_per_token * plans[0].task.context
    one = (training_flops(plans[0], costs[0]) + forward) / (989e12 * 0.35 * 16 / 1024)
    assert found.all and found.left and found.at_once == 2
    assert dataclasses.astuple(found.all) == pytest.approx((2 * one, 3 * one))
    assert dataclasses.astuple(found.left) == pytest.approx((one, 2 * one))
    assert found.room == 80e9 and found.memory and found.memory.bytes < 1e6
    assert "1% at width 16 of 989 TFLOP/s (bf16)" in found.notes[0]


def test_memory_is_that_of_the_largest_run() -> None:
    plans = planned(model__size=["1L16D2H", "2L64D2H"], model__model=["llama-rope", "gla"])
    found = estimate.largest(plans, costs_of(plans))
    each = [estimate.run_bytes(plan, cost(plan.decoder, plan.task.context)) for plan in plans]
    assert found and found.bytes == max(number or 0 for number in each) and "-2L64D2H" in found.run


def test_disk_is_what_folders_have(tmp_path: Path) -> None:
    configs = [tiny_config(seed=seed) for seed in range(2)]
    folders = [run.folder for run in make_runs(configs, tmp_path)]
    plans = plan_runs(configs)
    told = estimate.disk(plans, costs_of(plans), 2)
    there = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
    assert there / 3 < told.done < 3 * there


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("8xh10", "unknown on 'h10'; did you mean 'h100'"),
        ("0xh100", "on = 0"),
        ("8 h100", "such as 8xh100"),
        ("", "such as"),
    ],
)
def test_gpus_that_there_are_not(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        gpus.parse(text)


def test_a_gpu_that_lacks_bf16_and_models_that_are_wide() -> None:
    v100, h100 = gpus.parse("v100")[1], gpus.parse("8xH100")[1]
    assert v100.rate(1024, "bf16") == v100.rate(4096, "fp32") == pytest.approx(0.35 * 15.7e12)
    assert h100.rate(512, "bf16") == pytest.approx(h100.rate(1024, "bf16") / 2)
