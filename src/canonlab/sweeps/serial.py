"""The simplest engine: runs one after another, in this process."""

from collections.abc import Sequence
from pathlib import Path

from canonlab.training.config import RunConfig
from canonlab.training.loop import Diverged, Listener, train
from canonlab.training.plan import plan_run
from canonlab.training.run import RunFolder, find_run, known_runs


def run_all(configs: Sequence[RunConfig], parent: Path, listener: Listener, command: str) -> list[RunFolder]:
    """Every run below `parent`: finished and diverged ones are skipped, interrupted ones resumed.

    A run that diverges stops no other; from the same checkpoint it would do so again, so only `train` tries it anew.
    All of them are planned, and so checked, before the first one works; a run's folder is made when its turn comes.
    """
    plans = [plan_run(config) for config in configs]
    runs, known = [], known_runs(parent)
    for number, plan in enumerate(plans, start=1):
        run = find_run(plan, parent, known)
        runs.append(run)
        if run.done:
            continue
        if (diverged := run.diverged) is not None:
            listener.message(
                f"{run.folder}: left out, as it diverged (step {diverged['step']}: {diverged['reason']}); "
                f"to try it again: canonlab resume {run.folder}"
            )
            continue
        listener.message(f"run {number} of {len(plans)}")
        try:
            train(run, listener, command)
        except Diverged as error:
            listener.message(f"{run.folder}: {error}")
    return runs
