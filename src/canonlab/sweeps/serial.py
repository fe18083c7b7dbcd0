"""The simplest engine: runs one after another, in this process."""

import traceback
from collections.abc import Sequence
from pathlib import Path

from canonlab.checks import first_line
from canonlab.errors import InputError
from canonlab.files import exists, write_json
from canonlab.training.config import RunConfig
from canonlab.training.loop import Diverged, Failed, Interrupted, Listener, train
from canonlab.training.plan import plan_runs
from canonlab.training.run import FAILED, RunFolder, find_run, known_runs


def run_all(
    configs: Sequence[RunConfig], parent: Path, listener: Listener, command: str
) -> tuple[list[RunFolder], list[str]]:
    """Every run below `parent`, and a line for each that failed: finished ones are skipped, interrupted ones resumed.

    A run that fails or diverges stops no other. One that diverged would do so again from the same checkpoint, so only
    `train` and `resume` try it anew; one that failed is tried again by the next sweep, and says why in failed.json.
    All of them are planned, and so checked, before the first one works; a run's folder is made when its turn comes.
    `command` makes them, and goes on with them when Interrupted.
    """
    plans = plan_runs(configs)
    runs: list[RunFolder] = []
    failures = []
    known = known_runs(parent)
    for number, plan in enumerate(plans, start=1):
        where = known.get(plan.identity, parent / plan.name)
        try:
            run = find_run(plan, parent, known)
            runs.append(run)
            _work(run, f"run {number} of {len(plans)}", listener, command)
        except Interrupted as stopped:
            raise Interrupted(f"run {number} of {len(plans)} {stopped.state}", command) from None
        except Exception as error:  # whatever became of one run must not cost the others
            reason = str(error) if isinstance(error, InputError | Failed) else first_line(error)
            failures.append(f"{where}: {reason}")
            listener.message(f"{where} failed: {reason}")
            _record(where, reason, error)
    return runs, failures


def _work(run: RunFolder, title: str, listener: Listener, command: str) -> None:
    if run.done:
        run.result()  # which says so if it can't be read
        return
    if (diverged := run.diverged) is not None:
        listener.message(
            f"{run.folder}: left out, as it diverged (step {diverged['step']}: {diverged['reason']}); "
            f"to try it again: canonlab resume {run.folder}"
        )
        return
    listener.message(title)
    try:
        train(run, listener, command)
    except Diverged as error:
        listener.message(f"{run.folder}: {error}")


def _record(folder: Path, reason: str, error: Exception) -> None:
    """Leave the reason in the run's folder, if there is one that can be written to."""
    try:
        if exists(folder / "config.json"):
            write_json(folder / FAILED, {"reason": reason, "traceback": traceback.format_exception(error)})
    except (OSError, InputError):
        return  # a full disk or a closed folder may be the very reason; the message has been shown
