"""Gated DeltaNet: a linear recurrence that overwrites what it remembers under a key.

Per head, with a_t the decay, beta_t the share that is overwritten, and k_t of norm 1:

    S_t = a_t (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T,    o_t = S_t^T q_t * scale.

The state S is K x V here: the recurrence of `linear.py`, which writes under beta_t k_t what k_t doesn't read yet.

Source: Yang, Kautz, Hatamizadeh, Gated Delta Networks, arXiv 2412.06464, section 3.
Legend: B batch, T time, H heads, K key width, V value width (both of a head).
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from canonlab.errors import require_integer
from canonlab.models.layers import RMSNorm, linear, low_rank, time_step_bias
from canonlab.models.mixers import fla
from canonlab.models.mixers.base import CanonFactory, MixerState
from canonlab.models.mixers.delta import DeltaConfig, DeltaMixer, decay_rates, log_decays, low_rank_std
from canonlab.models.mixers.recurrence import recall, remember
from canonlab.models.sizes import MOST_WIDTH


class GatedDeltaNet(DeltaMixer):
    """q, k, v -> point B or b -> SiLU -> q, k of norm 1 -> the recurrence -> norm per head * silu(gate) -> projection.

    Canon-B sits on q, k, v concatenated (K H + K H + V H), before the SiLU; the gates never pass a convolution.
    beta_t = sigmoid(W_b x) and a_t = exp(-exp(A_log) softplus(W_a x + dt_bias)), one of each a head.
    """

    @dataclass(frozen=True)
    class Config(DeltaConfig):
        """`gate_rank` 0 gives the output gate a full matrix, r > 0 the product of two of rank r and a bias.

        `gdn-wide` is shares of 1 and 2 with rank 16, again about 6 width^2 parameters.
        """

        key_share: float = 0.75
        value_share: float = 1.5
        gate_rank: int = 0
        norm_eps: float = 1e-6

        def __post_init__(self) -> None:
            require_integer("gate_rank", self.gate_rank, 0, MOST_WIDTH)
            super().__post_init__()

    def __init__(self, config: Config, canon: CanonFactory) -> None:
        super().__init__()
        self._build(config, canon)
        width, heads, values = config.width, config.heads, config.value_width
        self.beta_and_decay = linear(width, 2 * heads, std=0.02)
        self.A_log = decay_rates(heads)
        self.dt_bias = nn.Parameter(time_step_bias(heads))
        if rank := config.gate_rank:
            self.gate: nn.Module = low_rank(width, rank, values, low_rank_std(rank))
        else:
            self.gate = linear(width, values, std=0.02)
        self.norm = RMSNorm(values // heads, config.norm_eps)
        self.out = linear(values, width, std=0.02)

    def forward(
        self, x: Tensor, segment_ids: Tensor | None, state: MixerState | None
    ) -> tuple[Tensor, MixerState | None]:
        q_BTHK, k_BTHK, v_BTHV = self._project(x, segment_ids, state)
        beta_BTH, dt_BTH = self.beta_and_decay(x).to(q_BTHK.dtype).chunk(2, -1)
        beta_BTH, log_decay_BTH = beta_BTH.sigmoid(), log_decays(self.A_log, dt_BTH, self.dt_bias)
        if self.implementation == "fla" and x.shape[1] > 1:
            initial = recall(state, segment_ids)
            o_BTHV, final = fla.gated_delta(q_BTHK, k_BTHK, v_BTHV, beta_BTH, log_decay_BTH, initial, segment_ids)
            remember(state, final, segment_ids)
        else:
            write_BTHK = beta_BTH[..., None] * k_BTHK
            o_BTHV = self._recur(q_BTHK, write_BTHK, v_BTHV, log_decay_BTH, k_BTHK, segment_ids, state)
        gate_BTHV = self.gate(x).unflatten(-1, (self.heads, -1))
        return self.out((self.norm(o_BTHV) * F.silu(gate_BTHV)).flatten(2)), state
