"""Gated DeltaNet: a linear recurrence that overwrites what it remembers under a key.

Per head, with a_t the decay, beta_t the share that is overwritten, and k_t of norm 1:

    S_t = a_t (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T,    o_t = S_t^T q_t * scale.

The state S is K x V here: the recurrence of `linear.py`, which writes under beta_t k_t what k_t doesn't read yet.

Source: Yang, Kautz, Hatamizadeh, Gated Delta Networks, arXiv 2412.06464, section 3.
Legend: B batch, T time, H heads, K key width, V value width (both of a head).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canonlab.errors import InputError, require_integer
from canonlab.models.layers import RMSNorm, ShortConv, linear, low_rank, time_step_bias
from canonlab.models.mixers import fla
from canonlab.models.mixers.base import CanonFactory, Mixer, MixerState
from canonlab.models.mixers.linear import linear_recurrence
from canonlab.models.mixers.recurrence import empty_state, recall, remember, width_of
from canonlab.models.sizes import MOST_WIDTH


class GatedDeltaNet(Mixer):
    """q, k, v -> point B or b -> SiLU -> q, k of norm 1 -> the recurrence -> norm per head * silu(gate) -> projection.

    Canon-B sits on q, k, v concatenated (K H + K H + V H), before the SiLU; the gates never pass a convolution.
    beta_t = sigmoid(W_b x) and a_t = exp(-exp(A_log) softplus(W_a x + dt_bias)), one of each a head.
    """

    state_field = "key_share"

    @dataclass(frozen=True)
    class Config:
        """Keys are `key_share` width wide over all heads, values `value_share` width.

        `gate_rank` 0 gives the output gate a full matrix, r > 0 the product of two of rank r and a bias: gdn2 is shares
        of 1 and 2 with rank 16, again about 6 width^2 parameters.
        """

        width: int
        heads: int
        conv1d: bool = True
        key_share: float = 0.75
        value_share: float = 1.5
        gate_rank: int = 0
        norm_eps: float = 1e-6

        def __post_init__(self) -> None:
            require_integer("heads", self.heads, 1)
            require_integer("gate_rank", self.gate_rank, 0, MOST_WIDTH)
            common = math.gcd(self.key_width, self.value_width)
            if common % self.heads:
                fitting = ", ".join(str(n) for n in range(1, common + 1) if common % n == 0)
                raise InputError(
                    f"heads = {self.heads}: must divide the key width {self.key_width} and the value width "
                    f"{self.value_width} of width {self.width} (allowed: {fitting})"
                )

        @property
        def key_width(self) -> int:
            return width_of("key_share", self.key_share, self.width)

        @property
        def value_width(self) -> int:
            return width_of("value_share", self.value_share, self.width)

        @property
        def parts(self) -> dict[str, tuple[int, int]]:
            values = 2 * self.key_width
            return {"K": (self.key_width, values), "V": (values, values + self.value_width)}

    def __init__(self, config: Config, canon: CanonFactory) -> None:
        super().__init__()
        width, heads, keys, values = config.width, config.heads, config.key_width, config.value_width
        self.heads, self.keys, self.values = heads, keys, values
        self.qkv = linear(width, 2 * keys + values, std=0.02)
        self.canon = canon(2 * keys + values)
        self.conv = ShortConv(2 * keys + values, std=0.02) if config.conv1d else None
        self.beta_and_decay = linear(width, 2 * heads, std=0.02)
        self.A_log = nn.Parameter((16 * (1 - torch.rand(heads))).log())  # rand is in [0, 1): never log 0
        self.dt_bias = nn.Parameter(time_step_bias(heads))
        if rank := config.gate_rank:  # the product of both matrices has the spread of one that is N(0, 0.02)
            self.gate: nn.Module = low_rank(width, rank, values, std=(0.02 / rank**0.5) ** 0.5)
        else:
            self.gate = linear(width, values, std=0.02)
        self.norm = RMSNorm(values // heads, config.norm_eps)
        self.out = linear(values, width, std=0.02)

    def forward(
        self, x: Tensor, segment_ids: Tensor | None, state: MixerState | None
    ) -> tuple[Tensor, MixerState | None]:
        dtype = torch.promote_types(x.dtype, torch.float32)
        qkv = self.canon(self.qkv(x), segment_ids, state and state["canon"])
        qkv = F.silu(qkv) if self.conv is None else self.conv(qkv, segment_ids, state and state["conv"])
        q_BTHK, k_BTHK, v_BTHV = (
            part.unflatten(-1, (self.heads, -1)) for part in qkv.split([self.keys, self.keys, self.values], -1)
        )
        q_BTHK, k_BTHK = _unit(q_BTHK.to(dtype)), _unit(k_BTHK.to(dtype))
        beta_BTH, dt_BTH = self.beta_and_decay(x).to(dtype).chunk(2, -1)
        log_decay_BTH = -self.A_log.to(dtype).exp() * F.softplus(dt_BTH + self.dt_bias.to(dtype))
        q_BTHK, beta_BTH = (self.keys // self.heads) ** -0.5 * q_BTHK, beta_BTH.sigmoid()
        initial = recall(state, segment_ids)
        if self.implementation == "fla" and x.shape[1] > 1:
            o_BTHV, final_BHKV = fla.gated_delta(q_BTHK, k_BTHK, v_BTHV, beta_BTH, log_decay_BTH, initial, segment_ids)
        else:
            o_BTHV, final_BHKV = linear_recurrence(
                q_BTHK,
                beta_BTH[..., None] * k_BTHK,
                v_BTHV,
                log_decay_BTH,
                read_BTHK=k_BTHK,
                initial_BHKV=initial,
                segment_ids=segment_ids,
                implementation=self.implementation,
            )
        remember(state, final_BHKV, segment_ids)
        gate_BTHV = self.gate(x).unflatten(-1, (self.heads, -1))
        return self.out((self.norm(o_BTHV) * F.silu(gate_BTHV)).flatten(2)), state

    def init_state(self, batch: int, max_len: int, dtype: torch.dtype, device: torch.device) -> MixerState:
        return {
            **empty_state(batch, self.heads, self.keys // self.heads, self.values // self.heads, dtype, device),
            "conv": {} if self.conv is None else self.conv.init_state(batch, dtype, device),
            "canon": self.canon.init_state(batch, dtype, device),
        }


def _unit(x: Tensor) -> Tensor:
    """x / |x| over the last dimension, with the epsilon of the authors' code: under the root."""
    return x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt()
