"""Causal softmax attention as a function, and the choice of what computes it.

o_t = sum_s softmax_s(q_t . k_s / sqrt(E) + bias_ts) v_s, over the slots s that query t sees. Key s is at position s.
A head may have a sink logit, which is one more term exp(logit) in its softmax's denominator, without a value: what goes
there attends to nothing (gpt-oss; arXiv 2309.17453, section 3.3, for sinks as such).
Legend: B batch, T queries, S slots (keys), H query heads, G key heads (a divisor of H), E head width.
"""

import functools
import importlib.util
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, create_block_mask, flex_attention
from torch.utils.flop_counter import register_flop_formula

from canonlab.canon.transforms import Operator, transformed

BLOCK = 128
"""Queries for which a mask is made at a time on a CPU; measured: 64 to 256 are alike, 512 takes twice the time."""

HAS_TRITON = importlib.util.find_spec("triton") is not None  # looks, does not load


class Sight(NamedTuple):
    """What queries see, and with which bias; what is None or 0 does not restrict.

    Query t of row b is at positions[b, t] and sees key s when s <= position, and their segments are equal, and
    s > position - reach[h], and s is in the window or a sink: s > position - window, or
    starts[b, t] <= s < starts[b, t] + sinks. bias = slopes[h] (s - position). Every query sees itself.
    """

    positions_BT: Tensor
    """int64, consecutive in a row; the batch may be 1, for all rows."""
    segments_BT: Tensor | None = None
    segments_BS: Tensor | None = None
    slopes_H: Tensor | None = None
    reach_H: Tensor | None = None
    starts_BT: Tensor | None = None
    """int64, needed with sinks: the slot of the first token of the query's segment; the batch may be 1."""
    window: int = 0
    sinks: int = 0

    @property
    def is_causal(self) -> bool:
        """Whether nothing but time restricts, so that no mask is needed when all keys are given."""
        return self.segments_BT is None and self.slopes_H is None and self.reach_H is None and not self.window

    def keys(self, first: int, last: int) -> Tensor:
        """Those of the slots below `last` that queries may see of which the first is query `first`, in order."""
        positions_B = self.positions_BT[:, first]
        low = max(0, int(positions_B.min()) - self.window + 1) if self.window else 0
        near = torch.arange(low, last, device=positions_B.device)
        if not self.sinks or self.starts_BT is None:
            return near
        # A later query's segment is this query's, or begins after this query and thus within the window's slots.
        far = self.starts_BT[:, first, None] + torch.arange(self.sinks, device=near.device)
        return torch.cat([far[far < low].unique(), near])

    def mask(self, first: int, stop: int, keys: Tensor) -> Tensor:
        """The queries first..stop - 1 against the given keys (slots, in order): (B or 1, H or 1, queries, keys).

        Booleans, or with slopes the bias, -inf where nothing is seen, in their dtype.
        """
        ahead_BHTS = (keys - self.positions_BT[:, first:stop, None])[:, None]
        seen_BHTS = ahead_BHTS <= 0
        if self.reach_H is not None:
            seen_BHTS = seen_BHTS & (ahead_BHTS > -self.reach_H[:, None, None])
        if self.window:
            in_window_BHTS = ahead_BHTS > -self.window
            if self.sinks and self.starts_BT is not None:
                place_BTS = keys - self.starts_BT[:, first:stop, None]
                in_window_BHTS = in_window_BHTS | ((place_BTS >= 0) & (place_BTS < self.sinks))[:, None]
            seen_BHTS = seen_BHTS & in_window_BHTS
        if self.segments_BT is not None and self.segments_BS is not None:
            same_BTS = self.segments_BT[:, first:stop, None] == self.segments_BS[:, None, keys]
            seen_BHTS = seen_BHTS & same_BTS[:, None]
        if self.slopes_H is None:
            return seen_BHTS
        return torch.where(seen_BHTS, self.slopes_H[:, None, None] * ahead_BHTS, -math.inf)


