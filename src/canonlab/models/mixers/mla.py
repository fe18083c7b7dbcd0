"""Multi-head latent attention: keys and values of all heads from one narrow latent per token (DeepSeek-V2).

    c_t = norm(W_c x_t)          l_t = R_t W_r x_t               q_th = [W_n,h z_t ; R_t W_p,h z_t]
    k_th = [W_k,h c_t ; l_t]     v_th = W_v,h c_t                z_t = x_t, or norm(W_z x_t) with a query rank
    o_th = sum_{s <= t} softmax_s(q_th . k_sh / sqrt(E + P)) v_sh,    y_t = W_o [o_t1 ; ... ; o_tH]

R_t rotates by position t; l_t, the decoupled rotary key, is shared by the heads. Only c and l are remembered, R + P
numbers a token. Source: arXiv 2405.04434, sections 2.1.2 and 2.1.3, and appendix C.

Two equal forms. `expanded` makes keys and values: for training, and long calls. `absorbed` takes W_k into the queries
and W_v out of the sum, so that all heads attend to the latents themselves: for decoding, where keys and values of all
that was seen would be made again for every token.

Legend: B batch, T time, S slots, H heads, E head width, P rotated dimensions, R rank, L = R + P.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from canonlab.errors import InputError, require_integer, shown
from canonlab.models.layers import RMSNorm, linear
from canonlab.models.mixers.base import CanonFactory, Mixer, MixerState
from canonlab.models.mixers.cache import empty_cache, remember
from canonlab.models.mixers.softmax import Sight, attend
from canonlab.models.positions import BASE, rotary_table, rotate
from canonlab.models.sizes import MOST_WIDTH


def expanded(
    q_BTHK: Tensor, latent_BSL: Tensor, up_k_HER: Tensor, up_v_HER: Tensor, sight: Sight, cached: bool
) -> Tensor:
    """o (B, T, H, E) by keys and values; queries (and keys) are of width K = E + P."""
    rank, width = up_k_HER.shape[2], up_k_HER.shape[1]
    c_BSR, rotary_BSP = latent_BSL.split([rank, latent_BSL.shape[2] - rank], dim=-1)
    k_BHSE, v_BHSE = (
        F.linear(c_BSR, up.flatten(0, 1)).unflatten(-1, up.shape[:2]).transpose(1, 2) for up in (up_k_HER, up_v_HER)
    )
    k_BHSK = torch.cat([k_BHSE, rotary_BSP[:, None].expand(-1, k_BHSE.shape[1], -1, -1)], dim=-1)
    v_BHSK = F.pad(v_BHSE, (0, rotary_BSP.shape[2]))  # the framework's fast kernels want one width of all three
    return attend(q_BTHK.transpose(1, 2), k_BHSK, v_BHSK, sight, cached=cached)[..., :width].transpose(1, 2)


def absorbed(
    q_BTHK: Tensor, latent_BSL: Tensor, up_k_HER: Tensor, up_v_HER: Tensor, sight: Sight, cached: bool
) -> Tensor:
    """The same, by one head of keys of width L, which are the values too."""
    _, width, rank = up_k_HER.shape
    q_BTHE, q_BTHP = q_BTHK.split([width, q_BTHK.shape[-1] - width], dim=-1)
    q_BTHL = torch.cat([torch.einsum("bthe,her->bthr", q_BTHE, up_k_HER.to(q_BTHE.dtype)), q_BTHP], dim=-1)
    q_BTHL = q_BTHL * math.sqrt(q_BTHL.shape[-1] / q_BTHK.shape[-1])  # the scale is that of the expanded keys
    latent_B1SL = latent_BSL[:, None]
    o_BHTL = attend(q_BTHL.transpose(1, 2), latent_B1SL, latent_B1SL, sight, cached=cached)
    return torch.einsum("bhtr,her->bthe", o_BHTL[..., :rank], up_v_HER.to(o_BHTL.dtype))


class MLA(Mixer):
    """Multi-head latent attention, as above.

    With the widths that follow from the model's, width d and H heads of width E = d / H have P = E / 2 and R = d / 2:
    1.5 d^2 parameters for the queries, d^2 for keys and values from the latent, d^2 for the output, (d / 2 + P) d for
    latent and rotary key, 4 d^2 + P d together; a token is remembered by d / 2 + P numbers, where attention has 2 d.

    Point B is on queries, latent and rotary key together, after the norms and before rotation and the products that
    keys and values come from. Both come from the latent, so that there is no point K or V.
    """

    @dataclass(frozen=True)
    class Config:
        """The arguments of multi-head latent attention.

        Attributes:
            width: Of the hidden states.
            heads: Of queries, keys and values; the head width E, rotated dimensions apart, is width / heads.
            rank: R, the width of the latent; 0 for half of the width.
            query_rank: The width of the queries' latent; 0 for none, a full projection.
            rotary: P, rotated dimensions beside each head's E, an even number; 0 for half of the head width.
            norm_eps: Of the norms on the latents.
            rope_base: Of the rotation's frequencies, rope_base^(-2i / P).
        """

        width: int
        heads: int
        rank: int = 0
        query_rank: int = 0
        rotary: int = 0
        norm_eps: float = 1e-6
        rope_base: float = BASE

        def __post_init__(self) -> None:
            require_integer("heads", self.heads, 1)
            if self.width % self.heads:
                raise InputError(f"heads = {self.heads}: must divide the width {self.width}")
            for name in ("rank", "query_rank", "rotary"):
                require_integer(name, getattr(self, name), 0, MOST_WIDTH)
            if self.rotary % 2:
                raise InputError(f"rotary = {self.rotary}: must be even, as dimensions rotate in pairs")
            if not 0 < self.rope_base < math.inf:
                raise InputError(f"rope_base = {shown(self.rope_base)}: must be a finite number above 0")

        @property
        def head_width(self) -> int:
            return self.width // self.heads

        @property
        def latent(self) -> int:
            return self.rank or max(1, self.width // 2)

        @property
        def rotated(self) -> int:
            return self.rotary or max(2, self.head_width // 4 * 2)

    def __init__(self, config: Config, canon: CanonFactory) -> None:
        super().__init__()
        self.config = config
        queries = config.heads * (config.head_width + config.rotated)
        self.widths = [queries, config.latent, config.rotated]
        first = config.query_rank or queries
        self.down_widths = [first, config.latent, config.rotated]
        self.down = linear(config.width, sum(self.down_widths), std=0.02)
        self.query_norm = RMSNorm(config.query_rank, config.norm_eps) if config.query_rank else None
        self.up_q = linear(config.query_rank, queries, std=0.02) if config.query_rank else None
        self.latent_norm = RMSNorm(config.latent, config.norm_eps)
        self.canon = canon(sum(self.widths))
        self.up_k, self.up_v = (linear(config.latent, config.width, std=0.02) for _ in range(2))
        self.out = linear(config.width, config.width, std=0.02)

    def forward(
        self, x: Tensor, segment_ids: Tensor | None, state: MixerState | None
    ) -> tuple[Tensor, MixerState | None]:
        q_BTHK, latent_BTL, positions = self._projected(x, segment_ids, state)
        latent_BSL, seen = latent_BTL, segment_ids
        if state is not None:
            segment_ids = torch.zeros_like(x[..., 0], dtype=torch.int64) if segment_ids is None else segment_ids
            (latent_BSL,), seen = remember(state, {"latent": latent_BTL}, segment_ids)
        up_k_HER, up_v_HER = (up.weight.unflatten(0, (self.config.heads, -1)) for up in (self.up_k, self.up_v))
        sight = Sight(positions, segment_ids, seen)
        run = absorbed if state is not None and x.shape[1] <= self.config.head_width else expanded
        o_BTHE = run(q_BTHK, latent_BSL, up_k_HER, up_v_HER, sight, cached=state is not None)
        return self.out(o_BTHE.flatten(2)), state

    def products(
        self, x: Tensor, segment_ids: Tensor | None = None, state: MixerState | None = None
    ) -> dict[str, Tensor]:
        """What the matrices of keys and values are multiplied with: the latents (B, T, R), without a state."""
        latent_BTR = self._projected(x, segment_ids, None)[1][..., : self.config.latent]
        return {"up_k.weight": latent_BTR, "up_v.weight": latent_BTR}

    def _projected(
        self, x: Tensor, segment_ids: Tensor | None, state: MixerState | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries (B, T, H, E + P), latents with their rotated key behind (B, T, L), positions (B or 1, T)."""
        q, latent, rotary = self.down(x).split(self.down_widths, dim=-1)
        if self.query_norm is not None and self.up_q is not None:
            q = self.up_q(self.query_norm(q))
        h = torch.cat([q, self.latent_norm(latent), rotary], dim=-1)
        h = self.canon(h, segment_ids, state and state["canon"])
        q, latent, rotary = h.split(self.widths, dim=-1)
        positions = torch.arange(x.shape[1], device=x.device)[None]
        if state is not None:
            positions = positions + state["length"][:, None]
        precise = torch.float64 if x.dtype == torch.float64 else torch.float32
        table = rotary_table(positions, self.config.rotated, precise, self.config.rope_base)
        q_BTHE, q_BTHP = q.unflatten(-1, (self.config.heads, -1)).split(
            [self.config.head_width, self.config.rotated], dim=-1
        )
        q_BTHK = torch.cat([q_BTHE, rotate(q_BTHP, *table, self.config.heads)], dim=-1)
        return q_BTHK, torch.cat([latent, rotate(rotary[:, :, None], *table, 1)[:, :, 0]], dim=-1), positions

    def init_state(self, batch: int, max_len: int, dtype: torch.dtype, device: torch.device) -> MixerState:
        shapes = {"latent": (self.config.latent + self.config.rotated,)}
        return {
            **empty_cache(batch, max_len, shapes, dtype, device),
            "canon": self.canon.init_state(batch, dtype, device),
        }
