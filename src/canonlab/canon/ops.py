"""The Canon convolution as PyTorch operators, for kernels that PyTorch cannot look into.

`canonlab::canon` is y[t] = sum_j weight[j] * x[t-j] and `canonlab::canon_backward` its two gradients. Both are bilinear
in the tensors they get, so the gradients of the gradients are the same two operators again, to any order. A kernel for
another kind of device is one `register_kernel` each; shapes and gradients are already here.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from canonlab.canon.transforms import Operator


def reference(x: Tensor, weight: Tensor, segment_ids: Tensor | None) -> Tensor:
    """The convolution by its definition: shift, multiply, add. Runs on every device, compiles to one fused kernel."""
    y = weight[0] * x
    for taps, earlier in zip(weight[1:], before(x, len(weight), segment_ids), strict=True):
        y = y + taps * earlier
    return y.to(x.dtype)


def before(x: Tensor, kernel: int, segment_ids: Tensor | None) -> Iterator[Tensor]:
    """x (batch, time, width) of 1, 2, ... kernel - 1 positions before; zeros before the start, of a segment too."""
    time, past = x.shape[1], kernel - 1
    padded = F.pad(x, (0, 0, past, 0))
    for lag in range(1, kernel):
        earlier = padded[:, past - lag : past - lag + time]
        if segment_ids is not None:
            same = F.pad(segment_ids, (lag, 0))[:, :time] == segment_ids
            earlier = torch.where(same[..., None], earlier, 0)
        yield earlier


def convolve_per_token(x: Tensor, past: Tensor, taps: Tensor, segment_ids: Tensor | None) -> Tensor:
    """Taps of each position's own: y[t] = taps[t, 0] x[t] + sum over j >= 1 of taps[t, j] past[t-j].

    x, past (batch, time, width); taps (batch, time, kernel, groups), whose dtype is that of the sums and of y: each tap
    serves width / groups channels side by side.
    """
    now, *rest = taps[..., None].unbind(2)
    y = now * x.unflatten(-1, (taps.shape[-1], -1))
    for tap, earlier in zip(rest, before(past, taps.shape[2], segment_ids), strict=True):
        y = torch.addcmul(y, tap, earlier.unflatten(-1, (taps.shape[-1], -1)))
    return y.flatten(-2)


def _reference_backward(
    g: Tensor, x: Tensor, weight: Tensor, segment_ids: Tensor | None, weight_gradient: bool
) -> tuple[Tensor, Tensor]:
    pull = torch.func.vjp(lambda x, weight: reference(x, weight, segment_ids), x, weight)[1]
    dx, dweight = pull(g)
    return dx, dweight[: None if weight_gradient else 0]


def _kernel(x: Tensor, weight: Tensor, segment_ids: Tensor | None) -> Tensor:
    from canonlab.canon import cpu  # numba takes a second to load: only for those who use it

    return cpu.forward(x, weight, segment_ids)


def _kernel_backward(
    g: Tensor, x: Tensor, weight: Tensor, segment_ids: Tensor | None, weight_gradient: bool
) -> tuple[Tensor, Tensor]:
    from canonlab.canon import cpu

    return cpu.backward(g, x, weight, segment_ids, weight_gradient)


convolve = Operator("canonlab::canon", reference, _kernel, "cpu")
"""x (batch, time, width), weight (kernel, width) in the dtype of the sums, segment_ids (batch, time) integers."""

convolve_backward = Operator("canonlab::canon_backward", _reference_backward, _kernel_backward, "cpu")
"""The gradients of x and of weight; without `weight_gradient` the latter is empty: (0, width)."""


@convolve.node.register_fake
def _(x: Tensor, weight: Tensor, segment_ids: Tensor | None) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@convolve_backward.node.register_fake
def _(g: Tensor, x: Tensor, weight: Tensor, segment_ids: Tensor | None, weight_gradient: bool) -> tuple[Tensor, Tensor]:
    dx = torch.empty_like(x, memory_format=torch.contiguous_format)
    return dx, weight.new_empty((weight.shape[0] if weight_gradient else 0, x.shape[2]))


def _save_forward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _forward_gradients(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, segment_ids = ctx.saved_tensors
    dx, dweight = convolve_backward(g, x, weight, segment_ids, ctx.needs_input_grad[1])
    return dx, dweight if ctx.needs_input_grad[1] else None, None


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.weight_gradient = inputs
    ctx.save_for_backward(*tensors)


def _backward_gradients(ctx: Any, ddx: Tensor, ddweight: Tensor) -> tuple[Tensor | None, ...]:
    g, x, weight, segment_ids = ctx.saved_tensors
    dg = convolve(ddx, weight, segment_ids)
    _, dweight = convolve_backward(g, ddx, weight, segment_ids, True)
    if not ctx.weight_gradient:
        return dg, None, dweight, None, None
    dx, _ = convolve_backward(g, x, ddweight, segment_ids, False)
    return dg + convolve(x, ddweight, segment_ids), dx, dweight, None, None


convolve.node.register_autograd(_forward_gradients, setup_context=_save_forward)
convolve_backward.node.register_autograd(_backward_gradients, setup_context=_save_backward)
