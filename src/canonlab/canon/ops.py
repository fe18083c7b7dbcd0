"""The Canon convolution as PyTorch operators, for kernels that PyTorch cannot look into.

`canonlab::canon` is y[t] = sum_j weight[j] * x[t-j] and `canonlab::canon_backward` its two gradients. Both are bilinear
in the tensors they get, so the gradients of the gradients are the same two operators again, to any order. A kernel for
another kind of device is one `register_kernel` each; shapes and gradients are already here.
"""

from typing import Any

import torch
from torch import Tensor


@torch.library.custom_op("canonlab::canon", mutates_args=(), device_types="cpu")
def convolve(x: Tensor, weight: Tensor, segment_ids: Tensor | None) -> Tensor:
    """x (batch, time, width), weight (kernel, width) in the dtype of the sums, segment_ids (batch, time) integers."""
    from canonlab.canon import cpu  # numba takes a second to load: only for those who use it

    return cpu.forward(x, weight, segment_ids)


@torch.library.custom_op("canonlab::canon_backward", mutates_args=(), device_types="cpu")
def convolve_backward(
    g: Tensor, x: Tensor, weight: Tensor, segment_ids: Tensor | None, weight_gradient: bool
) -> tuple[Tensor, Tensor]:
    """The gradients of x and of weight; without `weight_gradient` the latter is empty: (0, width)."""
    from canonlab.canon import cpu

    return cpu.backward(g, x, weight, segment_ids, weight_gradient)


@convolve.register_fake
def _(x: Tensor, weight: Tensor, segment_ids: Tensor | None) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@convolve_backward.register_fake
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


convolve.register_autograd(_forward_gradients, setup_context=_save_forward)
convolve_backward.register_autograd(_backward_gradients, setup_context=_save_backward)
