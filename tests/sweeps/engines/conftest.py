"""A recipe of eight runs, as an engine makes them and as a worker alone does."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from canonlab.files import read_json
from canonlab.locks import holder
from canonlab.sweeps.recipe import load_recipe
from tiny_runs import make_runs

EIGHT = """
task: {name: copy, set: {N: 6, context: 28}}
model: {size: 1L16D2H, canon: AC}
training: {steps: 600, batch: 4, warmup: 2, eval_every: 400, eval_windows: 4, final_windows: 8, checkpoint_every: 100}
backend: {device: cpu, precision: fp32, compile: "off", threads: 1}
grid: {training.seed: [0, 1, 2, 3, 4, 5, 6, 7]}
"""


class Eight(NamedTuple):
    """The recipe, in a folder of its own, and where an engine makes its runs."""

    recipe: Path
    out: Path

    def sweep(self, *words: str, environment: Mapping[str, str]) -> "subprocess.Popen[str]":
        """A process that makes them."""
        command = [sys.executable, "-m", "canonlab", "sweep", str(self.recipe), "--out", str(self.out), *words]
        return subprocess.Popen(
            command, env=dict(environment), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def weights(self) -> dict[str, str]:
        """The hash of each run's weights, by its folder's name; of those that are done."""
        return {path.parent.name: read_json(path)["weights_sha256"] for path in self.out.glob("*/result.json")}

    def working(self) -> dict[int, Path]:
        """The folders in which processes are at work and have saved something, by the process."""
        folders = [path.parents[1] for path in self.out.glob("*/checkpoints/last.safetensors")]
        return {found.pid: folder for folder in folders if (found := holder(folder))}

    def sessions(self) -> dict[str, list[int]]:
        """The step at which each session of a run began, by its folder's name."""
        return {
            path.parent.name: [session["step"] for session in read_json(path)["sessions"]]
            for path in self.out.glob("*/environment.json")
        }


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `Eight.weights` must be: one worker makes the runs in this process."""
    folder = tmp_path_factory.mktemp("eight")
    (folder / "eight.yaml").write_text(EIGHT)
    runs = make_runs(load_recipe(str(folder / "eight.yaml")).runs, folder / "alone")
    return {run.folder.name: run.result()["weights_sha256"] for run in runs}


@pytest.fixture
def eight(tmp_path: Path) -> Eight:
    """The recipe, nothing of which has been made."""
    (tmp_path / "eight.yaml").write_text(EIGHT)
    return Eight(tmp_path / "eight.yaml", tmp_path / "runs")


@pytest.fixture
def until() -> Callable[[Callable[[], object], float], object]:
    """Waits for something to be so."""

    def wait(condition: Callable[[], object], seconds: float = 120) -> object:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := condition():
                return found
            time.sleep(0.05)
        raise AssertionError(f"not so after {seconds:.0f} seconds")

    return wait
