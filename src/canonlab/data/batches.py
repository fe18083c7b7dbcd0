"""Batches addressed by (step, rank, world), made ahead of time by threads, and the hash of what was seen."""

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np

DATA_HASH_START = bytes(32)
"""h before the first window; then h_i = SHA-256(h_{i-1} || tokens of window i, int32 little-endian || its mask)."""


class WindowSource(Protocol):
    """The part of a task that batches need."""

    def windows(self, seed: int, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Windows start .. start + count - 1 of the training stream: tokens and mask, each (count, context)."""
        ...


def batch_indices(step: int, batch: int, rank: int = 0, world: int = 1) -> tuple[int, int]:
    """(first window, number of windows) of one rank's share of a step.

    Step s of any run covers windows s * batch .. (s + 1) * batch - 1; ranks take contiguous parts of it in order, so
    the global order is the same at any world size.
    """
    first, last = (step * batch + batch * r // world for r in (rank, rank + 1))
    return first, last - first


def batches(
    source: WindowSource,
    seed: int,
    batch: int,
    steps: range,
    *,
    rank: int = 0,
    world: int = 1,
    ahead: int = 4,
    threads: int = 1,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The windows of each step in `steps`, in order; up to `ahead` steps are generated while others are used.

    What comes out depends on (source, seed, batch, step, rank, world) alone, never on `ahead` or `threads`.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="windows") as pool:
        waiting: deque[Future[tuple[np.ndarray, np.ndarray]]] = deque()
        try:
            for step in steps:
                waiting.append(pool.submit(source.windows, seed, *batch_indices(step, batch, rank, world)))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def extend_data_hash(digest: bytes, tokens: np.ndarray, mask: np.ndarray) -> bytes:
    """The chain after these windows: tokens int32 and mask uint8, both (count, context), in index order."""
    for window, marks in zip(tokens.astype("<i4", copy=False), mask, strict=True):
        digest = hashlib.sha256(digest + window.tobytes() + marks.tobytes()).digest()
    return digest
