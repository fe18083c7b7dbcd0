"""Commands about many runs: make them, work on them, look at them."""

import dataclasses
import math
import os
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Literal

import torch
from tyro.conf import FlagCreatePairsOff, Positional, arg

from canonlab.cli import terminal
from canonlab.cli.arguments import (
    Changes,
    Device,
    Json,
    Log,
    Out,
    RecipeName,
    option,
    parse_settings,
    recipe_and_folder,
)
from canonlab.cli.plan import show
from canonlab.cli.results import write_report
from canonlab.cli.sweep_log import SweepLog
from canonlab.cli.training import listening
from canonlab.errors import Failed, InputError, Interrupted, require_integer
from canonlab.results.words import plural
from canonlab.sweeps.engines import Crew, Engine, local, ray, slurm
from canonlab.sweeps.layout import Layout
from canonlab.sweeps.prepare import Sweep, prepare
from canonlab.sweeps.recipe import require_baseline
from canonlab.sweeps.status import Observer
from canonlab.sweeps.worker import retry as make_again
from canonlab.sweeps.worker import speaking_in, unmade, work
from canonlab.sweeps.worklist import Worklist, read_worklist
from canonlab.training.config import RunConfig
from canonlab.training.trackers import require_tracker

ELSEWHERE: dict[str, Engine] = {"ray": ray, "slurm": slurm}
"""Engines whose workers are not only on this machine."""

GPU_THREADS = 4
"""CPU threads of a run on a GPU elsewhere that leaves them open: they hardly matter, and can't be measured here."""

STOPPED = 75
"""The exit status of a worker that was asked to stop and left work: what systems call a temporary failure."""


def sweep(
    recipe: RecipeName,
    settings: Changes = (),
    device: Device = None,
    out: Out = None,
    engine: Annotated[
        Literal["local", "ray", "slurm"], arg(help="Who makes the runs: this machine or a cluster.")
    ] = "local",
    workers: Annotated[
        int, option("INT", "Runs at once; of local on each GPU if there are some; by default as many as have room.")
    ] = 0,
    gpus: Annotated[
        float, option("NUMBER", "Of each run, with ray also a part of one; local uses what is here.")
    ] = 0.0,
    options: Annotated[
        tuple[str, ...],
        arg(
            name="options",
            metavar="NAME=VALUE ...",
            help="Of the engine: address of ray; partition, time (minutes), account, mem, gres ... of slurm.",
        ),
    ] = (),
    keep: Annotated[
        Literal["final", "best", "all"],
        arg(help="Of a run's checkpoints when it is done: the final weights, the best ones too, or all that there is."),
    ] = "final",
    retry: Annotated[FlagCreatePairsOff[bool], arg(help="Also runs that failed or diverged before.")] = False,
    dry_run: Annotated[
        FlagCreatePairsOff[bool],
        arg(help="Only say what `canonlab plan` says, without the measured time."),
    ] = False,
    log: Log = None,
    as_json: Json = False,
) -> None:
    """Make all runs of a recipe, skipping what is done and resuming what was interrupted; then report.

    Several sweeps of one folder, on machines that share it, share the work. Stopped or killed, start it again.
    """
    loaded, parent = recipe_and_folder(recipe, settings, device, out)
    if log is not None:
        require_tracker(log)
    require_integer("workers", workers, 0, 1024)
    crew = Crew(workers, gpus, parse_settings(options), log)
    _require(engine, crew)
    require_baseline(loaded)
    if dry_run:
        show(loaded, parent, as_json, measuring=False)
        return
    runs = _for_gpus(loaded.runs) if gpus else loaded.runs
    prepared = prepare(runs, parent, loaded.name, shlex.join(["canonlab", *sys.argv[1:]]), keep)
    if retry:
        make_again(prepared.worklist)
    make(prepared, engine, crew)
    _finish(prepared.worklist, as_json, loaded.baseline)


def _require(engine: str, crew: Crew) -> None:
    """InputError for what an engine can't do."""
    if not 0 <= crew.gpus < math.inf:
        raise InputError(f"gpus = {crew.gpus:g}: must be a number from 0 on")
    if engine in ELSEWHERE:
        ELSEWHERE[engine].require(crew)
    elif crew.gpus or crew.options:
        name = "gpus" if crew.gpus else "options"
        raise InputError(f"{name}: are of the engines {' and '.join(ELSEWHERE)}; local takes --workers and --device")


