"""Several workers on one machine: what they make, what becomes of it when they, or who started them, die."""

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from canonlab.errors import Failed, Interrupted
from canonlab.files import read_json
from canonlab.locks import holder
from canonlab.models.config import ModelConfig
from canonlab.sweeps.engines import local
from canonlab.sweeps.status import Observer
from canonlab.sweeps.worklist import Worklist
from canonlab.training.checkpoint import SafetensorsStore
from tiny_runs import MIXER, alone, listed, tiny_config

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="sends signals")]

TWO = [{"OMP_NUM_THREADS": "1"}] * 2


def finish(runs: Worklist, workers: int = 2) -> None:
    """Have workers make a list to its end."""
    for _ in local.run(runs, TWO[:1] * workers):
        pass


def weights(runs: Worklist) -> dict[str, str]:
    """The hash of each run's weights."""
    return {entry.folder: read_json(runs.folder(entry) / "result.json")["weights_sha256"] for entry in runs.entries}


def test_workers_make_each_run_once_and_as_it_is_made_alone(tmp_path: Path) -> None:
    configs = [tiny_config(seed=seed) for seed in range(5)]
    runs = listed(configs, tmp_path / "runs")
    finish(runs)
    assert [run.state for run in Observer(runs.parent).survey().runs] == ["done"] * 5
    logs = [path.read_text().splitlines() for path in (runs.parent / "sweep" / "logs").iterdir()]
    begun = [line for log in logs for line in log if line.startswith("begun: ")]
    assert len(logs) == 2 and all(sum(entry.folder in line for line in begun) for entry in runs.entries)
    for entry in runs.entries:
        assert len(read_json(runs.folder(entry) / "environment.json")["sessions"]) == 1
        assert "step 12/12" in (runs.folder(entry) / "output.log").read_text()
    assert weights(runs)[runs.entries[0].folder] == alone(configs[0], tmp_path / "alone")["weights_sha256"]


def mine(folder: Path, line: str) -> ModelConfig:
    """A mixer of the user's that executes `line` when it is trained on whole batches."""
    before = "        return self.out"
    path = folder / "mine.py"
    path.write_text(
        MIXER.replace(before, f"        if self.training and x.shape[0] == 4:\n            {line}\n{before}")
    )
    return ModelConfig(model=f"{path}:Mean", size="1L16D2H")


def test_a_run_that_kills_its_workers_is_left_out(tmp_path: Path) -> None:
    line = "print('about to die', flush=True); __import__('os').kill(__import__('os').getpid(), 9)"
    deadly = dataclasses.replace(tiny_config(), model=mine(tmp_path, line))
    runs = listed([deadly, tiny_config(), tiny_config(seed=1)], tmp_path / "runs")
    finish(runs)
    (failed,) = Observer(runs.parent).survey().of("failed")
    assert failed.task.folder == runs.entries[0].folder and failed.said[-1] == "about to die"
    assert failed.reason == "3 processes that worked on it ended with signal 9, as when memory is not enough"
    assert len(weights(dataclasses.replace(runs, entries=runs.entries[1:]))) == 2


def test_the_users_file_may_be_edited_meanwhile(tmp_path: Path) -> None:
    """Runs are made of what was planned."""
    config = dataclasses.replace(tiny_config(), model=mine(tmp_path, "x = x * 1"))
    runs = listed([config, dataclasses.replace(config, training=tiny_config(seed=1).training)], tmp_path / "runs")
    (tmp_path / "mine.py").write_text("raise RuntimeError('half of an edit')")
    finish(runs, 1)
    assert len(weights(runs)) == 2


def test_workers_that_cannot_begin_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = listed([tiny_config()], tmp_path)
    monkeypatch.setattr(local, "command", lambda *_, **__: [sys.executable, "-c", "raise SystemExit('no disk')"])
    with pytest.raises(Failed, match=r"3 workers ended with status 1 before they had a run: no disk; see .*\.log"):
        finish(runs, 1)