def attend(
    q_BHTE: Tensor,
    k_BGSE: Tensor,
    v_BGSE: Tensor,
    sight: Sight,
    sink_H: Tensor | None = None,
    *,
    cached: bool,
    implementation: str = "",
) -> Tensor:
    """The outputs (B, H, T, E). `cached`: there may be more slots than queries; otherwise key s belongs to query s.

    sink_H: The heads' sink logits. implementation: "causal" (which heeds nothing of `sight` but time), "mask" (neither
    does know of sink logits), "blocks", "flex" or "whole"; by default what `choose_implementation` says.
    """
    queries, width = q_BHTE.shape[2:]
    masked, sink = cached or not sight.is_causal, sink_H is not None
    implementation = implementation or choose_implementation(
        q_BHTE.device, q_BHTE.dtype, queries, width, masked=masked, cached=cached, sink=sink
    )
    # The framework's kernels know neither of forward-mode derivatives, nor of more than one gradient.
    if implementation == "whole" or transformed():
        return _whole(q_BHTE, k_BGSE, v_BGSE, sink_H, *sight)[0]
    if implementation == "flex":
        run = flex if torch.compiler.is_compiling() else _compiled_flex()
        return run(q_BHTE, k_BGSE, v_BGSE, sight, sink_H)
    if implementation == "blocks":
        return _blocks(q_BHTE, k_BGSE, v_BGSE, sink_H, *sight)[0]
    grouped = q_BHTE.shape[1] != k_BGSE.shape[1]
    mask = None if implementation == "causal" else sight.mask(0, queries, _slots(k_BGSE))
    if mask is not None and mask.is_floating_point():
        mask = mask.to(q_BHTE.dtype)  # not every device's kernel takes another
    return F.scaled_dot_product_attention(
        q_BHTE, k_BGSE, v_BGSE, attn_mask=mask, is_causal=mask is None, enable_gqa=grouped
    )


def choose_implementation(
    device: torch.device | str,
    dtype: torch.dtype,
    queries: int,
    head_width: int,
    *,
    masked: bool,
    cached: bool,
    sink: bool = False,
) -> str:
    """What attends. Only "mask" and "whole" have queries x keys in memory: where that is small, or nothing else runs.

    "causal": the framework's kernel, when order is all that counts. "flex": FlexAttention, on CUDA with Triton, without
    a cache, in single or half precision, for heads of width 16 and more. "blocks": on a CPU, some queries at a time.
    "mask": the framework's kernel with a mask. "whole": the definition, for sink logits where neither of "flex" and
    "blocks" runs.
    """
    device = torch.device(device)
    if not masked and not sink:
        return "causal"
    if device.type == "cuda" and HAS_TRITON and not cached and dtype != torch.float64 and head_width >= 16:
        return "flex"
    if device.type in ("cpu", "meta") and (sink or queries > BLOCK):
        return "blocks"
    return "whole" if sink else "mask"


