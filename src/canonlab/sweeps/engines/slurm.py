"""Workers as a job array of Slurm, by way of submitit: a job that is preempted, or whose time is up, is queued again.

Compute nodes have canonlab installed, and see the sweep's folder at the same path. What has become of a run is in its
folder, and of a job in `squeue`, as `sacct` tells nothing where a cluster keeps no accounts. A job keeps a worker that
is a process of its own.
"""

import io
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Generator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from canonlab.errors import Failed, InputError, Interrupted, shown, unknown
from canonlab.extras import optional
from canonlab.sweeps.engines import Crew, local
from canonlab.sweeps.places import SWEEP
from canonlab.sweeps.prepare import Sweep
from canonlab.sweeps.worker import unmade
from canonlab.sweeps.worklist import Worklist, read_worklist
from canonlab.training.loop import stop_on_signal

TICK, LOOK = 0.25, 5.0
"""Seconds between two moments at which the engine is awake, and between two looks at the queue."""

MOST_WORKERS = 64
"""Jobs of an array if nobody says how many."""

PATIENCE = 150
"""Seconds that a worker waits for runs that others are making before it gives its place back to the cluster: more than
what the lock of a worker that died on another machine lasts."""

GRACE = 120.0
"""Seconds from a worker's being asked to stop until it goes on, if nobody has ended the job by then."""


def require(crew: Crew) -> None:
    """InputError without submitit or Slurm, and for options that there are not."""
    known = _submitit().SlurmExecutor._valid_parameters()
    for name in crew.options:
        if name not in known:
            raise unknown("option of slurm", name, known)
    if crew.gpus not in (0, 1):
        raise InputError(f"gpus = {crew.gpus:g}: must be 0 or 1, as Slurm gives whole GPUs and a run takes one")
    if not shutil.which("sbatch"):
        raise InputError("the engine slurm needs Slurm's commands, and there is no sbatch on the PATH")


def _submitit() -> Any:
    return optional("submitit", "slurm", "the engine slurm")


def run(sweep: Sweep, crew: Crew) -> Generator[None]:
    """Have a job array make what is left, see `Engine.run`. Its jobs go on when this process stops, or dies."""
    listed = sweep.worklist
    job = _submit(sweep, crew)
    looked = time.monotonic()
    with stop_on_signal() as stop:
        while not stop.is_set():
            yield
            time.sleep(TICK)
            if time.monotonic() < looked + LOOK:
                continue
            active = _active(job)  # before the look at the runs, as the last one may end in between
            if not any(unmade(listed)):
                _command("scancel", "--state=PENDING", job)
                return
            if not active:
                raise Failed(_left(listed, job))
            looked = time.monotonic()
    raise Interrupted(f"job {job} goes on (scancel {job} ends it)", f"canonlab status {listed.parent} --watch")


def _submit(sweep: Sweep, crew: Crew) -> str:
    """Queue the array; its number."""
    listed, threads = sweep.worklist, sweep.layout.threads
    count = min(sum(1 for _ in unmade(listed)), crew.workers or MOST_WORKERS)
    told = {"job_name": listed.name, "time": None, "cpus_per_task": threads, **crew.options}
    if crew.gpus and not {"gres", "gpus_per_node", "gpus_per_task"} & told.keys():
        told["gpus_per_node"] = int(crew.gpus)
    told["additional_parameters"] = {"requeue": True} | (told.get("additional_parameters") or {})
    submitit = _submitit()
    try:
        executor = submitit.SlurmExecutor(_logs(listed))
        executor.update_parameters(**told)
        worker = Job(listed.path.resolve(), {"OMP_NUM_THREADS": str(threads)}, crew.tracker)
        with redirect_stderr(io.StringIO()), executor.batch():  # what it would print is in its error too
            jobs = [executor.submit(worker) for _ in range(count)]
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        raise InputError(f"Slurm takes no job of {shown(dict(crew.options))}: {error}") from None
    return str(jobs[0].job_id).partition("_")[0]


def _logs(listed: Worklist) -> Path:
    return listed.parent.resolve() / SWEEP / "logs" / "slurm"


def _command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True)


def _active(job: str) -> bool:
    """Whether any job of the array is queued or at work; so it is for as long as Slurm doesn't answer."""
    found = _command("squeue", "--noheader", "--format=%T", f"--jobs={job}")
    return bool(found.stdout.strip()) if not found.returncode else "Invalid job id" not in found.stderr


def _left(listed: Worklist, job: str) -> str:
    """What is to be said of an array that ended before its runs did."""
    left = sum(1 for _ in unmade(listed))
    logs = sorted(_logs(listed).glob(f"{job}_*.err"), key=lambda path: path.stat().st_mtime)
    said = [line for log in logs for line in log.read_text("utf-8", "replace").splitlines() if re.search(r"\w", line)]
    why = f", the last of which said: {said[-1].strip()}" if said else ""
    return f"{left} of {len(listed.entries)} runs are left, and no job of {job} is{why}; see {_logs(listed)}/{job}_*"


class Job:
    """What one job of the array does, again each time that it is queued again.

    It takes the signal of the end of its time from submitit, which would queue the job again first, so that the worker
    had no more than Slurm's KillWait to save itself, and which would count how often that happens.
    """

    def __init__(self, path: Path, environment: dict[str, str], tracker: str | None) -> None:
        self.path, self.environment, self.tracker = path, environment, tracker

    def __call__(self) -> None:
        """Keep a worker until nothing is left to do for it.

        Asked to stop, the worker saves itself, and whoever asked decides whether the job ends (scancel) or is queued
        again (preemption); we do where its time is up. So it waits to be ended: leaving by itself, it would be done.
        """
        over = threading.Event()

        def end(*_: object) -> None:
            over.set()
            signal.raise_signal(signal.SIGTERM)

        signal.signal(signal.SIGUSR2, end)
        while True:
            if not over.is_set() and self._work():
                return
            if over.is_set():
                print(_command("scontrol", "requeue", os.environ["SLURM_JOB_ID"]).stderr, flush=True)
            time.sleep(GRACE)

    def _work(self) -> bool:
        """Keep a worker; whether it found nothing more to do, else it was asked to stop."""
        try:
            for _ in local.run(read_worklist(self.path), [self.environment], self.tracker, PATIENCE):
                pass
        except Interrupted as stopped:
            print(stopped.state, flush=True)
            return False
        return True
