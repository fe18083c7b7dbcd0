"""Causal softmax attention with rotary positions or none, multi-head (q, k, v, o of width^2)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from canonlab.errors import InputError, require_integer, unknown
from canonlab.models.layers import linear
from canonlab.models.mixers.base import CanonFactory, Mixer, MixerState
from canonlab.models.positions import ROTATED_SHARES, rotary_table, rotate


class Attention(Mixer):
    """o_t = sum_{s <= t} softmax_s(q_t . k_s / sqrt(head width)) v_s per head, then an output projection.

    Legend: B batch, T time, S slots of the cache, H heads, E head width, D = H E width.
    """

    @dataclass(frozen=True)
    class Config:
        """`position`: rope, nope, or a reduced rope (see positions.ROTATED_SHARES)."""

        width: int
        heads: int
        position: str = "rope"

        def __post_init__(self) -> None:
            require_integer("heads", self.heads, 1)
            if self.width % self.heads:
                raise InputError(f"heads = {self.heads}: must divide the width {self.width}")
            if self.position not in ROTATED_SHARES:
                raise unknown("position", self.position, ROTATED_SHARES)
            heads, dimensions = (
                share * n for share, n in zip(self.rotated_shares, (self.heads, self.head_width), strict=True)
            )
            if self.position != "nope" and (heads % 1 or heads < 1 or dimensions % 2 or dimensions < 2):
                raise InputError(
                    f"position = {self.position!r}: cannot rotate {heads:g} of {self.heads} heads in {dimensions:g} of "
                    f"{self.head_width} dimensions (heads must come out whole, dimensions even)"
                )

        @property
        def head_width(self) -> int:
            return self.width // self.heads

        @property
        def rotated_shares(self) -> tuple[float, float]:
            return ROTATED_SHARES[self.position]

    def __init__(self, config: Config, canon: CanonFactory) -> None:
        super().__init__()
        self.heads, self.head_width = config.heads, config.head_width
        share_heads, share_dimensions = config.rotated_shares
        self.rotated_heads, self.rotated_dimensions = (
            round(share_heads * config.heads),
            round(share_dimensions * config.head_width),
        )
        self.qkv = linear(config.width, 3 * config.width, std=0.02)
        self.canon = canon(3 * config.width)
        self.out = linear(config.width, config.width, std=0.02)

    def forward(
        self, x: Tensor, segment_ids: Tensor | None, state: MixerState | None
    ) -> tuple[Tensor, MixerState | None]:
        qkv_BTF = self.canon(self.qkv(x), segment_ids, state and state["canon"])
        q_BTHE, k_BTHE, v_BTHE = qkv_BTF.unflatten(-1, (3, self.heads, self.head_width)).unbind(2)
        positions = torch.arange(x.shape[1], device=x.device)[None]
        if state is not None:
            positions = positions + state["length"][:, None]
        if self.rotated_heads:
            dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
            cos, sin = rotary_table(positions, self.rotated_dimensions, dtype)
            q_BTHE = rotate(q_BTHE, cos, sin, self.rotated_heads)
            k_BTHE = rotate(k_BTHE, cos, sin, self.rotated_heads)
        mask = None
        if state is not None:
            k_BTHE, v_BTHE, mask = _remember(state, k_BTHE, v_BTHE, segment_ids, positions)
        elif segment_ids is not None:
            mask = _visible(positions, segment_ids, positions, segment_ids)
        q_BHTE, k_BHSE, v_BHSE = (t.transpose(1, 2) for t in (q_BTHE, k_BTHE, v_BTHE))
        o_BHTE = F.scaled_dot_product_attention(q_BHTE, k_BHSE, v_BHSE, attn_mask=mask, is_causal=mask is None)
        return self.out(o_BHTE.transpose(1, 2).flatten(2)), state

    def init_state(self, batch: int, max_len: int, dtype: torch.dtype, device: torch.device) -> MixerState:
        cache = (batch, max_len, self.heads, self.head_width)
        return {
            "k": torch.zeros(cache, dtype=dtype, device=device),
            "v": torch.zeros(cache, dtype=dtype, device=device),
            "segments": torch.full((batch, max_len), -1, device=device),
            "length": torch.zeros(batch, dtype=torch.int64, device=device),
            "canon": self.canon.init_state(batch, dtype, device),
        }


def _visible(query_positions: Tensor, query_segments: Tensor, key_positions: Tensor, key_segments: Tensor) -> Tensor:
    """(B, 1, T, S) bool: the key is not later than the query and in its segment. Every query sees at least itself."""
    causal = key_positions[:, None, :] <= query_positions[:, :, None]
    return (causal & (key_segments[:, None, :] == query_segments[:, :, None]))[:, None]


def _remember(
    state: MixerState, k_BTHE: Tensor, v_BTHE: Tensor, segment_ids: Tensor | None, positions: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Write the new keys and values into their slots; return the whole cache and who may see what in it."""
    segments = torch.zeros_like(positions) if segment_ids is None else segment_ids.to(positions.dtype)
    rows = torch.arange(len(positions), device=positions.device)[:, None]
    state["k"][rows, positions] = k_BTHE.to(state["k"].dtype)
    state["v"][rows, positions] = v_BTHE.to(state["v"].dtype)
    state["segments"][rows, positions] = segments
    state["length"] += positions.shape[1]
    slots = torch.arange(state["k"].shape[1], device=positions.device)[None]
    mask = _visible(positions, segments, slots, state["segments"])
    return state["k"].to(k_BTHE.dtype), state["v"].to(v_BTHE.dtype), mask
