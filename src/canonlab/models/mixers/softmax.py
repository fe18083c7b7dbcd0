"""Causal softmax attention as a function, and the choice of what computes it.

o_t = sum_s softmax_s(q_t . k_s / sqrt(E) + bias_ts) v_s, over the slots s that query t sees. Key s is at position s.
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
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.utils.flop_counter import register_flop_formula

from canonlab.canon.transforms import Operator, transformed

BLOCK = 128
"""Queries for which a mask is made at a time on a CPU; measured: 64 to 256 are alike, 512 takes twice the time."""

HAS_TRITON = importlib.util.find_spec("triton") is not None  # looks, does not load


class Sight(NamedTuple):
    """What queries see, and with which bias; what is None does not restrict.

    Query t of row b is at positions[b, t] and sees key s when s <= position, and their segments are equal, and
    s > position - reach[h]. bias = slopes[h] (s - position). Every query sees itself.
    """

    positions_BT: Tensor
    """int64, consecutive in a row; the batch may be 1, for all rows."""
    segments_BT: Tensor | None = None
    segments_BS: Tensor | None = None
    slopes_H: Tensor | None = None
    reach_H: Tensor | None = None

    @property
    def is_causal(self) -> bool:
        """Whether nothing but time restricts, so that no mask is needed when all keys are given."""
        return self.segments_BT is None and self.slopes_H is None and self.reach_H is None

    def mask(self, first: int, stop: int, slots: int) -> Tensor:
        """The queries first..stop - 1 against the first `slots` keys: (B or 1, H or 1, queries, slots).

        Booleans, or with slopes the bias, -inf where nothing is seen, in their dtype.
        """
        keys = torch.arange(slots, device=self.positions_BT.device)
        ahead_BHTS = (keys - self.positions_BT[:, first:stop, None])[:, None]
        seen_BHTS = ahead_BHTS <= 0
        if self.reach_H is not None:
            seen_BHTS = seen_BHTS & (ahead_BHTS > -self.reach_H[:, None, None])
        if self.segments_BT is not None and self.segments_BS is not None:
            same_BTS = self.segments_BT[:, first:stop, None] == self.segments_BS[:, None, :slots]
            seen_BHTS = seen_BHTS & same_BTS[:, None]
        if self.slopes_H is None:
            return seen_BHTS
        return torch.where(seen_BHTS, self.slopes_H[:, None, None] * ahead_BHTS, -math.inf)


def attend(
    q_BHTE: Tensor, k_BGSE: Tensor, v_BGSE: Tensor, sight: Sight, *, cached: bool, implementation: str = ""
) -> Tensor:
    """The outputs (B, H, T, E). `cached`: there may be more slots than queries; otherwise key s belongs to query s.

    implementation: "causal" (which heeds nothing of `sight` but time), "mask", "blocks" or "flex"; by default what
    `choose_implementation` says.
    """
    if transformed():  # nor do the framework's kernels know of forward-mode derivatives, and of more than one gradient
        return _whole(q_BHTE, k_BGSE, v_BGSE, *sight)[0]
    queries, width = q_BHTE.shape[2:]
    masked = cached or not sight.is_causal
    implementation = implementation or choose_implementation(
        q_BHTE.device, q_BHTE.dtype, queries, width, masked=masked, cached=cached
    )
    if implementation == "flex":
        run = flex if torch.compiler.is_compiling() else _compiled_flex()
        return run(q_BHTE, k_BGSE, v_BGSE, sight)
    if implementation == "blocks":
        return _blocks(q_BHTE, k_BGSE, v_BGSE, *sight)[0]
    grouped = q_BHTE.shape[1] != k_BGSE.shape[1]
    mask = None if implementation == "causal" else sight.mask(0, queries, k_BGSE.shape[2])
    if mask is not None and mask.is_floating_point():
        mask = mask.to(q_BHTE.dtype)  # not every device's kernel takes another
    return F.scaled_dot_product_attention(
        q_BHTE, k_BGSE, v_BGSE, attn_mask=mask, is_causal=mask is None, enable_gqa=grouped
    )


def choose_implementation(
    device: torch.device | str, dtype: torch.dtype, queries: int, head_width: int, *, masked: bool, cached: bool
) -> str:
    """What attends. Only "mask" has a mask of queries x keys in memory: where it is small, or nothing else runs.

    "causal": the framework's kernel, when order is all that counts. "flex": FlexAttention, on CUDA with Triton, without
    a cache, in single or half precision, for heads of width 16 and more. "blocks": on a CPU, some queries at a time.
    "mask": the framework's kernel with a mask.
    """
    device = torch.device(device)
    if not masked:
        return "causal"
    if device.type == "cuda" and HAS_TRITON and not cached and dtype != torch.float64 and head_width >= 16:
        return "flex"
    return "blocks" if device.type in ("cpu", "meta") and queries > BLOCK else "mask"


def flex(q_BHTE: Tensor, k_BGSE: Tensor, v_BGSE: Tensor, sight: Sight) -> Tensor:
    """FlexAttention, without a cache, so that position is index. Compiled, only a mask of blocks is in memory."""
    _, segments_BT, segments_BS, slopes_H, reach_H = sight

    def seen(b: Tensor, h: Tensor, t: Tensor, s: Tensor) -> Tensor:
        causal = s <= t
        if reach_H is not None:
            causal = causal & (s > t - reach_H[h])
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
    out = flex_attention(q_BHTE, k_BGSE, v_BGSE, score_mod=score_mod, block_mask=blocks, enable_gqa=grouped)
    assert isinstance(out, Tensor)
    return out


@functools.cache
def _compiled_flex() -> Callable[..., Tensor]:
    return torch.compile(flex)


def _whole(q_BHTE: Tensor, k_BGSE: Tensor, v_BGSE: Tensor, *sight: Any) -> tuple[Tensor, Tensor]:
    """What `_blocks` gives, by the definition, all queries at once."""
    precise = _sums_dtype(q_BHTE)
    shared = q_BHTE.shape[1] // k_BGSE.shape[1]
    k_BHSE, v_BHSE = (t.to(precise).repeat_interleave(shared, 1) for t in (k_BGSE, v_BGSE))
    scores_BHTS = q_BHTE.to(precise) @ k_BHSE.mT / math.sqrt(q_BHTE.shape[3])
    mask = Sight(*sight).mask(0, *scores_BHTS.shape[2:])
    scores_BHTS = scores_BHTS.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores_BHTS + mask
    out_BHTE = (scores_BHTS.softmax(-1) @ v_BHSE).to(q_BHTE.dtype)
    return out_BHTE, scores_BHTS.logsumexp(-1).transpose(1, 2)


def _whole_backward(
    grad_BHTE: Tensor, out: Tensor, sums: Tensor, q: Tensor, k: Tensor, v: Tensor, *sight: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.func.vjp(lambda q, k, v: _whole(q, k, v, *sight)[0], q, k, v)[1](grad_BHTE)


def _in_blocks(
    q_BHTE: Tensor,
    k_BGSE: Tensor,
    v_BGSE: Tensor,
    positions_BT: Tensor,
    segments_BT: Tensor | None,
    segments_BS: Tensor | None,
    slopes_H: Tensor | None,
    reach_H: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Outputs, and log-sum-exp of the scores (B, T, H): BLOCK queries at a time against the keys up to them.

    The kernel is the one that the framework's attention runs on a CPU. It is an operator because the framework's own
    would keep every block's mask for the backward pass, and a compiler would unroll the loop.
    """
    sight = Sight(positions_BT, segments_BT, segments_BS, slopes_H, reach_H)
    out_BHTE = torch.empty_like(q_BHTE)
    batch, heads, queries, _ = q_BHTE.shape
    sums_BTH = q_BHTE.new_empty(batch, queries, heads, dtype=_sums_dtype(q_BHTE))
    for rows, slots, mask in _masks(sight, queries, k_BGSE.shape[2], q_BHTE.dtype):
        out, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q_BHTE[:, :, rows], k_BGSE[:, :, slots], v_BGSE[:, :, slots], attn_mask=mask
        )
        out_BHTE[:, :, rows], sums_BTH[:, rows] = out, sums.transpose(1, 2)
    return out_BHTE, sums_BTH


