"""The simplest engine: runs one after another, in this process."""

from collections.abc import Sequence
from pathlib import Path

from canonlab.training.config import RunConfig
from canonlab.training.loop import Diverged, Listener, train
from canonlab.training.run import Run, create_run, plan_run


def run_all(configs: Sequence[RunConfig], parent: Path, listener: Listener, command: str) -> list[Run]:
    """Every run below `parent`: finished and diverged ones are skipped, interrupted ones resumed.

    A run that diverges stops no other; from the same checkpoint it would do so again, so only `train` tries it anew.
    All of them are planned, and so checked, before the first one works; a run's folder is made when its turn comes.
    """
    for config in configs:
        plan_run(config)
    runs = []
    for number, config in enumerate(configs, start=1):
        run = create_run(config, parent=parent)
        runs.append(run)
        if run.done:
            continue
        if (diverged := run.diverged) is not None:
            listener.message(
                f"{run.folder}: left out, as it diverged (step {diverged['step']}: {diverged['reason']}); "
                f"to try it again: canonlab resume {run.folder}"
            )
            continue
        listener.message(f"run {number} of {len(configs)}")
        try:
            train(run, listener, command)
        except Diverged as error:
            listener.message(f"{run.folder}: {error}")
    return runs