def _for_gpus(runs: Sequence[RunConfig]) -> list[RunConfig]:
    """Runs that leave nothing open which this machine, maybe without a GPU, would resolve in its own way."""
    found = []
    for run in runs:
        backend = run.backend
        if backend.device != "cpu":
            precision = "bf16" if backend.precision == "auto" else backend.precision
            backend = dataclasses.replace(backend, precision=precision, threads=backend.threads or GPU_THREADS)
        found.append(dataclasses.replace(run, backend=backend))
    if any(new.backend.precision != run.backend.precision for new, run in zip(found, runs, strict=True)):
        terminal.warn("the precision of runs on GPUs elsewhere is bf16, as the recipe leaves it open")
    return found


def make(prepared: Sweep, engine: str, crew: Crew) -> None:
    """Have an engine make what is left, and show how it goes."""
    listed, layout = prepared
    left = sum(1 for _ in unmade(listed))
    if not left:
        return
    if engine in ELSEWHERE:
        running = ELSEWHERE[engine].run(prepared, crew)
    elif len(places := _places(layout, left, crew.workers)) > 1:
        threads = plural(layout.threads, "thread")
        terminal.note(f"{left:,} of {len(listed.entries):,} runs to make, {len(places)} at once with {threads} each")
        running = local.run(listed, places, crew.tracker)
    else:
        with listening(crew.tracker) as listener:
            work(listed, listener)
        return
    with closing(running):
        _follow(running, listed.parent)


def _places(layout: Layout, runs: int, workers: int) -> list[dict[str, str]]:
    """What the environment of each worker of this machine is to say, besides what it says here."""
    gpus = _gpus()
    count = workers * max(1, len(gpus)) or layout.workers(runs, len(gpus))
    places = [{"OMP_NUM_THREADS": str(layout.threads)} for _ in range(min(count, runs))]
    for number, place in enumerate(places):
        if gpus:
            place["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    return places


def _gpus() -> list[str]:
    """This machine's GPUs, as CUDA_VISIBLE_DEVICES names them."""
    if not torch.cuda.is_available():
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]


def _follow(running: Generator[None], parent: Path) -> None:
    """Show how a sweep goes while an engine is at it."""
    observer = Observer(parent)
    with SweepLog() as shown:
        for _ in running:
            shown.update(observer.survey)
        shown.update(observer.survey, last=True)


def _finish(listed: Worklist, as_json: bool, baseline: str = "") -> None:
    """The report; then what is wrong, as an error."""
    survey = Observer(listed.parent).survey()
    mine = {each.folder for each in listed.entries}
    if any((listed.parent / folder / "config.json").exists() for folder in mine):
        write_report((listed.parent,), listed.parent / "report.html", as_json, baseline)
    failed = [run for run in survey.of("failed", "damaged", "to do") if run.task.folder in mine]
    for run in survey.of("diverged"):
        terminal.warn(f"{listed.parent / run.task.folder} diverged ({run.reason}); --retry makes it again")
    for run in failed:
        terminal.warn(f"{listed.parent / run.task.folder} {run.state}: {run.reason}")
        for line in run.said[-5:]:
            terminal.warn(f"    {line}")
    if failed:
        first = "; ".join(f"{run.task.folder}: {run.reason}" for run in failed[:3])
        raise Failed(f"{len(failed)} of {len(listed.entries)} runs failed: {first}; --retry makes them again")


def work_command(
    worklist: Annotated[Positional[Path], arg(metavar="LIST", help="The sweep/<name>.json in a sweep's folder.")],
    attached: Annotated[
        FlagCreatePairsOff[bool], arg(help="Stop when standard input is closed: whoever started this is gone.")
    ] = False,
    patience: Annotated[
        float, option("SECONDS", "Stop when others have been making all that is left for so long; by default wait.")
    ] = math.inf,
    log: Log = None,
) -> None:
    """Be one worker of a sweep, for a scheduler of your own: start as many as you like, on machines that share DIR.

    Ends with status 0 when nothing is left to do, and 75 when it was asked to stop (SIGTERM) and saved itself.
    """
    listed = read_worklist(worklist)
    terminal.say(f"{socket.gethostname()}, process {os.getpid()}")
    if hasattr(signal, "SIGUSR2"):
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # Slurm tells all of a job's processes; who keeps us acts on it
    if attached:
        threading.Thread(target=_stop_when_alone, daemon=True).start()
    try:
        with listening(log) as listener:
            for line in work(listed, listener, speaking_in, patience):
                terminal.say(line)
    except Interrupted as stopped:
        terminal.say(str(stopped))
        raise SystemExit(STOPPED) from None


def _stop_when_alone() -> None:
    while os.read(0, 1):  # not by way of sys.stdin, whose lock a thread may not hold when Python ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)