def _in_blocks_backward(
    grad_BHTE: Tensor,
    out_BHTE: Tensor,
    sums_BTH: Tensor,
    q_BHTE: Tensor,
    k_BGSE: Tensor,
    v_BGSE: Tensor,
    positions_BT: Tensor,
    segments_BT: Tensor | None,
    segments_BS: Tensor | None,
    slopes_H: Tensor | None,
    reach_H: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    sight = Sight(positions_BT, segments_BT, segments_BS, slopes_H, reach_H)
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
    return grad_q, grad_k.to(k_BGSE.dtype), grad_v.to(v_BGSE.dtype)


def _masks(sight: Sight, queries: int, slots: int, dtype: torch.dtype) -> Iterator[tuple[slice, slice, Tensor]]:
    """(queries, slots, additive mask) of each block; the other slots are seen by none of its queries."""
    for first in range(0, queries, BLOCK):
        stop = min(first + BLOCK, queries)
        last = slots - queries + stop  # however full a cache is, no query of the block is at a later position
        mask = sight.mask(first, stop, last)
        if mask.dtype == torch.bool:
            mask = torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, -math.inf)
        seen = slice(0, last)
        if sight.segments_BT is not None:
            seen = slice(int((mask > -math.inf).flatten(0, 2).any(0).int().argmax()), last)
        yield slice(first, stop), seen, mask[..., seen]


def _sums_dtype(q: Tensor) -> torch.dtype:
    return torch.float64 if q.dtype == torch.float64 else torch.float32


_blocks = Operator("canonlab::attention_blocks", _whole, _in_blocks)
_blocks_backward = Operator("canonlab::attention_blocks_backward", _whole_backward, _in_blocks_backward)


@_blocks.node.register_fake
def _(q_BHTE: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    batch, heads, queries, _width = q_BHTE.shape
    return torch.empty_like(q_BHTE), q_BHTE.new_empty(batch, queries, heads, dtype=_sums_dtype(q_BHTE))


@_blocks_backward.node.register_fake
def _(grad: Tensor, out: Tensor, sums: Tensor, q: Tensor, k: Tensor, v: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*output, *inputs)


def _differentiate(ctx: Any, grad: Tensor, _grad_sums: Tensor | None) -> tuple[Tensor | None, ...]:
    # Gradients are enabled when those of these gradients are wanted, and the operator has none.
    run = _blocks_backward.plain if torch.is_grad_enabled() else _blocks_backward
    return *run(grad.contiguous(), *ctx.saved_tensors), *(None,) * 5


_blocks.node.register_autograd(_differentiate, setup_context=_remember)


@register_flop_formula(torch.ops.canonlab.attention_blocks)
def _(q_shape, k_shape, *_, **__) -> int:  # type: ignore[no-untyped-def]
    """Two products of queries, keys and head width, counted without their causal half as the framework counts."""
    return 4 * int(torch.Size(q_shape).numel()) * int(k_shape[2])
