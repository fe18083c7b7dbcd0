"""`canonlab plan` as its user meets it; what it says is computed in `sweeps.estimate`."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from canonlab.sweeps import estimate
from canonlab.sweeps.measure import Measured, Seconds
from canonlab.training.config import RunConfig
from commands import Cli


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Commands on a machine of two cores, where a step takes 0.1 s and everything else nothing."""
    monkeypatch.chdir(tmp_path)

    def measured(configs: Sequence[RunConfig], threads: int, workers: int) -> Measured:
        return Measured(0.0, [Seconds(0.0, 0.0, 0.1, 0.0, 0.0)] * len(configs), 1.0)

    monkeypatch.setattr(estimate, "measure_all", measured)
    monkeypatch.setattr("canonlab.sweeps.layout.cores", lambda: 2)
    monkeypatch.setattr("canonlab.sweeps.layout.free_memory", lambda: 10**10)
    return Cli(monkeypatch, capsys)


def test_time_memory_and_disk_here(run: Cli, tmp_path: Path) -> None:
    status, out, err = run("plan laptop/copy --set training.seed=[0,1,2]")
    assert (status, err) == (0, "")
    assert "copy, in runs/copy: 6 to do\n" in out and "3 min" in out  # 3 times 600 steps on each core
    assert "on this machine, 2 runs at once, 1 thread each\n  measured: 2 kinds of run, 2 at once\n" in out
    assert "memory: up to " in out and "which fits" in out and "disk: " in out
    found = run.json("plan laptop/copy --set training.seed=[0,1,2]")["estimate"]
    assert found["all"] == {"wall": pytest.approx(180), "runs": pytest.approx(360)} and found["gpu"] is None
    assert set(found["memory"]) == {"bytes", "run"} and set(found["disk"]) == {"done", "running"}
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_is_the_plan_without_the_time(run: Cli) -> None:
    plan, dry = run.json("plan laptop/copy"), run.json("sweep laptop/copy --dry-run")
    assert (dry["estimate"]["all"], dry["estimate"]["left"]) == (None, None)
    for found in (plan, dry):
        for name in ("all", "left", "notes"):
            del found["estimate"][name]
        assert found["estimate"].pop("room") > 0
    assert plan == dry
    assert "the time is not measured: `canonlab plan` does that" in run("sweep laptop/copy --dry-run")[1]


def test_on_gpus_that_are_not_here(run: Cli) -> None:
    status, out, _ = run("plan gpu/depo --on 2xh100")
    assert status == 0 and "h100-hours" in out and "on 2 x h100, one run on each\n" in out
    assert "assumed, never measured" in out and "% at width " in out and "989 TFLOP/s (bf16)" in out
    assert run.json("plan gpu/depo --on h100")["estimate"]["at_once"] == 1


def test_gpus_that_nobody_knows(run: Cli) -> None:
    status, out, err = run("plan laptop/copy --on 8xh1000")
    assert (status, out) == (2, "") and "unknown on 'h1000'" in err and "h100" in err and err.count("\n") == 1


def test_what_does_not_fit_is_said(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "free_memory", lambda: 1000)
    assert "which does not fit: set training.microbatch" in run("plan laptop/copy")[1]
    monkeypatch.setattr(estimate, "largest", lambda plans, costs: None)
    assert "memory: not known" in run("plan laptop/copy")[1]
