"""How many runs of a sweep are made at once on a machine, and with how many CPU threads each: chosen once, and kept.

Threads change a run's last bits, so that every worker, and every restart, has the same number.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from canonlab.errors import InputError
from canonlab.files import entry, exists, read_json, write_json
from canonlab.sweeps.measure import measure
from canonlab.sweeps.places import SWEEP
from canonlab.training.config import MOST_THREADS
from canonlab.training.plan import Plan

PROCESS_BYTES = 400 << 20
"""Of a worker before it has a run: libraries for the most part, which processes do share, so it is on the safe side."""


@dataclass(frozen=True)
class Layout:
    """CPU threads of each run, the seconds that a step was measured to take with some numbers of them, and the bytes
    that the largest run takes, as far as that is known."""

    threads: int
    seconds: dict[int, float]
    memory: int = 0

    def workers(self, runs: int, gpus: int = 0, each: int = 1) -> int:
        """How many runs are made at once here: `each` on every GPU, or as many as there are cores and memory for.

        1 at least.
        """
        return max(1, min(runs, gpus * each if gpus else _at_once(self.threads, self.memory)))


def _at_once(threads: int, memory: int) -> int:
    return min(cores() // threads, free_memory() // (memory + PROCESS_BYTES))


def free_memory() -> int:
    """Bytes that processes may still take here, and in this container; without end where the system doesn't say."""
    found = [sys.maxsize]
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found.append(1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))))
    with suppress(OSError, ValueError):
        limit, used = (int((Path("/sys/fs/cgroup") / f"memory.{name}").read_text()) for name in ("max", "current"))
        found.append(max(0, limit - used))
    return min(found)


def cores() -> int:
    """The CPU cores that this process may use, without those that are another's second half."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, torch.get_num_threads() if "OMP_NUM_THREADS" not in os.environ else allowed, _quota()))


def _quota() -> int:
    """The cores that a container's quota amounts to, at least one; many where there is none."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):
        return MOST_THREADS


def layout(plans: Sequence[Plan], flops: Sequence[int], parent: Path, memory: int = 0) -> Layout:
    """The layout of a sweep of these runs: the one it has, or else one that is measured, and written down.

    The runs take that many FLOPs, and `memory` bytes at most.
    """
    if found := kept_layout(parent, memory):
        return found
    found = measured_layout(plans, flops, memory)
    path = _path(parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"threads": found.threads, "seconds": found.seconds})
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
    return found


def _path(parent: Path) -> Path:
    return parent / SWEEP / "layout.json"


def kept_layout(parent: Path, memory: int = 0) -> Layout | None:
    """The layout that a sweep of this folder has, if there has been one."""
    path = _path(parent)
    if not exists(path):
        return None
    kept = read_json(path)
    threads = entry(kept, "threads", int, path, least=1)
    if threads > MOST_THREADS:
        raise InputError(f"{path}: threads = {threads}: must be at most {MOST_THREADS}")
    return Layout(threads, {int(n): s for n, s in entry(kept, "seconds", dict, path).items()}, memory)


def measured_layout(plans: Sequence[Plan], flops: Sequence[int], memory: int = 0) -> Layout:
    """The threads that make the sweep end first, by the steps of the run that takes longest.

    Runs that are told their threads have them; on a GPU a run's threads hardly matter.
    """
    told = [plan.asked.backend.threads for plan in plans if plan.asked.backend.threads]
    if len(told) == len(plans):
        return Layout(max(told), {}, memory)
    if all(plan.backend.device != "cpu" for plan in plans):
        return Layout(max(1, cores() // max(1, torch.cuda.device_count())), {}, memory)
    longest = plans[max(range(len(plans)), key=lambda index: flops[index])]
    available = cores()
    candidates = sorted({*(1 << power for power in range(available.bit_length())), available})
    seconds = {n: measure(longest, n).step for n in candidates} if available > 1 else {1: 0.0}

    def whole(threads: int) -> float:
        return -(-len(plans) // max(1, _at_once(threads, memory))) * seconds[threads]

    return Layout(min(candidates, key=whole), seconds, memory)
