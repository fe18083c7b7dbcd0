"""How many runs of a sweep are made at once on a machine, and with how many CPU threads each: chosen once, and kept.

Threads change a run's last bits, so that every worker, and every restart, has the same number.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from canonlab.errors import InputError
from canonlab.files import entry, exists, read_json, write_json
from canonlab.sweeps.measure import measure_steps
from canonlab.sweeps.places import SWEEP
from canonlab.training.config import MOST_THREADS
from canonlab.training.plan import Plan


@dataclass(frozen=True)
class Layout:
    """CPU threads of each run, and the seconds that a step was measured to take with some numbers of them."""

    threads: int
    seconds: dict[int, float]

    def workers(self, runs: int, gpus: int = 0, each: int = 1) -> int:
        """How many runs are made at once here: `each` on every GPU, or as many as there are cores for; 1 at least."""
        return max(1, min(runs, gpus * each if gpus else cores() // self.threads))


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


def layout(plans: Sequence[Plan], flops: Sequence[int], parent: Path) -> Layout:
    """The layout of a sweep of these runs, which take that many FLOPs: the one it has, or else one that is measured."""
    path = parent / SWEEP / "layout.json"
    if exists(path):
        kept = read_json(path)
        threads = entry(kept, "threads", int, path, least=1)
        if threads > MOST_THREADS:
            raise InputError(f"{path}: threads = {threads}: must be at most {MOST_THREADS}")
        return Layout(threads, {int(n): s for n, s in entry(kept, "seconds", dict, path).items()})
    found = _measured(plans, flops)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"threads": found.threads, "seconds": found.seconds})
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
    return found


def _measured(plans: Sequence[Plan], flops: Sequence[int]) -> Layout:
    """The threads that make the sweep end first, by the steps of the run that takes longest.

    Runs that are told their threads have them; on a GPU a run's threads hardly matter.
    """
    told = [plan.asked.backend.threads for plan in plans if plan.asked.backend.threads]
    if len(told) == len(plans):
        return Layout(max(told), {})
    if all(plan.backend.device != "cpu" for plan in plans):
        return Layout(max(1, cores() // max(1, torch.cuda.device_count())), {})
    longest = plans[max(range(len(plans)), key=lambda index: flops[index])]
    available = cores()
    candidates = [n for n in (2**power for power in range(available.bit_length())) if n <= available]
    if available not in candidates:
        candidates.append(available)
    seconds = {n: measure_steps(longest, n)[1] for n in candidates} if available > 1 else {1: 0.0}

    def whole(threads: int) -> float:
        rounds = -(-len(plans) // max(1, available // threads))
        return rounds * seconds[threads]

    return Layout(min(candidates, key=whole), seconds)
