"""Threads for compiled kernels, which hold no lock of the interpreter."""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch


def in_parallel(run: Callable[[int], None], threads: int) -> None:
    """run(0) .. run(threads - 1), each on a thread of its own; at most as many as PyTorch itself would use."""
    pool = _pool(torch.get_num_threads(), os.getpid())
    pending = [pool.submit(run, thread) for thread in range(1, threads)]
    run(0)
    for future in pending:
        future.result()


@functools.cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """One pool for each number of threads; `process` because a forked child has none of its parent's threads.

    It starts no thread before it has to.
    """
    return ThreadPoolExecutor(threads, thread_name_prefix="canonlab")
