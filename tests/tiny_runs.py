"""A tiny run on tiny data, for tests of what surrounds it; a user's own mixer and task."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from canonlab.files import read_json, write_json
from canonlab.models.config import ModelConfig
from canonlab.sweeps.prepare import prepare
from canonlab.sweeps.worker import work
from canonlab.sweeps.worklist import Worklist, read_worklist
from canonlab.training.config import BackendConfig, RunConfig, TaskConfig, TrainingConfig
from canonlab.training.run import RunFolder, open_run


class Recorder:
    """A listener that remembers; `act(step)` may interfere after any record."""

    def __init__(self, act: Any = None) -> None:
        self.records: list[dict[str, Any]] = []
        self.messages: list[str] = []
        self.act = act

    def start(self, run: Any, step: int) -> None:
        self.first = step

    def record(self, record: dict[str, Any]) -> None:
        self.records.append(record)
        if self.act:
            self.act(record)

    def message(self, text: str) -> None:
        self.messages.append(text)


def tiny_config(**training: Any) -> RunConfig:
    """Copy, N = 6, one layer of width 16, on one thread: a few milliseconds a step."""
    settings = {
        "steps": 12,
        "batch": 4,
        "lr": 0.01,
        "warmup": 2,
        "eval_every": 6,
        "eval_windows": 4,
        "final_windows": 8,
        "checkpoint_every": 4,
        "log_every": 2,
    }
    return RunConfig(
        TaskConfig("copy", {"N": 6, "context": 28}),
        ModelConfig(size="1L16D2H", canon="ABCD"),
        TrainingConfig(**{**settings, **training}),
        BackendConfig(device="cpu", precision="fp32", compile="off", threads=1),
    )


def listed(configs: Sequence[RunConfig], parent: Path, command: str = "sweep", **settings: Any) -> Worklist:
    """The runs of a sweep, as a worker reads them that some engine starts."""
    return read_worklist(prepare(configs, parent, "tiny", command, **settings).worklist.path)


def make_runs(configs: Sequence[RunConfig], parent: Path, listener: Recorder | None = None) -> list[RunFolder]:
    """Have one worker make runs, in this process; their folders."""
    runs = listed(configs, parent)
    assert work(runs, listener or Recorder()) == []
    return [open_run(runs.folder(entry)) for entry in runs.entries]


MIXER = '''
from dataclasses import dataclass
import torch
from canonlab.models.mixers.base import Mixer


class Mean(Mixer):
    """y_t = W mean(x_1 .. x_t)."""

    @dataclass(frozen=True)
    class Config:
        width: int

    def __init__(self, config, canon):
        super().__init__()
        self.out = torch.nn.Linear(config.width, config.width)

    def forward(self, x, segment_ids, state):
        return self.out(x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]), state
'''

TASK = '''
import dataclasses
from canonlab.tasks.copy import Copy


@dataclasses.dataclass(frozen=True)
class ShortCopy(Copy):
    """Copy, under a name of its own."""

    name = "short-copy"
    N: int = 6
    context: int = 28
'''


def varied(config: RunConfig, part: str, **changes: Any) -> RunConfig:
    return dataclasses.replace(config, **{part: dataclasses.replace(getattr(config, part), **changes)})


def alone(config: RunConfig, folder: Path) -> Any:
    """The result of a run that a process of its own makes."""
    folder.mkdir()
    (folder / "run.yaml").write_text(json.dumps(dataclasses.asdict(config)))
    command = [sys.executable, "-m", "canonlab", "train", "--config", "run.yaml", "--out", "run", "--json"]
    return json.loads(subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, check=True).stdout)


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a file of a run folder in place, as somebody would who can compute its checksum."""
    content = read_json(path)
    version = content.pop("format")
    change(content)
    if version == 1:
        path.write_text(json.dumps({"format": 1, **content}))
    else:
        write_json(path, content)
