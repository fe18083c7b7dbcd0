"""The Canon layer as a function, and the choice of what computes it.

A Canon layer mixes each position with the few before it, channel by channel: a causal depthwise convolution, by default
with a residual connection (Physics of Language Models, Part 4.1, arXiv 2512.17351, section 4).
"""

import importlib.util
import os
from difflib import get_close_matches

import torch
import torch.nn.functional as F
from torch import Tensor

from canonlab.canon.ops import convolve, convolve_per_token, reference

KERNELS = range(2, 9)
IMPLEMENTATIONS = ("numba", "reference")
NUMBA_DTYPES = (torch.float32, torch.float64, torch.bfloat16)
HAS_NUMBA = importlib.util.find_spec("numba") is not None  # looks, does not load
MAY_COMPILE = os.environ.get("NUMBA_DISABLE_JIT", "") in ("", "0")


def canon(
    x: Tensor,
    weight: Tensor,
    *,
    segment_ids: Tensor | None = None,
    residual: bool = True,
    activation: bool = False,
    scale: bool = False,
    dynamic: Tensor | None = None,
    gate: Tensor | None = None,
    past: Tensor | None = None,
    implementation: str | None = None,
) -> Tensor:
    """x + conv(x), where conv(x)[t] = sum over j of weight[j] * x[t-j], with zeros before the start.

    With everything that may be added: x + gate * conv(x), conv(x)[t] = (weight[0] + dynamic[t, 0]) * x[t] + sum over
    j >= 1 of (weight[j] + dynamic[t, j]) * past[t-j].

    Args:
        x: (batch, time, width), any floating dtype.
        weight: (kernel, width), kernel 2 to 8; `weight[j]` multiplies the input j positions back.
        segment_ids: (batch, time) integers; a position only sees those of its own segment. Padding is segment -1.
        residual: add x; without an activation it costs nothing, since x + conv(x; w) = conv(x; w + e_0).
        activation: SiLU(conv(x)) in place of conv(x).
        scale: times 1/sqrt(kernel + 1), the number of terms that are added up.
        dynamic: (batch, time, kernel, groups), taps of each position's own; each is added to those of width / groups
            channels side by side. They are applied in plain PyTorch by any implementation.
        gate: (width,), a factor on what is added to x.
        past: (batch, time, width), what the positions before are taken from in place of x.
        implementation: "reference" or "numba"; None lets `choose_implementation` choose. Under transforms of
            torch.func, forward-mode derivatives, tracing and export, which see no kernel, "numba" is "reference".

    Returns:
        (batch, time, width) in the dtype of x. Sums are in float32, or in float64 when x is.

    Raises:
        TypeError: x or weight is not floating, or segment_ids is not integer.
        ValueError: shapes or devices do not fit, or the implementation is unknown or cannot run here.
    """
    _check(x, weight, segment_ids)
    _check_more(x, weight, dynamic, gate, past)
    if implementation is None:
        implementation = choose_implementation(x.device, x.dtype)
    else:
        require_implementation(implementation, x.device, x.dtype)
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    factor = (len(weight) + 1) ** -0.5 if scale else 1.0
    taps, amount = weight.to(dtype), None if gate is None else gate.to(dtype)
    if activation:
        y = F.silu(_sum(x, past, taps, segment_ids, dynamic, None, implementation))
        y = y if amount is None else y * amount
        y = x + y if residual else y
        return (y * factor if scale else y).to(x.dtype)
    if amount is not None:
        taps = taps * amount
    if residual:
        taps = taps + torch.eye(len(taps), 1, dtype=dtype, device=taps.device)  # folded: one more on tap 0
    if scale:
        taps, amount = taps * factor, torch.full_like(taps[0], factor) if amount is None else amount * factor
    return _sum(x, past, taps, segment_ids, dynamic, amount, implementation)


def _sum(
    x: Tensor,
    past: Tensor | None,
    taps: Tensor,
    segment_ids: Tensor | None,
    dynamic: Tensor | None,
    amount: Tensor | None,
    implementation: str,
) -> Tensor:
    """The convolution with `taps`, and `amount` times that with dynamic ones, in the dtype of x."""
    run = reference if implementation == "reference" else convolve
    if past is None:
        y = run(x, taps, segment_ids)
    else:
        y = run(past, torch.cat([torch.zeros_like(taps[:1]), taps[1:]]), segment_ids) + taps[0] * x
    if dynamic is not None:
        more = convolve_per_token(x, x if past is None else past, dynamic.to(taps.dtype), segment_ids)
        y = y + (more if amount is None else more * amount)
    return y.to(x.dtype)


