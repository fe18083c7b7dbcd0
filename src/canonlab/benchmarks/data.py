"""How many tokens a second the tasks' generators make."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from canonlab.checks import MOST_ROUNDS, seconds_since
from canonlab.errors import InputError
from canonlab.tasks.base import Task
from canonlab.tasks.capo import Capo
from canonlab.tasks.catalog import build_task

PUBLISHED = {
    "brevo1": (0.64e6, 0.73e6),
    "brevo2": (1.6e6, 1.6e6),
    "depo1": (0.45e6, 0.65e6),
    "depo2": (2.6e6, 3.2e6),
    "lano-cfg3f": (0.85e6, 0.85e6),
    "mano": (1.0e6, 1.0e6),
}
"""Tokens/s (low, high) of the published generators, on one core of a 2-core server CPU."""

PUBLISHED_BIOGRAPHIES = 0.15e6
"""Biographies/s of the published generator, which makes text, not tokens, there."""

TASKS = ("copy", "depo1", "depo2", "brevo1", "brevo2", "mano", "lano-cfg3f")

BLOCK_TOKENS = 1 << 21
"""Tokens per call of `fill`: 10 MB with the mask, so that neither the call nor the page faults count."""


def bench_data(
    names: Sequence[str] = TASKS, threads: Sequence[int] = (1, 2), runs: int = 5, seconds: float = 1.0
) -> list[dict[str, Any]]:
    """Time the presets `names` with each number of `threads` that call `fill` on parts of one stream.

    A row per (task, threads): tokens_per_second, the best of `runs` runs of at least `seconds`; speedup over the first
    number of threads; published_low and published_high, tokens/s of the published generator (None where unknown).
    """
    rows = []
    for name in names:
        task = build_task(name)
        low, high = PUBLISHED.get(name, (None, None))
        measured = {count: best_rate(task, count, runs, seconds) for count in threads}
        for count, rate in measured.items():
            rows.append(
                {
                    "task": name,
                    "threads": count,
                    "tokens_per_second": rate,
                    "speedup": rate / measured[threads[0]],
                    "published_low": low,
                    "published_high": high,
                }
            )
    return rows


def bench_biographies(
    names: Sequence[str] = ("capo", "capo-simple"),
    threads: Sequence[int] = (1, 2),
    runs: int = 5,
    seconds: float = 1.0,
) -> list[dict[str, Any]]:
    """The same for presets of Capo, also as biographies/s: people shown a second, all windows being used."""
    rows = []
    for name in names:
        task = build_task(name)
        if not isinstance(task, Capo):
            raise InputError(f"task {name!r}: must be a preset of capo, as no other has biographies")
        tokens = task.windows_per_exposure * task.context / task.N
        for count in threads:
            rate = best_rate(task, count, runs, seconds)
            rows.append(
                {
                    "task": name,
                    "threads": count,
                    "tokens_per_second": rate,
                    "biographies_per_second": rate / tokens,
                    "published_biographies": PUBLISHED_BIOGRAPHIES,
                }
            )
    return rows


def best_rate(task: Task, threads: int, runs: int, seconds: float) -> float:
    """Tokens/s of the best of `runs` runs, in which each thread fills its own windows until `seconds` are over."""
    windows = max(BLOCK_TOKENS // task.context, 1)
    with ThreadPoolExecutor(threads) as pool:
        work = [_filler(task, thread, threads, windows) for thread in range(threads)]
        for fill in work:
            fill(0.0)  # compiles, and touches the memory
        rates = []
        for _ in range(runs):
            begin = time.perf_counter()
            blocks = sum(pool.map(lambda fill: fill(seconds), work))
            rates.append(blocks * windows * task.context / seconds_since(begin))
    return max(rates)


def _filler(task: Task, thread: int, threads: int, windows: int) -> Callable[[float], int]:
    """A function that fills every `threads`-th block of windows for so many seconds and says how many."""
    out = task.windows(0, 0, windows)

    def fill(seconds: float) -> int:
        begin, blocks = time.perf_counter(), 0
        while blocks == 0 or (seconds_since(begin) < seconds and blocks < MOST_ROUNDS):
            task.fill(out, 0, (thread + blocks * threads) * windows)
            blocks += 1
        return blocks

    return fill
