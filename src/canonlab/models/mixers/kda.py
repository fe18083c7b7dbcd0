"""Kimi Delta Attention: Gated DeltaNet with a decay for each key channel.

Per head, with a_t the decays, beta_t the share that is overwritten, and k_t of norm 1:

    S_t = (I - beta_t k_t k_t^T) diag(a_t) S_{t-1} + beta_t k_t v_t^T,    o_t = K^(-1/2) S_t^T q_t,

the recurrence of `linear.py`. Source: Kimi Linear, arXiv 2510.26692, section 3.
Legend: B batch, T time, H heads, K key width, V value width (both of a head).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from canonlab.errors import require_integer
from canonlab.models.layers import RMSNorm, linear, low_rank, time_step_bias
from canonlab.models.mixers.base import CanonFactory, MixerState
from canonlab.models.mixers.delta import DeltaConfig, DeltaMixer, log_decays, low_rank_std
from canonlab.models.sizes import MOST_WIDTH


class KimiDeltaAttention(DeltaMixer):
    """q, k, v -> point B or b -> SiLU -> norm 1 -> the recurrence -> norm per head * sigmoid(gate) -> projection.

    beta_t = sigmoid(W_b x), one a head, and log a_t = -exp(A_log) softplus(W_2 W_1 x + dt_bias), one a key channel,
    A_log one a head. W_2 W_1 and the gate have a small rank. By default about (4 + 4 / heads) width^2 parameters.
    """

    @dataclass(frozen=True)
    class Config(DeltaConfig):
        """`rank` is that of decays and output gate; 0 is a head's value width, as published."""

        rank: int = 0
        norm_eps: float = 1e-5

        def __post_init__(self) -> None:
            require_integer("rank", self.rank, 0, MOST_WIDTH)
            super().__post_init__()

    def __init__(self, config: Config, canon: CanonFactory) -> None:
        super().__init__()
        self._build(config, canon)
        width, heads, keys, values = config.width, config.heads, config.key_width, config.value_width
        rank = config.rank or values // heads
        std = low_rank_std(rank)
        self.writing = linear(width, self._gates(config), std=0.02)
        self.decay = nn.Sequential(linear(width, rank, std), linear(rank, keys, std))
        self.A_log = nn.Parameter(torch.empty(heads).uniform_(1, 16).log())
        self.dt_bias = nn.Parameter(time_step_bias(keys))
        self.gate = low_rank(width, rank, values, std)
        self.norm = RMSNorm(values // heads, config.norm_eps)
        self.out = linear(values, width, std=0.02)

    def _gates(self, config: Config) -> int:
        """How many there are of what and how much is written: beta of each head."""
        return config.heads

    def _write(self, gates: Tensor, k_BTHK: Tensor, v_BTHV: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The keys and the values that are written, and the keys that are read before."""
        return gates[..., None] * k_BTHK, v_BTHV, k_BTHK

    def forward(
        self, x: Tensor, segment_ids: Tensor | None, state: MixerState | None
    ) -> tuple[Tensor, MixerState | None]:
        q_BTHK, k_BTHK, v_BTHV = self._project(x, segment_ids, state)
        write_BTHK, v_BTHV, read_BTHK = self._write(self.writing(x).to(q_BTHK.dtype).sigmoid(), k_BTHK, v_BTHV)
        step_BTHK, bias_HK = (t.unflatten(-1, (self.heads, -1)) for t in (self.decay(x), self.dt_bias))
        log_decay_BTHK = log_decays(self.A_log[:, None], step_BTHK, bias_HK)
        o_BTHV = self._recur(q_BTHK, write_BTHK, v_BTHV, log_decay_BTHK, read_BTHK, segment_ids, state)
        return self.out(self.norm(o_BTHV).flatten(2) * self.gate(x).sigmoid()), state
