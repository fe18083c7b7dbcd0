"""The simplest engine: runs one after another, in this process."""

from collections.abc import Sequence
from pathlib import Path

from canonlab.training.config import RunConfig
from canonlab.training.loop import Diverged, Listener, train
from canonlab.training.run import Run, create_run


def run_all(configs: Sequence[RunConfig], parent: Path, listener: Listener, command: str) -> list[Run]:
    """Every run below `parent`: finished ones are skipped, interrupted ones resumed. A diverged one stops no other.

    All of them are planned, and so checked, before the first one works.
    """
    runs = [create_run(config, parent=parent) for config in configs]
    for number, run in enumerate(runs, start=1):
        if run.done:
            continue
        listener.message(f"run {number} of {len(runs)}")
        try:
            train(run, listener, command)
        except Diverged as error:
            listener.message(f"{run.folder}: {error}")
    return runs
