"""Gated DeltaProduct, arXiv 2502.10297: a decay, then n delta-rule writes for each token, of 2 as it stands here.

Per head, from S = a_t S_{t-1}, with keys of norm 1, for each write i of token t:

    S <- S + beta_ti k_ti (v_ti - S^T k_ti)^T        then o_t = S^T q_t

To the helper a token is n positions: the first one decays, and the last one is asked.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from canonlab.models.layers import RMSNorm, ShortConv, linear, time_step_bias
from canonlab.models.mixers.base import Mixer
from canonlab.models.mixers.linear import linear_recurrence
from canonlab.models.mixers.recurrence import empty_state, recall, remember


class DeltaProduct(Mixer):
    @dataclass(frozen=True)
    class Config:
        width: int
        heads: int
        writes: int = 2
        conv1d: bool = True

        @property
        def parts(self):
            values = (1 + self.writes) * self.width
            return {"K": (self.width, values), "V": (values, values + self.writes * self.width)}

    def __init__(self, config, canon):
        super().__init__()
        width, self.heads, self.writes = config.width, config.heads, config.writes
        self.widths = [width, self.writes * width, self.writes * width]
        self.qkv = linear(width, sum(self.widths), std=0.02)
        self.canon = canon(sum(self.widths))
        self.conv = ShortConv(sum(self.widths), std=0.02) if config.conv1d else None
        self.beta = linear(width, self.writes * self.heads, std=0.02)
        self.step = linear(width, self.heads, std=0.02)
        self.step_bias = nn.Parameter(time_step_bias(self.heads))
        self.rate = nn.Parameter((16 * (1 - torch.rand(self.heads))).log())
        self.norm = RMSNorm(width // self.heads, 1e-5)
        self.gate = linear(width, width, std=0.02)
        self.out = linear(width, width, std=0.02)

    def forward(self, x, segment_ids, state):
        precise = torch.promote_types(x.dtype, torch.float32)
        qkv = self.canon(self.qkv(x), segment_ids, state and state["canon"])
        qkv = F.silu(qkv) if self.conv is None else self.conv(qkv, segment_ids, state and state["conv"])
        q, k, v = (part.unflatten(-1, (-1, self.norm.weight.numel())) for part in qkv.split(self.widths, -1))
        q, k = (F.normalize(part.to(precise), dim=-1) for part in (q, k))
        beta = 2 * self.beta(x).to(precise).sigmoid()[..., None]
        log_decay = -self.rate.to(precise).exp() * F.softplus(self.step(x).to(precise) + self.step_bias)
        k, v, beta = (part.unflatten(2, (self.writes, -1)).flatten(1, 2) for part in (k, v, beta))
        # zeros before the query, which is of the last write, and after the decay, which is of the first one
        q = F.pad(q[:, :, None], (0, 0, 0, 0, self.writes - 1, 0)).flatten(1, 2)
        log_decay = F.pad(log_decay[:, :, None], (0, 0, 0, self.writes - 1)).flatten(1, 2)
        ids = None if segment_ids is None else segment_ids.repeat_interleave(self.writes, 1)
        o, final = linear_recurrence(
            q,
            beta * k,
            v,
            log_decay,
            read_BTHK=k,
            initial_BHKV=recall(state, ids),
            segment_ids=ids,
            implementation=self.implementation,
        )
        remember(state, final, ids)
        o = self.norm(o[:, self.writes - 1 :: self.writes]).flatten(2)
        return self.out(o * F.silu(self.gate(x))), state

    def init_state(self, batch, max_len, dtype, device):
        head = self.norm.weight.numel()
        return {
            **empty_state(batch, self.heads, head, head, dtype, device),
            "canon": self.canon.init_state(batch, dtype, device),
            "conv": {} if self.conv is None else self.conv.init_state(batch, dtype, device),
        }
