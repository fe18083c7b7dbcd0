"""Causal softmax attention: multi-head or with grouped queries, with every kind of position, gated, in a window."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from canonlab.errors import InputError, require_integer, shown, unknown
from canonlab.models.layers import RMSNorm, linear
from canonlab.models.mixers.base import CanonFactory, Mixer, MixerState
from canonlab.models.mixers.cache import empty_cache, empty_window, remember, segment_starts, slide
from canonlab.models.mixers.softmax import Sight, attend
from canonlab.models.positions import (
    BASE,
    POSITIONS,
    ROTATED_SHARES,
    alibi_slopes,
    halibi_reach,
    rotary_table,
    rotate,
)
from canonlab.models.sizes import MOST_WIDTH


class Attention(Mixer):
    """o_t = sum_{s <= t} softmax_s(q_t . k_s / sqrt(head width) + bias) v_s per head, then an output projection.

    Projections have width^2 parameters each; with grouped queries (arXiv 2305.13245), `heads` / `kv_heads` consecutive
    heads of queries share one head of keys and values. `softmax.py` computes it.

    With `gate`, o sigmoid(W_g x) per channel takes the place of o (Gated Attention, arXiv 2505.06708, section 2, which
    has it in Qwen3-Next), for width^2 parameters more. With `window`, a token sees itself and the window - 1 before it,
    and the first `sinks` tokens of its segment wherever they are (StreamingLLM, arXiv 2309.17453, section 3.2, but
    with positions as they are in the text); training and decoding then cost the same for every token, and the state is
    of a fixed size. With `sink_logit` each head has a learned logit beside its scores, whose share of the softmax goes
    nowhere (gpt-oss).

    Legend: B batch, T time, S slots of the cache, H heads, G heads of keys and values, E head width.
    """

    state_field = "window"

    @dataclass(frozen=True)
    class Config:
        """The arguments of attention.

        Attributes:
            width: Of the hidden states.
            heads: Of queries.
            position: One of positions.POSITIONS.
            kv_heads: Heads of keys and values, a divisor of heads; 0 for as many.
            qk_norm: RMSNorm over all heads of q together, and of k, before Canon-B and rotation.
            bias: Projections have biases, 0 at first.
            norm_eps: Of the QK-norm.
            rope_base: Of the rotation's frequencies, rope_base^(-2i / dimensions).
            gate: A sigmoid gate on each channel of the output; not part of point B.
            window: How many tokens a token sees, itself included; 0 for all.
            sinks: First tokens of the segment that stay in sight beyond the window.
            sink_logit: One more term in each head's denominator, exp of a learned logit, 0 at first.
        """

        width: int
        heads: int
        position: str = "rope"
        kv_heads: int = 0
        qk_norm: bool = False
        bias: bool = False
        norm_eps: float = 1e-6
        rope_base: float = BASE
        gate: bool = False
        window: int = 0
        sinks: int = 0
        sink_logit: bool = False

        def __post_init__(self) -> None:
            require_integer("heads", self.heads, 1)
            if self.width % self.heads:
                raise InputError(f"heads = {self.heads}: must divide the width {self.width}")
            require_integer("kv_heads", self.kv_heads, 0)
            if self.heads % self.key_heads:
                raise InputError(f"kv_heads = {self.kv_heads}: must divide the {self.heads} heads (0 for as many)")
            if self.position not in POSITIONS:
                raise unknown("position", self.position, POSITIONS)
            if self.position == "halibi" and self.heads % 2:
                raise InputError(f"position = 'halibi': needs an even number of heads, not {self.heads}")
            if not 0 < self.rope_base < math.inf:
                raise InputError(f"rope_base = {shown(self.rope_base)}: must be a finite number above 0")
            self._check_rotation()
            self._check_window()

        def _check_rotation(self) -> None:
            shares = ROTATED_SHARES.get(self.position, (0.0, 0.0))
            if shares == (0.0, 0.0):
                return
            heads, dimensions = shares[0] * self.heads, shares[1] * self.head_width
            # The rotated heads come first in q and in k: under grouped queries they must be whole groups.
            key_heads = shares[0] * self.key_heads
            if heads % 1 or key_heads % 1 or key_heads < 1 or dimensions % 2 or dimensions < 2:
                grouped = f" (and {key_heads:g} of {self.key_heads} of keys)" if self.kv_heads else ""
                raise InputError(
                    f"position = {shown(self.position)}: cannot rotate {heads:g} of {self.heads} heads{grouped} in "
                    f"{dimensions:g} of {self.head_width} dimensions (heads must come out whole, dimensions even)"
                )

        def _check_window(self) -> None:
            require_integer("window", self.window, 0, MOST_WIDTH)
            require_integer("sinks", self.sinks, 0, MOST_WIDTH)
            if self.sinks and not self.window:
                raise InputError(f"sinks = {self.sinks}: without a window (window = 0) every token stays in sight")
            if self.sinks and self.position not in ROTATED_SHARES:
                allowed = ", ".join(ROTATED_SHARES)
                raise InputError(
                    f"sinks = {self.sinks}: must be 0 with position = {self.position!r}, whose heads forget with the "
                    f"distance (sinks go with {allowed})"
                )

        @property
        def head_width(self) -> int:
            return self.width // self.heads

        @property
        def parts(self) -> dict[str, tuple[int, int]]:
            keys = self.key_heads * self.head_width
            return {"K": (self.width, self.width + keys), "V": (self.width + keys, self.width + 2 * keys)}

        @property
        def key_heads(self) -> int:
            return self.kv_heads or self.heads

    def __init__(self, config: Config, canon: CanonFactory) -> None:
        super().__init__()
        self.config = config
        self.share_heads, share_dimensions = ROTATED_SHARES.get(config.position, (0.0, 0.0))
        self.rotated_dimensions = round(share_dimensions * config.head_width)
        self.widths = [config.width, *[config.key_heads * config.head_width] * 2]
        self.qkv = linear(config.width, sum(self.widths), std=0.02, bias=config.bias)
        self.q_norm, self.k_norm = (
            RMSNorm(width, config.norm_eps) if config.qk_norm else None for width in self.widths[:2]
        )
        self.canon = canon(sum(self.widths))
        self.gate = linear(config.width, config.width, std=0.02) if config.gate else None
        self.sink = nn.Parameter(torch.zeros(config.heads)) if config.sink_logit else None
        self.out = linear(config.width, config.width, std=0.02, bias=config.bias)

    def forward(
        self, x: Tensor, segment_ids: Tensor | None, state: MixerState | None
    ) -> tuple[Tensor, MixerState | None]:
        qkv = self.qkv(x)
        if self.q_norm is not None and self.k_norm is not None:
            q, k, v = qkv.split(self.widths, dim=-1)
            qkv = torch.cat([self.q_norm(q), self.k_norm(k), v], dim=-1)
        qkv = self.canon(qkv, segment_ids, state and state["canon"])
        q_BTHE, k_BTGE, v_BTGE = (
            part.unflatten(-1, (-1, self.config.head_width)) for part in qkv.split(self.widths, dim=-1)
        )
        positions = torch.arange(x.shape[1], device=x.device)[None]
        if state is not None:
            positions = positions + state["length"][:, None]
        precise = torch.float64 if x.dtype == torch.float64 else torch.float32
        if self.rotated_dimensions:
            cos, sin = rotary_table(positions, self.rotated_dimensions, precise, self.config.rope_base)
            q_BTHE = rotate(q_BTHE, cos, sin, round(self.share_heads * self.config.heads))
            k_BTGE = rotate(k_BTGE, cos, sin, round(self.share_heads * self.config.key_heads))
        sight, k_BTGE, v_BTGE = self._sight(positions, segment_ids, state, k_BTGE, v_BTGE)
        q_BHTE, k_BGSE, v_BGSE = (t.transpose(1, 2) for t in (q_BTHE, k_BTGE, v_BTGE))
        o_BHTE = attend(q_BHTE, k_BGSE, v_BGSE, sight, self.sink, cached=state is not None)
        o = o_BHTE.transpose(1, 2).flatten(2)
        return self.out(o if self.gate is None else o * torch.sigmoid(self.gate(x))), state

    def _sight(
        self, positions: Tensor, segment_ids: Tensor | None, state: MixerState | None, k_BTGE: Tensor, v_BTGE: Tensor
    ) -> tuple[Sight, Tensor, Tensor]:
        """What is seen, and the keys and values that are there to see: those given, behind those of the state."""
        window, sinks = self.config.window, self.config.sinks
        seen, starts = segment_ids, None
        if state is not None:
            shape, new = k_BTGE.shape[:2], {"k": k_BTGE, "v": v_BTGE}
            segment_ids = positions.new_zeros(shape) if segment_ids is None else segment_ids.to(torch.int64)
            if window:
                (k_BTGE, v_BTGE), seen, starts = slide(state, new, segment_ids, sinks)
                positions = torch.arange(k_BTGE.shape[1] - shape[1], k_BTGE.shape[1], device=positions.device)[None]
            else:
                (k_BTGE, v_BTGE), seen = remember(state, new, segment_ids)
        elif sinks:
            starts = torch.zeros_like(positions) if segment_ids is None else segment_starts(segment_ids)
        slopes, reach = self._bias(torch.float64 if k_BTGE.dtype == torch.float64 else torch.float32, k_BTGE.device)
        return Sight(positions, segment_ids, seen, slopes, reach, starts, window, sinks), k_BTGE, v_BTGE

    def _bias(self, dtype: torch.dtype, device: torch.device) -> tuple[Tensor | None, Tensor | None]:
        """Slopes and reach of the heads, where the position type has them."""
        heads, position = self.config.heads, self.config.position
        slopes = alibi_slopes(heads, dtype, device) if position == "alibi" else None
        return slopes, halibi_reach(heads, device) if position == "halibi" else None

    def init_state(self, batch: int, max_len: int, dtype: torch.dtype, device: torch.device) -> MixerState:
        config, head = self.config, (self.config.key_heads, self.config.head_width)
        shapes = {"k": head, "v": head}
        if config.window:
            cache = empty_window(batch, config.window, config.sinks, shapes, dtype, device)
        else:
            cache = empty_cache(batch, max_len, shapes, dtype, device)
        return {**cache, "canon": self.canon.init_state(batch, dtype, device)}
