"""Gated linear attention: a matrix-valued state with a decay per key channel (Yang et al., arXiv 2312.06635).

    S_t = diag(a_t) S_{t-1} + k_t v_t^T        o_t = K^(-1/2) S_t^T q_t        0 <= a_t <= 1

per head, which is the recurrence of `linear.py` without reads.

Legend: B batch, T time, H heads, K key width, V value width.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from canonlab.errors import InputError, require_integer, unknown
from canonlab.models.canon_points import NoCanon
from canonlab.models.layers import RMSNorm, ShortConv, linear, low_rank
from canonlab.models.mixers.base import CanonFactory, Mixer, MixerState
from canonlab.models.mixers.linear import linear_recurrence
from canonlab.models.mixers.recurrence import empty_state, recall, remember, width_of
from canonlab.models.sizes import MOST_WIDTH

DECAY_RANK = 16
"""Inner width of the two matrices that give the decays."""

DECAY_ROOT = 16
"""a_t is the 16th root of a sigmoid: 0.96 at initialisation, a half-life of 16 tokens."""

FEATURE_MAPS = ("identity", "elu")
QKV_ACTIVATIONS = ("none", "silu")


class GLA(Mixer):
    """q, k, v = W x (Canon B or convolution b on them); out(RMSNorm(o) * silu(gate(x))), the norm per head.

    a_t = sigmoid(W_2 W_1 x + bias)^(1/16) with W_1: width -> 16. About 4 width^2 parameters as the defaults have it.
    `gla5`: heads = width / 128, key_share = 1, value_share = 2, conv1d, gate_rank = 16, norm_eps = 1e-5.
    """

    state_field = "key_share"

    @dataclass(frozen=True)
    class Config:
        """Widths are shares of the model's width.

        Attributes:
            width: of the model.
            heads: they divide keys and values among them.
            key_share: width of all heads' keys / width.
            value_share: width of all heads' values / width.
            conv1d: the short convolution (kernel 4) on q, k and v.
            conv_activation, conv_residual: whether it has a SiLU, and adds its input.
            qkv_activation: of q, k and v where there is no convolution: none, as in the paper and the original GLA, or
                silu, as in the released code of Part 4.1.
            gate_rank: rank of the output gate, which then has a bias; 0: a full matrix without.
            low_rank_std: initial standard deviation of both matrices of the decay and of a low-rank output gate. With
                s^2 = 0.02 / sqrt(rank) their product is N(0, 0.02)-like, as a full matrix.
            feature_map: identity, or elu: 1 + elu(.) on q and k, which makes them positive.
            norm_eps: of the norm of each head's output.
        """

        width: int
        heads: int = 4
        key_share: float = 0.5
        value_share: float = 1.0
        conv1d: bool = False
        gate_rank: int = 0
        low_rank_std: float = 0.02
        feature_map: str = "identity"
        norm_eps: float = 1e-6
        conv_activation: bool = True
        conv_residual: bool = False
        qkv_activation: str = "none"

        def __post_init__(self) -> None:
            require_integer("heads", self.heads, 1)
            require_integer("gate_rank", self.gate_rank, 0, MOST_WIDTH)
            for name in ("key", "value"):
                if (width := getattr(self, f"{name}_width")) % self.heads:
                    raise InputError(
                        f"{name}_share = {getattr(self, f'{name}_share')}: {name}_share * width = {width} must be a "
                        f"multiple of the {self.heads} heads"
                    )
            if self.feature_map not in FEATURE_MAPS:
                raise unknown("feature_map", self.feature_map, FEATURE_MAPS)
            if self.qkv_activation not in QKV_ACTIVATIONS:
                raise unknown("qkv_activation", self.qkv_activation, QKV_ACTIVATIONS)

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
        keys, values = config.key_width, config.value_width
        self.heads, self.widths, self.feature_map = config.heads, (keys, keys, values), config.feature_map
        self.qkv = linear(config.width, sum(self.widths), std=0.02)
        self.canon = canon(sum(self.widths))
        shape = {"activation": config.conv_activation, "residual": config.conv_residual}
        self.conv = ShortConv(sum(self.widths), std=0.02, **shape) if config.conv1d else NoCanon()
        self.activates = config.qkv_activation == "silu" and not config.conv1d
        self.decay = low_rank(config.width, DECAY_RANK, keys, config.low_rank_std)
        self.norm = RMSNorm(values // config.heads, config.norm_eps)
        self.gate = (
            low_rank(config.width, config.gate_rank, values, config.low_rank_std)
            if config.gate_rank
            else linear(config.width, values, std=0.02)
        )
        self.out = linear(values, config.width, std=0.02)

    def forward(
        self, x: Tensor, segment_ids: Tensor | None, state: MixerState | None
    ) -> tuple[Tensor, MixerState | None]:
        qkv = self.canon(self.qkv(x), segment_ids, state and state["canon"])
        qkv = self.conv(F.silu(qkv) if self.activates else qkv, segment_ids, state and state["conv"])
        q_BTHK, k_BTHK, v_BTHV = (part.unflatten(-1, (self.heads, -1)) for part in qkv.split(self.widths, -1))
        if self.feature_map == "elu":
            q_BTHK, k_BTHK = 1 + F.elu(q_BTHK), 1 + F.elu(k_BTHK)
        pre = self.decay(x).unflatten(-1, (self.heads, -1))
        log_decay_BTHK = F.logsigmoid(pre.to(torch.promote_types(pre.dtype, torch.float32))) / DECAY_ROOT
        o_BTHV, final_BHKV = linear_recurrence(
            q_BTHK.shape[-1] ** -0.5 * q_BTHK,
            k_BTHK,
            v_BTHV,
            log_decay_BTHK,
            initial_BHKV=recall(state, segment_ids),
            segment_ids=segment_ids,
            implementation=self.implementation,
        )
        remember(state, final_BHKV, segment_ids)
        return self.out(self.norm(o_BTHV).flatten(2) * F.silu(self.gate(x))), state

    def init_state(self, batch: int, max_len: int, dtype: torch.dtype, device: torch.device) -> MixerState:
        keys, _, values = (width // self.heads for width in self.widths)
        return {
            **empty_state(batch, self.heads, keys, values, dtype, device),
            "canon": self.canon.init_state(batch, dtype, device),
            "conv": self.conv.init_state(batch, dtype, device),
        }
