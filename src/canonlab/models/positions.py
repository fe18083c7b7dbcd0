"""Positions in attention: rotary embedding, whole or reduced, ALiBi, and HAlibi.

Source: Part 4.1 (arXiv 2512.17351), section 6 and appendix C; ALiBi: arXiv 2108.12409.
"""

from functools import partial

import torch
from torch import Tensor, nn

from canonlab.canon.transforms import Operator

BASE = 10000.0
"""The published one; models of long contexts have a larger one."""

ROTATED_SHARES = {
    "rope": (1.0, 1.0),
    "rope-quarter": (0.5, 0.5),
    "rope-quarter-fullheads": (0.25, 1.0),
    "rope-quarter-allheads": (1.0, 0.25),
    "nope": (0.0, 0.0),
}
"""position type -> (share of the heads, share of each such head's dimensions) that are rotated: the first ones."""

POSITIONS = (*ROTATED_SHARES, "alibi", "halibi")

EVERYTHING = 2**62
"""A reach beyond every context."""


def alibi_slopes(heads: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(heads,): head h = 1 .. H adds -|i - j| 2^(-8h/H) to the score of query i and key j."""
    return torch.exp2(torch.arange(1, heads + 1, dtype=dtype, device=device) * (-8 / heads))


def halibi_reach(heads: int, device: torch.device) -> Tensor:
    """(heads,) int64: head h of the first H / 2 sees the last h tokens, itself included; the rest see everything."""
    heads_from_one = torch.arange(1, heads + 1, device=device)
    return torch.where(heads_from_one <= heads // 2, heads_from_one, EVERYTHING)


@partial(Operator, "canonlab::rotary_table")
def rotary_table(positions: Tensor, dimensions: int, dtype: torch.dtype, base: float = BASE) -> tuple[Tensor, Tensor]:
    """cos and sin, each (..., dimensions / 2), of positions (...) times the frequencies base^(-2i / dimensions).

    An operator of its own, so that a compiler computes the table once instead of fusing the trigonometry into every
    element of q and k.
    """
    exponents = torch.arange(0, dimensions, 2, dtype=dtype, device=positions.device) / dimensions
    angles = positions[..., None].to(dtype) * base**-exponents
    return angles.cos(), angles.sin()


@rotary_table.node.register_fake
def _(positions: Tensor, dimensions: int, dtype: torch.dtype, base: float = BASE) -> tuple[Tensor, Tensor]:
    shape = (*positions.shape, dimensions // 2)
    return positions.new_empty(shape, dtype=dtype), positions.new_empty(shape, dtype=dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor, heads: int) -> Tensor:
    """Rotate the first dimensions of the first `heads` heads of x (batch, time, heads, head width).

    cos and sin are (batch or 1, time, r / 2): dimension i < r / 2 is paired with i + r / 2 ("half-split" pairs), and
    the dimensions from r on stay as they are.
    """
    half = cos.shape[-1]
    cos, sin = cos[:, :, None], sin[:, :, None]
    turned, rest = x[:, :, :heads], x[:, :, heads:]
    first, second = turned[..., :half], turned[..., half : 2 * half]
    parts = [first * cos - second * sin, second * cos + first * sin, turned[..., 2 * half :]]
    turned = torch.cat([part.to(x.dtype) for part in parts if part.shape[-1]], dim=-1)
    return torch.cat([turned, rest], dim=2) if rest.shape[2] else turned


class CountedPositions(nn.Module):
    """Each token's number in its segment, from 0, over all calls that continue a state."""

    def forward(self, x: Tensor, segment_ids: Tensor | None, state: dict[str, Tensor] | None) -> Tensor:
        """(batch, time) int64 for x (batch, time, ...); None for segment_ids is one segment, 0."""
        batch, time = x.shape[:2]
        index = torch.arange(time, device=x.device).expand(batch, time)
        if segment_ids is None:
            segment_ids = torch.zeros_like(index)
        before = segment_ids[:, :1] if state is None else state["segment"][:, None]
        begins = segment_ids != torch.cat([before, segment_ids[:, :-1]], 1)
        start = torch.where(begins, index, -1).cummax(1).values
        seen = 0 if state is None else state["seen"][:, None]
        positions = torch.where(start >= 0, index - start, index + seen)
        if state is not None:
            state["seen"].copy_(positions[:, -1] + 1)
            state["segment"].copy_(segment_ids[:, -1])
        return positions

    def init_state(self, batch: int, device: torch.device) -> dict[str, Tensor]:
        """How many tokens of the last one's segment were seen, and which that is: none, -1."""
        return {"seen": torch.zeros_like(segment := torch.full((batch,), -1, device=device)), "segment": segment}