def choose_implementation(device: torch.device | str, dtype: torch.dtype) -> str:
    """The implementation that runs when none is asked for: "numba" on a CPU where it can run, else "reference"."""
    return "numba" if HAS_NUMBA and MAY_COMPILE and _numba_fits(device, dtype) else "reference"


def require_implementation(implementation: str, device: torch.device | str, dtype: torch.dtype) -> str:
    """`implementation` itself, if it is known and can run here: what was asked for runs, or nothing does."""
    require_known(implementation)
    if implementation == "numba" and not HAS_NUMBA:
        raise ValueError("Canon implementation 'numba' needs numba, which is not installed: pip install numba")
    if implementation == "numba" and not MAY_COMPILE:
        raise ValueError("Canon implementation 'numba' is compiled, and NUMBA_DISABLE_JIT is set: unset it")
    if implementation == "numba" and not _numba_fits(device, dtype):
        allowed = ", ".join(str(dtype) for dtype in NUMBA_DTYPES)
        raise ValueError(f"Canon implementation 'numba' does not run {dtype} on {device} (allowed: {allowed} on cpu)")
    return implementation


def require_known(implementation: str) -> None:
    """ValueError, with the nearest word, for an implementation that is none of `IMPLEMENTATIONS`."""
    if implementation not in IMPLEMENTATIONS:
        close = get_close_matches(str(implementation), IMPLEMENTATIONS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"unknown Canon implementation {implementation!r}{hint} (allowed: {', '.join(IMPLEMENTATIONS)})"
        )


def require_kernel(kernel: int) -> None:
    """ValueError for a number of taps that is none of `KERNELS`."""
    if kernel not in KERNELS or isinstance(kernel, float):
        raise ValueError(f"Canon kernel = {kernel!r}: must be from {KERNELS[0]} to {KERNELS[-1]}, an integer")


def _numba_fits(device: torch.device | str, dtype: torch.dtype) -> bool:
    return torch.device(device).type == "cpu" and dtype in NUMBA_DTYPES


def _check(x: Tensor, weight: Tensor, segment_ids: Tensor | None) -> None:
    if x.ndim != 3:
        raise ValueError(f"Canon x has shape {tuple(x.shape)}: must be (batch, time, width)")
    if weight.ndim != 2 or weight.shape[1] != x.shape[2]:
        raise ValueError(f"Canon weight has shape {tuple(weight.shape)}: must be (kernel, {x.shape[2]}) for this x")
    require_kernel(weight.shape[0])
    for name, tensor in (("x", x), ("weight", weight)):
        if not tensor.is_floating_point():
            raise TypeError(f"Canon {name} is {tensor.dtype}: must be floating")
    if weight.device != x.device:
        raise ValueError(f"Canon weight is on {weight.device}: must be on {x.device} like x")
    if segment_ids is not None:
        if segment_ids.device != x.device:
            raise ValueError(f"Canon segment_ids is on {segment_ids.device}: must be on {x.device} like x")
        if segment_ids.shape != x.shape[:2]:
            raise ValueError(f"Canon segment_ids has shape {tuple(segment_ids.shape)}: must be {tuple(x.shape[:2])}")
        if segment_ids.is_floating_point() or segment_ids.is_complex() or segment_ids.dtype == torch.bool:
            raise TypeError(f"Canon segment_ids is {segment_ids.dtype}: must be an integer type")


def _check_more(x: Tensor, weight: Tensor, dynamic: Tensor | None, gate: Tensor | None, past: Tensor | None) -> None:
    batch, time, width = x.shape
    if dynamic is not None and (
        dynamic.shape[:-1] != (batch, time, len(weight)) or not dynamic.shape[-1] or width % dynamic.shape[-1]
    ):
        raise ValueError(
            f"Canon dynamic has shape {tuple(dynamic.shape)}: must be ({batch}, {time}, {len(weight)}, groups), groups "
            f"that divide {width} channels"
        )
    if gate is not None and gate.shape != (width,):
        raise ValueError(f"Canon gate has shape {tuple(gate.shape)}: must be ({width},) for this x")
    if past is not None and past.shape != x.shape:
        raise ValueError(f"Canon past has shape {tuple(past.shape)}: must be {tuple(x.shape)} like x")
