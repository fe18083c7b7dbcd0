"""HGRN2, arXiv 2404.07904: a gated recurrence in which what is forgotten makes room for what is written.

Per head, with a forget gate f of each channel that stays above a bound b of the layer:

    f_t = b + (1 - b) sigmoid(W_f x_t)        S_t = diag(f_t) S_{t-1} + (1 - f_t) i_t^T        o_t = S_t^T silu(W_q x_t)

Bounds grow with depth, so that later layers remember for longer: 0 in the first one, where others begin with
layer / layers. In the paper they are one softmax over all layers; here each layer learns its own.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from canonlab.models.layers import RMSNorm, linear
from canonlab.models.mixers.base import Mixer
from canonlab.models.mixers.linear import linear_recurrence
from canonlab.models.mixers.recurrence import empty_state, recall, remember


class HGRN2(Mixer):
    @dataclass(frozen=True)
    class Config:
        width: int
        heads: int

        @property
        def parts(self):
            return {"K": (self.width, 2 * self.width), "V": (2 * self.width, 3 * self.width)}

    def __init__(self, config, canon, place):
        super().__init__()
        self.heads, self.head = config.heads, config.width // config.heads
        self.qfi = linear(config.width, 3 * config.width, std=0.02)
        self.canon = canon(3 * config.width)
        first = torch.full((config.width,), place.layer / place.layers).logit()
        self.bound = torch.nn.Parameter(first) if place.layer else None
        self.norm = RMSNorm(config.width, 1e-5)
        self.out = linear(config.width, config.width, std=0.02)

    def forward(self, x, segment_ids, state):
        qfi = self.canon(self.qfi(x), segment_ids, state and state["canon"])
        q, f, i = qfi.chunk(3, -1)
        f = f.to(torch.promote_types(f.dtype, torch.float32))
        log_forget, write = F.logsigmoid(f), torch.sigmoid(-f)
        if self.bound is not None:
            log_forget = torch.logaddexp(F.logsigmoid(self.bound), F.logsigmoid(-self.bound) + log_forget)
            write = torch.sigmoid(-self.bound) * write
        parts = (F.silu(q), write.to(i.dtype), i, log_forget)
        o, final = linear_recurrence(
            *(part.unflatten(-1, (self.heads, -1)) for part in parts),
            initial_BHKV=recall(state, segment_ids),
            segment_ids=segment_ids,
            implementation=self.implementation,
        )
        remember(state, final, segment_ids)
        return self.out(self.norm(o.flatten(2))), state

    def init_state(self, batch, max_len, dtype, device):
        return {
            **empty_state(batch, self.heads, self.head, self.head, dtype, device),
            "canon": self.canon.init_state(batch, dtype, device),
        }