def flex(q_BHTE: Tensor, k_BGSE: Tensor, v_BGSE: Tensor, sight: Sight, sink_H: Tensor | None = None) -> Tensor:
    """FlexAttention, without a cache, so that position is index. Compiled, only a mask of blocks is in memory."""
    _, segments_BT, segments_BS, slopes_H, reach_H, starts_BT, window, sinks = sight
    if starts_BT is not None:
        starts_BT = starts_BT.expand(q_BHTE.shape[0], -1).contiguous()

    def seen(b: Tensor, h: Tensor, t: Tensor, s: Tensor) -> Tensor:
        causal = s <= t
        if reach_H is not None:
            causal = causal & (s > t - reach_H[h])
        if window and starts_BT is not None:
            sink = (s >= starts_BT[b, t]) & (s < starts_BT[b, t] + sinks)
            causal = causal & ((s > t - window) | sink)
        elif window:
            causal = causal & (s > t - window)
        if segments_BT is not None and segments_BS is not None:
            causal = causal & (segments_BT[b, t] == segments_BS[b, s])
        return causal

    def biased(score: Tensor, b: Tensor, h: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return score if slopes_H is None else score + slopes_H[h] * (s - t)

    batch, heads, time, _ = q_BHTE.shape
    blocks = create_block_mask(
        seen,
        batch if segments_BT is not None else None,
        heads if reach_H is not None else None,
        time,
        k_BGSE.shape[2],
        device=q_BHTE.device,
    )
    score_mod = None if slopes_H is None else biased
    grouped = heads != k_BGSE.shape[1]
    out, sums = flex_attention(
        q_BHTE,
        k_BGSE,
        v_BGSE,
        score_mod=score_mod,
        block_mask=blocks,
        enable_gqa=grouped,
        return_aux=AuxRequest(lse=sink_H is not None),
    )
    if sink_H is None or sums.lse is None:
        return out
    return out * torch.sigmoid(sums.lse - sink_H[:, None])[..., None].to(out.dtype)


@functools.cache
def _compiled_flex() -> Callable[..., Tensor]:
    return torch.compile(flex)


def _slots(k_BGSE: Tensor) -> Tensor:
    return torch.arange(k_BGSE.shape[2], device=k_BGSE.device)


def _whole(q_BHTE: Tensor, k_BGSE: Tensor, v_BGSE: Tensor, sink_H: Tensor | None, *sight: Any) -> tuple[Tensor, Tensor]:
    """What `_blocks` gives, by the definition, all queries at once."""
    precise = _sums_dtype(q_BHTE)
    shared = q_BHTE.shape[1] // k_BGSE.shape[1]
    k_BHSE, v_BHSE = (t.to(precise).repeat_interleave(shared, 1) for t in (k_BGSE, v_BGSE))
    scores_BHTS = q_BHTE.to(precise) @ k_BHSE.mT / math.sqrt(q_BHTE.shape[3])
    mask = Sight(*sight).mask(0, scores_BHTS.shape[2], _slots(k_BGSE))
    scores_BHTS = scores_BHTS.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores_BHTS + mask
    sums_BHT = scores_BHTS.logsumexp(-1)
    if sink_H is not None:
        sums_BHT = torch.logaddexp(sums_BHT, sink_H.to(precise)[:, None])
    out_BHTE = (scores_BHTS - sums_BHT[..., None]).exp() @ v_BHSE
    return out_BHTE.to(q_BHTE.dtype), sums_BHT.transpose(1, 2)


def _whole_backward(
    grad_BHTE: Tensor,
    out: Tensor,
    sums: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sink_H: Tensor | None,
    *sight: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    sink = q.new_zeros(q.shape[1], dtype=sums.dtype) if sink_H is None else sink_H

    def function(q: Tensor, k: Tensor, v: Tensor, sink: Tensor) -> Tensor:
        return _whole(q, k, v, None if sink_H is None else sink, *sight)[0]

    return torch.func.vjp(function, q, k, v, sink)[1](grad_BHTE)


def _in_blocks(
    q_BHTE: Tensor,
    k_BGSE: Tensor,
    v_BGSE: Tensor,
    sink_H: Tensor | None,
    positions_BT: Tensor,
    segments_BT: Tensor | None,
    segments_BS: Tensor | None,
    slopes_H: Tensor | None,
    reach_H: Tensor | None,
    starts_BT: Tensor | None,
    window: int,
    sinks: int,
) -> tuple[Tensor, Tensor]:
    """Outputs, and log-sum-exp of the scores (B, T, H): BLOCK queries at a time against the keys that they may see.

    The kernel is the one that the framework's attention runs on a CPU. It is an operator because the framework's own
    would keep every block's mask for the backward pass, and a compiler would unroll the loop.
    """
    sight = Sight(positions_BT, segments_BT, segments_BS, slopes_H, reach_H, starts_BT, window, sinks)
    out_BHTE = torch.empty_like(q_BHTE)
    batch, heads, queries, _ = q_BHTE.shape
    sums_BTH = q_BHTE.new_empty(batch, queries, heads, dtype=_sums_dtype(q_BHTE))
    for rows, slots, mask in _masks(sight, queries, k_BGSE.shape[2], q_BHTE.dtype):
        out, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q_BHTE[:, :, rows], k_BGSE[:, :, slots], v_BGSE[:, :, slots], attn_mask=mask
        )
        out_BHTE[:, :, rows], sums_BTH[:, rows] = out, sums.transpose(1, 2)
    if sink_H is None:
        return out_BHTE, sums_BTH
    with_sink_BTH = torch.logaddexp(sums_BTH, sink_H.to(sums_BTH.dtype))
    return out_BHTE * (sums_BTH - with_sink_BTH).exp().mT[..., None].to(out_BHTE.dtype), with_sink_BTH


def _in_blocks_backward(
    grad_BHTE: Tensor,
    out_BHTE: Tensor,
    sums_BTH: Tensor,
    q_BHTE: Tensor,
    k_BGSE: Tensor,
    v_BGSE: Tensor,
    sink_H: Tensor | None,
    positions_BT: Tensor,
    segments_BT: Tensor | None,
    segments_BS: Tensor | None,
    slopes_H: Tensor | None,
    reach_H: Tensor | None,
    starts_BT: Tensor | None,
    window: int,
    sinks: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of queries, keys, values and sink logits (zeros without any).

    Output and sums already have the sink in them, so that the kernel's own formulas hold for the other terms.
    """
    sight = Sight(positions_BT, segments_BT, segments_BS, slopes_H, reach_H, starts_BT, window, sinks)
    grad_q = torch.empty_like(q_BHTE)
    grad_k, grad_v = (torch.zeros_like(t, dtype=sums_BTH.dtype) for t in (k_BGSE, v_BGSE))
    for rows, slots, mask in _masks(sight, q_BHTE.shape[2], k_BGSE.shape[2], q_BHTE.dtype):
        q, k, v = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            grad_BHTE[:, :, rows],
            q_BHTE[:, :, rows],
            k_BGSE[:, :, slots],
            v_BGSE[:, :, slots],
            out_BHTE[:, :, rows],
            sums_BTH[:, rows].transpose(1, 2),
            0.0,
            False,
            attn_mask=mask,
        )
        grad_q[:, :, rows] = q
        grad_k[:, :, slots] += k
        grad_v[:, :, slots] += v
    grad_sink = sums_BTH.new_zeros(q_BHTE.shape[1])
    if sink_H is not None:
        share_BHT = (sink_H.to(sums_BTH.dtype) - sums_BTH).exp().mT
        grad_sink = -(share_BHT * (grad_BHTE * out_BHTE).sum(-1)).sum((0, 2)).to(sink_H.dtype)
    return grad_q, grad_k.to(k_BGSE.dtype), grad_v.to(v_BGSE.dtype), grad_sink


def _masks(
    sight: Sight, queries: int, slots: int, dtype: torch.dtype
) -> Iterator[tuple[slice, slice | Tensor, Tensor]]:
    """(queries, slots, additive mask) of each block; the other slots are seen by none of its queries."""
    for first in range(0, queries, BLOCK):
        stop = min(first + BLOCK, queries)
        last = slots - queries + stop  # however full a cache is, no query of the block is at a later position
        keys = sight.keys(first, last)
        mask = sight.mask(first, stop, keys)
        if mask.dtype == torch.bool:
            mask = torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, -math.inf)
        if sight.segments_BT is not None:
            unseen = int((mask > -math.inf).flatten(0, 2).any(0).int().argmax())
            keys, mask = keys[unseen:], mask[..., unseen:]
        begin = int(keys[0])
        in_a_row = len(keys) == last - begin  # a view of the keys, not a copy
        yield slice(first, stop), slice(begin, last) if in_a_row else keys, mask


def _sums_dtype(q: Tensor) -> torch.dtype:
    return torch.float64 if q.dtype == torch.float64 else torch.float32


_blocks = Operator("canonlab::attention_blocks", _whole, _in_blocks)
_blocks_backward = Operator("canonlab::attention_blocks_backward", _whole_backward, _in_blocks_backward)


@_blocks.node.register_fake
def _(q_BHTE: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    batch, heads, queries, _width = q_BHTE.shape
    return torch.empty_like(q_BHTE), q_BHTE.new_empty(batch, queries, heads, dtype=_sums_dtype(q_BHTE))


@_blocks_backward.node.register_fake
def _(
    grad: Tensor, out: Tensor, sums: Tensor, q: Tensor, k: Tensor, v: Tensor, sink: Tensor | None, *_: Any
) -> tuple[Tensor, ...]:
    grad_sink = sums.new_empty(q.shape[1]) if sink is None else torch.empty_like(sink)
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v), grad_sink


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*output, *inputs[:-2])
    ctx.counts = inputs[-2:]


def _differentiate(ctx: Any, grad: Tensor, _grad_sums: Tensor | None) -> tuple[Tensor | None, ...]:
    # Gradients are enabled when those of these gradients are wanted, and the operator has none.
    run = _blocks_backward.plain if torch.is_grad_enabled() else _blocks_backward
    *grads, grad_sink = run(grad.contiguous(), *ctx.saved_tensors, *ctx.counts)
    return *grads, grad_sink if ctx.needs_input_grad[3] else None, *(None,) * len(Sight._fields)


_blocks.node.register_autograd(_differentiate, setup_context=_remember)


@register_flop_formula(torch.ops.canonlab.attention_blocks)
def _(q_shape, k_shape, *rest, **__) -> int:  # type: ignore[no-untyped-def]
    """Two products of queries, the keys of a full window, and head width.

    Keys are counted without their causal half as the framework counts.
    """
    *_, window, sinks = rest
    keys = min(k_shape[2], window + sinks) if window else k_shape[2]
    return 4 * int(torch.Size(q_shape).numel()) * int(keys)
