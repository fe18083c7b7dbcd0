"""What a run's folder has, by which anybody can tell what has become of the run. Loads nothing heavy.

The files are described in `training.run`.
"""

from pathlib import Path

from canonlab.files import exists
from canonlab.locks import LOCK, holder

DIVERGED, FAILED, OUTPUT = "diverged.json", "failed.json", "output.log"
START = "start.safetensors"
FILES = ("config.json", "environment.json", "metrics.jsonl", START, DIVERGED, FAILED, "result.json")
PARTS = (*FILES, OUTPUT, "checkpoints", "sources", "tensorboard", LOCK)
"""What only a run itself may write in its folder."""

CHECKPOINTS = ("last", "best")
"""The names of a run's checkpoints."""

DONE, RUNNING, INTERRUPTED, TO_DO = "done", "running", "interrupted", "to do"
ENDED = {"result.json": DONE, DIVERGED: "diverged", FAILED: "failed"}
"""What the folder of a run that has ended has -> what has become of it; the first that fits."""


def ended(folder: Path) -> str | None:
    """What has become of a run that is done, or that nobody should go on with unasked: a value of `ENDED`."""
    return next((state for file, state in ENDED.items() if exists(folder / file)), None)


def state(folder: Path) -> str:
    """What has become of a run so far. Reads only."""
    if not exists(folder / "config.json"):
        return TO_DO
    return ended(folder) or (RUNNING if holder(folder) else INTERRUPTED)
