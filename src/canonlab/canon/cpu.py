"""The Canon kernels for CPUs: one pass over the data, forward and backward, for float32, float64 and bfloat16.

Rows are positions and columns are channels. The inner loop runs along the channels, so it fills the widest vectors of
the machine, and takes `rows` positions at once, so that a loaded row serves all the taps that need it. bfloat16 comes
as its bits (uint16), is widened on load and rounded to nearest even on store. Sums are in float32, in float64 when the
data are.

Threads share the work by channels and never share a sum: every number is computed by the same operations in the same
order whatever the number of threads, so results are bit-identical. There is no fastmath for the same reason.

Everything that numba compiles stands in this one file, because numba's on-disk cache notices edits of this file only.
"""

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.core.caching import FunctionCache
from numba.extending import intrinsic
from torch import Tensor

from canonlab.canon.threads import in_parallel

CHANNELS_PER_PIECE = 4096  # the rows of a piece that are in use at once stay in the L2 cache
CHANNELS_PER_STEP = 64  # pieces are multiples of this: whole vectors, and threads seldom meet in a cache line
ELEMENTS_PER_THREAD = 1 << 19  # below this much work a thread costs more than it saves

NO_SEGMENTS = np.empty(0, np.int64)


def _address(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return cgutils.get_item_pointer(context, builder, signature.args[0], array, arguments[1:3], wraparound=False)


def _inputs(builder: Any) -> Any:
    """The LLVM alias scope of everything that `load` reads."""
    module = builder.module
    domain = module.add_metadata(["canon"])
    return module.add_metadata([module.add_metadata(["canon inputs", domain])])


@intrinsic
def load(typing: Any, array: Any, row: Any, column: Any) -> Any:
    """array[row, column] as a number to compute with; promises that no `store` writes there.

    The promise is what makes the kernels fast: without it LLVM guards the vector loop with a run-time overlap check for
    every pair of rows, which costs half as much as the loop, and gives up vectorising when there are too many.
    """
    result = types.float32 if array.dtype == types.uint16 else array.dtype

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = builder.load(_address(context, builder, signature, arguments))
        value.set_metadata("alias.scope", _inputs(builder))
        if array.dtype == types.uint16:
            bits = builder.shl(builder.zext(value, ir.IntType(32)), ir.IntType(32)(16))
            value = builder.bitcast(bits, ir.FloatType())
        return value

    return result(array, row, column), generate


@intrinsic
def store(typing: Any, array: Any, row: Any, column: Any, value: Any) -> Any:
    """array[row, column] = value, where `load` never reads."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = arguments[3]
        if array.dtype == types.uint16:  # round to nearest even, and keep NaN a NaN
            i32 = ir.IntType(32)
            bits = builder.bitcast(value, i32)
            odd = builder.and_(builder.lshr(bits, i32(16)), i32(1))
            rounded = builder.lshr(builder.add(builder.add(bits, odd), i32(0x7FFF)), i32(16))
            nan = builder.fcmp_unordered("uno", value, value)
            value = builder.trunc(builder.select(nan, i32(0x7FC0), rounded), ir.IntType(16))
        instruction = builder.store(value, _address(context, builder, signature, arguments))
        instruction.set_metadata("noalias", _inputs(builder))
        return context.get_dummy_value()

    number = types.float32 if array.dtype == types.uint16 else array.dtype
    return types.void(array, row, column, number), generate


# The kernels compute channels first..end of (batch * time, width) arrays whose sequences are `time` rows long. Column
# indices are unsigned: numba lets a signed index count from the end, and the test for that would break the vectors.


@njit(nogil=True)
def _one_segment(segments: np.ndarray, first: int, end: int) -> bool:
    same = True
    for row in range(first + 1, min(end, segments.size)):  # without segments there is nothing to compare
        same &= segments[row] == segments[first]
    return same


@njit(nogil=True)
def _connected(segments: np.ndarray, row: int, other: int) -> bool:
    return segments.size == 0 or segments[row] == segments[other]


@njit(nogil=True)
def _forward_row(x, weight, segments, y, total, row, start, base, width):  # type: ignore[no-untyped-def]
    """One row of y, near the start of its sequence or segment: a look at each tap whether it counts."""
    for c in range(width):
        total[c] = load(weight, 0, base + c) * load(x, row, base + c)
    for lag in range(1, min(weight.shape[0], row - start + 1)):
        if _connected(segments, row, row - lag):
            for c in range(width):
                total[c] += load(weight, lag, base + c) * load(x, row - lag, base + c)
    for c in range(width):
        store(y, row, base + c, total[c])


@njit(nogil=True)
def _backward_row(g, x, weight, segments, dx, sums, total, row, stop, base, width):  # type: ignore[no-untyped-def]
    """One row of dx, near the end of its sequence or segment, and what it adds to the sums of dweight."""
    for c in range(width):
        total[c] = load(weight, 0, base + c) * load(g, row, base + c)
    for lag in range(1, min(weight.shape[0], stop - row)):
        if _connected(segments, row, row + lag):
            for c in range(width):
                total[c] += load(weight, lag, base + c) * load(g, row + lag, base + c)
    for c in range(width):
        store(dx, row, base + c, total[c])
    for lag in range(min(sums.shape[0], stop - row)):
        if _connected(segments, row, row + lag):
            for c in range(width):
                store(sums, lag, c, sums[lag, c] + load(x, row, base + c) * load(g, row + lag, base + c))


class _Cache(FunctionCache):
    """numba's cache, except that what it can't load is compiled, and what it can't save (a full disk) is not saved."""

    def load_overload(self, *arguments: Any) -> Any:
        try:
            return super().load_overload(*arguments)
        except Exception:  # a damaged file raises whatever its bytes make of it
            return None

    def save_overload(self, *arguments: Any) -> None:
        try:
            super().save_overload(*arguments)
        except Exception as error:
            warnings.warn(f"a Canon kernel could not be saved to numba's cache: {error}", RuntimeWarning, stacklevel=2)


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    """`function` compiled on its first call, and saved for later processes where numba finds a folder to write to."""
    compiled: Any = njit(nogil=True)(function)
    if compiled is function:
        raise RuntimeError("Canon implementation 'numba': numba is told not to compile (DISABLE_JIT); take 'reference'")
    try:
        compiled._cache = _Cache(function)  # what `cache=True` does, with numba's own class
    except RuntimeError as error:
        warnings.warn(
            f"each start compiles Canon kernels anew; set NUMBA_CACHE_DIR: {error}", RuntimeWarning, stacklevel=2
        )
    return compiled


@functools.cache
def kernels(taps: int, dtype: torch.dtype) -> tuple[Callable[..., None], Callable[..., None]]:
    """The forward and the backward kernel for `taps` taps, which are constants in the code, so that LLVM unrolls them.

    taps * rows is at most 16 because LLVM leaves longer loops rolled up and then does not vectorise around them.
    Those for data of another `dtype` are others for numba's cache alone, which has the code of one kernel in numbered
    files: two processes that compile for two signatures at once can take the same number, and one then loads the
    other's code.
    """
    rows = min(4, 16 // taps)

    def compiled(function: Callable[..., None]) -> Callable[..., None]:
        function.__qualname__ = f"{function.__name__}_{taps}_{dtype}"  # its files are named after it
        return _compiled(function)

    @compiled
    def forward(x, weight, segments, y, time, first, end):  # type: ignore[no-untyped-def]
        base, width = np.uintp(first), np.uintp(end - first)
        total = np.empty(end - first, weight.dtype)
        for start in range(0, x.shape[0], time):
            row, stop = start, start + time
            while row < stop:
                oldest = row - taps + 1
                if oldest >= start and row + rows <= stop and _one_segment(segments, oldest, row + rows):
                    for c in range(width):
                        for r in range(rows):
                            value = load(weight, 0, base + c) * load(x, row + r, base + c)
                            for lag in range(1, taps):
                                value += load(weight, lag, base + c) * load(x, row + r - lag, base + c)
                            store(y, row + r, base + c, value)
                    row += rows
                else:
                    _forward_row(x, weight, segments, y, total, row, start, base, width)
                    row += 1

    @compiled
    def backward(g, x, weight, segments, dx, dweight, time, first, end):  # type: ignore[no-untyped-def]
        # Row `row` of x reached the outputs row..row + taps - 1: one look at their gradients gives dx and dweight.
        base, width = np.uintp(first), np.uintp(end - first)
        total = np.empty(end - first, weight.dtype)
        sums = np.empty((dweight.shape[0], end - first), weight.dtype)
        for start in range(0, x.shape[0], time):
            row, stop = start, start + time
            sums[:] = 0
            while row < stop:
                beyond = row + rows + taps - 1
                if beyond <= stop and _one_segment(segments, row, beyond):
                    for c in range(width):
                        for r in range(rows):
                            value = load(weight, 0, base + c) * load(g, row + r, base + c)
                            for lag in range(1, taps):
                                value += load(weight, lag, base + c) * load(g, row + r + lag, base + c)
                            store(dx, row + r, base + c, value)
                    if dweight.shape[0]:
                        for c in range(width):
                            for lag in range(taps):
                                value = load(x, row, base + c) * load(g, row + lag, base + c)
                                for r in range(1, rows):
                                    value += load(x, row + r, base + c) * load(g, row + r + lag, base + c)
                                store(sums, lag, c, sums[lag, c] + value)
                    row += rows
                else:
                    _backward_row(g, x, weight, segments, dx, sums, total, row, stop, base, width)
                    row += 1
            for lag in range(dweight.shape[0]):
                for c in range(width):
                    dweight[lag, base + c] += sums[lag, c]

    return forward, backward


def forward(x: Tensor, weight: Tensor, segment_ids: Tensor | None) -> Tensor:
    """The convolution of x (batch, time, width) with weight (kernel, width), which has the dtype of the sums."""
    x = x.contiguous()
    y = torch.empty_like(x)
    if x.numel():
        kernel, _ = kernels(weight.shape[0], x.dtype)
        arguments = (_rows(x), _array(weight.contiguous()), _segments(segment_ids), _rows(y), x.shape[1])
        _run(kernel, arguments, x)
    return y


def backward(
    g: Tensor, x: Tensor, weight: Tensor, segment_ids: Tensor | None, weight_gradient: bool
) -> tuple[Tensor, Tensor]:
    """The gradients of x and weight from g, that of y; the weight's is empty, (0, width), unless asked for."""
    g, x = g.contiguous(), x.contiguous()
    dx = torch.empty_like(x)
    dweight = weight.new_zeros((len(weight) if weight_gradient else 0, x.shape[2]))
    if x.numel():
        _, kernel = kernels(weight.shape[0], x.dtype)
        inputs = (_rows(g), _rows(x), _array(weight.contiguous()), _segments(segment_ids))
        _run(kernel, (*inputs, _rows(dx), _array(dweight), x.shape[1]), x)
    return dx, dweight


def _array(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach()
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _rows(tensor: Tensor) -> np.ndarray:
    return _array(tensor.flatten(0, 1))


def _segments(segment_ids: Tensor | None) -> np.ndarray:
    return NO_SEGMENTS if segment_ids is None else segment_ids.to(torch.int64).flatten().numpy()


def _run(kernel: Callable[..., None], arguments: tuple[Any, ...], x: Tensor) -> None:
    """Run the kernel on pieces of the channels, on as many threads as PyTorch itself would use at most."""
    width = x.shape[2]
    threads = max(1, min(torch.get_num_threads(), x.numel() // ELEMENTS_PER_THREAD))
    pieces = threads * math.ceil(width / (CHANNELS_PER_PIECE * threads))
    step = CHANNELS_PER_STEP * math.ceil(width / (CHANNELS_PER_STEP * pieces))
    starts = range(0, width, step)

    used = min(threads, len(starts))

    def run(thread: int) -> None:
        for start in starts[thread::used]:
            kernel(*arguments, start, min(start + step, width))

    in_parallel(run, used)
