"""Gated DeltaProduct: several delta-rule writes for each token, so that its transition is a product of reflections.

Per head, from D = a_t S_{t-1}, with keys k_t1 .. k_tn of norm 1 and shares beta_ti of up to 2:

    S <- S + beta_ti k_ti (v_ti - S^T k_ti)^T for i = 1 .. n,    o_t = K^(-1/2) S_t^T q_t.

A share above 1 makes an eigenvalue negative: a reflection, which tracks states that decays can't. It is the recurrence
of `linear.py` over n positions for each token, of which the first one decays and the last one is asked.
Source: DeltaProduct, arXiv 2502.10297, sections 3 and 4; negative eigenvalues: arXiv 2411.12537.
Legend: B batch, T time, n writes, H heads, K key width, V value width (both of a head).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canonlab.errors import require_integer
from canonlab.models.layers import RMSNorm, linear, time_step_bias
from canonlab.models.mixers.base import CanonFactory, MixerState
from canonlab.models.mixers.delta import DeltaConfig, DeltaMixer, decay_rates, log_decays

MOST_WRITES = 16


class DeltaProduct(DeltaMixer):
    """q, n k, n v -> point B or b -> SiLU -> norm 1 -> the recurrence -> norm per head * silu(gate) -> projection.

    beta_ti = 2 sigmoid(W_b x), a_t = exp(-exp(A_log) softplus(W_a x + dt_bias)), one of each a head.
    """

    @dataclass(frozen=True)
    class Config(DeltaConfig):
        """`writes` is n; keys and values have the width of their shares n times.

        The defaults give about 6.25 width^2 parameters; the authors' layer, with shares of 0.75 and 1.5, has 8.25.
        """

        writes: int = 2
        key_share: float = 0.75
        value_share: float = 1.0
        norm_eps: float = 1e-5

        def __post_init__(self) -> None:
            require_integer("writes", self.writes, 1, MOST_WRITES)
            super().__post_init__()

        @property
        def made(self) -> int:
            return self.writes

    def __init__(self, config: Config, canon: CanonFactory) -> None:
        super().__init__()
        self._build(config, canon)
        width, heads, values = config.width, config.heads, config.value_width
        self.writes = config.writes
        self.beta = linear(width, config.writes * heads, std=0.02)
        self.decay = linear(width, heads, std=0.02)
        self.A_log = decay_rates(heads)
        self.dt_bias = nn.Parameter(time_step_bias(heads))
        self.gate = linear(width, values, std=0.02)
        self.norm = RMSNorm(values // heads, config.norm_eps)
        self.out = linear(values, width, std=0.02)

    def forward(
        self, x: Tensor, segment_ids: Tensor | None, state: MixerState | None
    ) -> tuple[Tensor, MixerState | None]:
        q_BTHK, k_BTMK, v_BTMV = self._project(x, segment_ids, state)
        beta_BTM = 2 * self.beta(x).to(q_BTHK.dtype).sigmoid()
        log_decay_BTH = log_decays(self.A_log, self.decay(x), self.dt_bias)
        # Positions are (token, write): (B, T n, H, ...).
        k, v, beta = (
            part.unflatten(2, (self.writes, -1)).flatten(1, 2) for part in (k_BTMK, v_BTMV, beta_BTM[..., None])
        )
        q = torch.stack([*[torch.zeros_like(q_BTHK)] * (self.writes - 1), q_BTHK], 2).flatten(1, 2)
        decays = [log_decay_BTH, *[torch.zeros_like(log_decay_BTH)] * (self.writes - 1)]
        log_decay = torch.stack(decays, 2).flatten(1, 2)
        ids = None if segment_ids is None else segment_ids.repeat_interleave(self.writes, 1)
        o_BTHV = self._recur(q, beta * k, v, log_decay, k, ids, state)[:, self.writes - 1 :: self.writes]
        gate_BTHV = self.gate(x).unflatten(-1, (self.heads, -1))
        return self.out((self.norm(o_BTHV) * F.silu(gate_BTHV)).flatten(2)), state