def test_a_sweep_that_is_asked_to_stop_saves_what_it_is_at(tmp_path: Path) -> None:
    configs = [tiny_config(steps=5000, checkpoint_every=5000, eval_every=5000, seed=seed) for seed in range(3)]
    runs = listed(configs, tmp_path, "canonlab sweep x")
    with pytest.raises(Interrupted, match=r"stopped with 3 of 3 runs left; go on with: canonlab sweep x"):
        for _ in local.run(runs, TWO):
            if sum(run.step > 0 for run in Observer(tmp_path).survey().of("running")) == 2:
                signal.raise_signal(signal.SIGINT)
    stopped = Observer(tmp_path).survey().of("interrupted")
    assert len(stopped) == 2
    for run in stopped:
        folder = tmp_path / run.task.folder
        checkpoint = SafetensorsStore(folder / "checkpoints").load(
            "last", read_json(folder / "config.json")["identity"]
        )
        assert checkpoint is not None and checkpoint.facts["step"] >= run.step > 0


RECIPE = """
task: {name: copy, set: {N: 6, context: 28}}
model: {size: 1L16D2H, canon: AC}
training:
  {steps: 400, batch: 4, lr: 0.01, warmup: 2, eval_every: 40, eval_windows: 4, final_windows: 8, checkpoint_every: 20}
backend: {threads: 1}
grid: {"model.model, training.microbatch": [[llama-rope, 0], [llama-moe, 2]], training.seed: [0, 1, 2]}
"""


class Driver:
    """A sweep of `RECIPE` as a user starts it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "six.yaml").write_text(RECIPE)
        command = [sys.executable, "-m", "canonlab", "sweep", "six.yaml", "--workers", "2", "--json"]
        with (folder / "said.txt").open("a") as said:
            self.process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said)

    @property
    def workers(self) -> list[int]:
        """The process numbers of those of its workers that are at a run."""
        holders = [holder(path.parent) for path in (self.folder / "runs" / "six").glob("*/.lock")]
        return [each.pid for each in holders if each]

    def wait(self) -> None:
        """Wait until it ends well."""
        assert self.process.wait(300) == 0, (self.folder / "said.txt").read_text()


def results(folder: Path) -> dict[str, Any]:
    """What the runs came to, without what is never the same twice."""
    found = {path.parent.name: read_json(path) for path in (folder / "runs" / "six").glob("*/result.json")}
    return {name: {**result, "cost": None, "log": None, "command": None} for name, result in found.items()}


def whole(folder: Path) -> None:
    """Every file is one that was written to its end, but for a log's last line."""
    for path in (folder / "runs" / "six").rglob("*.json"):
        read_json(path)
    for path in (folder / "runs" / "six").glob("*/checkpoints/*.safetensors"):
        run = path.parent.parent
        SafetensorsStore(path.parent).load(path.stem, read_json(run / "config.json")["identity"])


def killed(driver: Driver, what: str, delay: float) -> None:
    """Kill a driver, one of its workers, or all of them, a while after they have begun."""
    end = time.monotonic() + 60
    while not driver.workers and driver.process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(delay)
    victims = driver.workers
    if what == "worker":
        victims = victims[:1]
    elif what == "driver":
        victims = []
    if what != "worker":
        driver.process.kill()
    for pid in victims:
        os.kill(pid, signal.SIGKILL)


def test_kills_of_drivers_and_workers_change_no_bit_and_repeat_no_run(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    Driver(tmp_path / "one").wait()
    expected = results(tmp_path / "one")
    assert len(expected) == 6
    draw = random.Random(0)
    kinds = ["driver", "worker", "all"] * 3 + ["all"]
    draw.shuffle(kinds)
    done: dict[str, tuple[int, int]] = {}
    for what in kinds:
        driver = Driver(tmp_path / "other")
        killed(driver, what, draw.uniform(0, 1.2))
        if what == "worker":
            driver.process.send_signal(signal.SIGTERM)
        driver.process.wait(120)
        whole(tmp_path / "other")
        for path in (tmp_path / "other" / "runs" / "six").glob("*/result.json"):
            stat = path.stat()
            assert done.setdefault(path.parent.name, (stat.st_ino, stat.st_mtime_ns)) == (stat.st_ino, stat.st_mtime_ns)
    Driver(tmp_path / "other").wait()
    assert results(tmp_path / "other") == expected
    for name, (inode, _) in done.items():
        assert (tmp_path / "other" / "runs" / "six" / name / "result.json").stat().st_ino == inode


def test_two_sweeps_of_one_folder_share_the_work(tmp_path: Path) -> None:
    drivers = [Driver(tmp_path), Driver(tmp_path)]
    for driver in drivers:
        driver.wait()
    assert len(results(tmp_path)) == 6
    for path in (tmp_path / "runs" / "six").glob("*/environment.json"):
        assert len(read_json(path)["sessions"]) == 1, "begun by one worker of one of them"
