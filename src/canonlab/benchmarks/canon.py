"""What a Canon layer costs: milliseconds against a plain copy of its input, for each implementation."""

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from canonlab.canon import canon, choose_implementation
from canonlab.checks import seconds_since

SHAPE = (4, 512, 2730)
"""Batch, time, width: the widest Canon layer (point D) of an 8L512D Llama on 4 windows of 512 tokens, at 2 * 1365."""

KERNEL = 4
TURN = 0.05
"""Seconds a case runs before the next has its turn: long enough to be warm, short enough that noise hits all alike."""


def bench_canon(
    threads: int = 1, seconds: float = 1.0, clock: Callable[[], float] = time.perf_counter
) -> list[dict[str, Any]]:
    """Time forward ("forward") and forward + backward ("both") of a residual Canon layer on the CPU.

    Cases take turns until each has run `seconds` on average; the best call of each counts. "conv1d" is PyTorch's own
    depthwise convolution on the same (batch, time, width) tensors. A row per case: name, implementation, dtype,
    milliseconds, ratio (to `x.clone()` of that dtype in the same run) and gigabytes_per_second, of the bytes that must
    move at least: 2 tensors forward (x, y) and 3 backward (x and two gradients). On a machine that is shared,
    `time.thread_time` as the `clock` leaves the other processes out (with one thread only).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        cases = {}
        for dtype in (torch.float32, torch.bfloat16):
            cases.update(_cases(dtype))
        best = _best_of(cases, seconds, clock)
    finally:
        torch.set_num_threads(before)
    rows = []
    for (name, implementation, dtype), duration in best.items():
        tensors = 5 if name == "both" else 2
        size = SHAPE[0] * SHAPE[1] * SHAPE[2] * dtype.itemsize
        rows.append(
            {
                "name": name,
                "implementation": implementation,
                "dtype": str(dtype).removeprefix("torch."),
                "milliseconds": 1e3 * duration,
                "ratio": duration / best["clone", "torch", dtype],
                "gigabytes_per_second": tensors * size / duration / 1e9,
            }
        )
    return rows


Case = tuple[str, str, torch.dtype]


def _cases(dtype: torch.dtype) -> dict[Case, Callable[[], object]]:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(SHAPE, generator=random).to(dtype)
    g = torch.randn(SHAPE, generator=random).to(dtype)
    weight = torch.randn(KERNEL, SHAPE[2], generator=random)

    def forward(layer: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], object]:
        return lambda: layer(x, weight)

    def both(layer: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], object]:
        inputs = x.detach().clone().requires_grad_(), weight.detach().clone().requires_grad_()
        return lambda: torch.autograd.grad(layer(*inputs), inputs, g)

    layers: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"reference": _layer("reference"), "conv1d": _conv1d}
    if choose_implementation("cpu", dtype) == "numba":
        layers["numba"] = _layer("numba")
    cases: dict[Case, Callable[[], object]] = {("clone", "torch", dtype): x.clone}
    for implementation, layer in layers.items():
        cases["forward", implementation, dtype] = forward(layer)
        cases["both", implementation, dtype] = both(layer)
    return cases


def _layer(implementation: str) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, weight: canon(x, weight, implementation=implementation)


def _conv1d(x: Tensor, weight: Tensor) -> Tensor:
    """The same layer by `conv1d`, which wants the channels before the time and the oldest tap first."""
    history = F.pad(x.transpose(1, 2), (KERNEL - 1, 0))
    y = F.conv1d(history, weight.flip(0).T[:, None].to(x.dtype), groups=x.shape[2])
    return x + y.transpose(1, 2)


def _best_of(cases: dict[Case, Callable[[], object]], seconds: float, clock: Callable[[], float]) -> dict[Case, float]:
    """The fastest call of each case, in seconds."""
    for call in cases.values():
        call()  # compiles, and touches the memory
    best = dict.fromkeys(cases, float("inf"))
    end = clock() + seconds * len(cases)
    while True:
        for case, call in cases.items():
            turn = clock() + TURN
            while (start := clock()) < turn:
                call()
                best[case] = min(best[case], seconds_since(start, clock))
        if start >= end:
            return best
