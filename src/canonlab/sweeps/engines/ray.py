"""Workers on a Ray cluster: each is a task, so that Ray finds room for it, and starts it elsewhere when its node dies.

Nodes have canonlab installed, and see the sweep's folder at the same path. A task keeps a worker that is a process of
its own: Ray's cancels it when this process asks for that, or dies, and then the worker saves what it is at.
"""

import importlib.util
import os
import platform
import socket
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from canonlab.checks import first_line
from canonlab.errors import Failed, InputError, Interrupted, shown, unknown
from canonlab.extras import optional
from canonlab.sweeps.engines import Crew, local
from canonlab.sweeps.layout import cores
from canonlab.sweeps.prepare import Sweep
from canonlab.sweeps.worker import unmade
from canonlab.sweeps.worklist import read_worklist
from canonlab.training.loop import stop_on_signal

TICK = 0.25
"""Seconds between two looks at the tasks."""

ANSWER = 10.0
"""Seconds in which a cluster answers, if it ever does."""

OPTIONS = ("address",)
"""Of a cluster: that in RAY_ADDRESS, or the one that this machine is a node of, or else a new one here."""


def require(crew: Crew) -> None:
    """InputError without Ray, and for options that there are not."""
    _ray()
    for name, value in crew.options.items():
        if name not in OPTIONS:
            raise unknown("option of ray", name, OPTIONS)
        if not isinstance(value, str):
            raise InputError(f"{name} = {shown(value)}: must be a cluster's address, such as 10.0.0.1:6379")
    if crew.gpus > 1:
        raise InputError(f"gpus = {crew.gpus:g}: must be at most 1, as a run takes one GPU")


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a sweep tells nobody
    return optional("ray", "ray", "the engine ray")


def run(sweep: Sweep, crew: Crew) -> Generator[None]:
    """Have tasks make what is left, see `Engine.run`: as many as the nodes have room for, if none says how many.

    When this process is asked to stop, the workers save what they are at; when it dies, they do the same.
    """
    ray, listed, threads = _ray(), sweep.worklist, sweep.layout.threads
    _connect(ray, crew.options.get("address"))
    try:
        room = places(ray.nodes(), threads, crew.gpus)
        if not room:
            needed = f"{threads} CPUs" + (f" and {crew.gpus:g} GPUs" if crew.gpus else "")
            raise Failed(f"no node of the Ray cluster has {needed}, which a run takes; backend.threads says how many")
        count = min(sum(1 for _ in unmade(listed)), crew.workers or room)
        kind = {"num_cpus": threads, "num_gpus": crew.gpus, "max_retries": -1, "scheduling_strategy": "SPREAD"}
        task = ray.remote(**kind)(_task())
        words = str(listed.path.resolve()), {"OMP_NUM_THREADS": str(threads)}, crew.tracker
        with stop_on_signal() as stop:
            running, done = [task.remote(*words) for _ in range(count)], False
            try:
                while not done and not stop.is_set():
                    yield
                    ended, running = ray.wait(running, num_returns=len(running), timeout=TICK)
                    for each in ended:
                        if _finished(ray, each):
                            done = True  # one that finds nothing to do speaks for all
                        else:
                            running.append(task.remote(*words))
            finally:
                if not done:
                    _end(ray, running)
    finally:
        ray.shutdown()
    if stop.is_set() and (left := sum(1 for _ in unmade(listed))):
        raise Interrupted(f"stopped with {left} of {len(listed.entries)} runs left", listed.command)


def _end(ray: Any, tasks: list[Any]) -> None:
    """Have the workers save themselves, and wait for that; a second Ctrl-C waits no longer."""
    for task in tasks:
        ray.cancel(task)
    if tasks:
        ray.wait(tasks, num_returns=len(tasks))


def _connect(ray: Any, address: str | None) -> None:
    """To the cluster at the address, to one that this machine is a node of, or to a new one of this machine's cores."""
    asked = address or os.environ.get("RAY_ADDRESS") or "auto"
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    host, colon, port = asked.rpartition("://")[2].rpartition(":")
    try:
        if colon:  # Ray itself tries for many minutes
            socket.create_connection((host, int(port)), ANSWER).close()
        ray.init(address=asked, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        if asked != "auto":
            raise InputError(f"no Ray cluster answers at {asked}: {first_line(error)}") from None
        ray.init(address="local", num_cpus=cores(), include_dashboard=False, **quiet)


def places(nodes: Sequence[Mapping[str, Any]], threads: int, gpus: float) -> int:
    """How many workers the nodes, as `ray.nodes()` tells them, have room for at once, if nobody else uses them."""
    count = 0
    for node in nodes:
        has = node["Resources"] if node["Alive"] else {}
        fit = int(has.get("CPU", 0)) // threads
        count += min(fit, int(has.get("GPU", 0) / gpus + 1e-9)) if gpus else fit
    return count


def _finished(ray: Any, task: Any) -> bool:
    """Whether a task that ended did so because nothing was left to do; Failed when no other can do better."""
    try:
        finished, wrong = ray.get(task)
    except ray.exceptions.RayError as error:
        raise Failed(f"a task of Ray failed: {first_line(error)}") from None
    if wrong:
        raise Failed(wrong)
    return bool(finished)


def _task() -> Callable[[str, dict[str, str], str | None], tuple[bool, str]]:
    """What nodes execute: it travels as it stands, since canonlab may be missing there, which is to be said clearly."""

    def task(path: str, environment: dict[str, str], tracker: str | None) -> tuple[bool, str]:
        node = platform.node()
        if importlib.util.find_spec("canonlab") is None:
            return False, f"canonlab isn't installed on {node}, a node of the Ray cluster, for the Python that runs Ray"
        if not os.path.isfile(path):
            return False, f"{node}, a node of the Ray cluster, doesn't see {path}; runs must be in a shared folder"
        from canonlab.sweeps.engines import ray

        return ray.make(path, environment, tracker)

    return task


def make(path: str, environment: dict[str, str], tracker: str | None) -> tuple[bool, str]:
    """Keep a worker of a list on this node: whether it found nothing more to do, and what keeps any from working."""
    try:
        for _ in local.run(read_worklist(Path(path)), [environment], tracker):
            pass
    except Interrupted:
        return False, ""
    except (Failed, InputError) as error:
        return False, f"{platform.node()}: {error}"
    return True, ""
