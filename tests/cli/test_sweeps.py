"""Which engine a sweep is given to, and what that engine is told."""

from pathlib import Path
from typing import Any

import pytest

from canonlab.cli import sweeps
from canonlab.sweeps.engines import Crew
from canonlab.sweeps.prepare import Sweep
from canonlab.sweeps.worker import work
from commands import Cli
from tiny_runs import Recorder, tiny_config, varied

RECIPE = """
task: {name: copy, set: {N: 6, context: 28}}
model: {size: 1L16D2H}
training: {steps: 2, batch: 4, lr: 0.01, eval_every: 2, eval_windows: 4, final_windows: 8}
backend: {compile: "off", threads: 1}
"""


class Fake:
    """An engine elsewhere that makes the runs here."""

    def __init__(self) -> None:
        self.crews: list[Crew] = []

    def require(self, crew: Crew) -> None:
        pass

    def run(self, sweep: Sweep, crew: Crew) -> Any:
        self.crews.append(crew)
        yield
        work(sweep.worklist, Recorder())


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fake:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    monkeypatch.setitem(sweeps.ELSEWHERE, "ray", made := Fake())
    return made


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def test_an_engine_elsewhere_is_told_what_was_asked_for(run: Cli, engine: Fake, tmp_path: Path) -> None:
    status, out, err = run("sweep recipe.yaml --engine ray --workers 3 --gpus 0.5 --options address=auto n=[1,2]")
    assert status == 0 and "1 of 1 done" in err and "copy" in out
    assert engine.crews == [Crew(3, 0.5, {"address": "auto", "n": [1, 2]})]
    assert "the precision of runs on GPUs elsewhere is bf16, as the recipe leaves it open" in err
    assert run("sweep recipe.yaml --engine ray --gpus 0.5")[0] == 0 and len(engine.crews) == 1, "nothing is left"
    assert run("sweep recipe.yaml --engine ray --device cpu --set backend.precision=fp32")[0] == 0
    assert len(engine.crews) == 2, "another run"


def test_runs_on_gpus_elsewhere_leave_nothing_open() -> None:
    def backends(**settings: Any) -> tuple[str, int]:
        (run,) = sweeps._for_gpus([varied(tiny_config(), "backend", **settings)])
        return run.backend.precision, run.backend.threads

    assert backends(device="auto", precision="auto", threads=0) == ("bf16", sweeps.GPU_THREADS)
    assert backends(device="cuda", precision="fp32", threads=2) == ("fp32", 2)
    assert backends(device="cpu", precision="auto", threads=0) == ("auto", 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--gpus 1", "gpus: are of the engines ray and slurm; local takes --workers and --device"),
        ("--options time=5", "options: are of the engines ray and slurm"),
        ("--engine ray --gpus nan", "gpus = nan: must be a number from 0 on"),
        ("--engine ray --gpus=-1", "gpus = -1: must be a number from 0 on"),
        ("--engine ray --options time", "'time': must be NAME=VALUE"),
    ],
)
def test_what_no_engine_is_told(run: Cli, engine: Fake, words: str, message: str) -> None:
    status, out, err = run(f"sweep recipe.yaml {words}")
    assert (status, out) == (2, "") and message in err and not engine.crews
