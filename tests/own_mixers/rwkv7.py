"""RWKV-7, arXiv 2503.14456: a state whose channels decay, and from which a key of its own removes something.

Per head, with a decay w and a rate a of each channel, a removal key u of norm 1, and what each token keeps for itself:

    S_t = diag(w_t) S_{t-1} - (a_t u_t) (S_{t-1}^T u_t)^T + k_t v_t^T        o_t = norm(S_t^T r_t) + (r_t . k_t * b) v_t

Each of these is made of x_t and a share of x_{t-1}; later blocks mix their values with those of the first one.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from canonlab.canon import Canon
from canonlab.models.mixers.base import Mixer
from canonlab.models.mixers.linear import linear_recurrence
from canonlab.models.mixers.recurrence import empty_state, recall, remember

EARLIER = (0.2, 0.7, 0.7, 0.9, 0.9, 0.2)  # exponents of the shares of x_{t-1} in r, k, v, w, a and the gate


class RWKV7(Mixer):
    @dataclass(frozen=True)
    class Config:
        width: int
        heads: int

        @property
        def parts(self):
            return {"K": (self.width, 2 * self.width), "V": (2 * self.width, 3 * self.width)}

    def __init__(self, config, canon, place):
        super().__init__()
        width, self.heads, self.head = config.width, config.heads, config.width // config.heads
        depth, left = place.layer / max(1, place.layers - 1), 1 - place.layer / place.layers
        channel = torch.arange(width)
        ramp = channel / max(1, width - 1) - 0.5
        in_head = 2 * (channel % self.head) / max(1, self.head - 1) - 1
        zigzag = in_head * in_head.abs()
        self.change = Canon(width, kernel=2, residual=False, frozen=True)  # x_{t-1} - x_t
        self.change.weight.data.copy_(torch.tensor([[-1.0], [1.0]]))
        self.earlier = nn.Parameter(1 - (channel / width) ** (left * torch.tensor(EARLIER)[:, None]))
        self.earlier._no_weight_decay = True
        self.r, self.k, self.v, self.out = (matrix(width, width, gain) for gain in (1, 0.1, 1, 0))
        self.canon = canon(3 * width)
        wide = self.head / 64  # wider heads need more of their decays and rates
        self.decay = low_rank(width, 2.5 * wide, nn.Tanh(), -5.5 + 6 * (ramp + 0.5) ** (1 + depth**0.3) + 2.5 * zigzag)
        self.decay[2].bias._learning_rate_factor = 2.0
        self.rate = low_rank(width, 2.5 * wide, nn.Identity(), -0.19 + 0.3 * zigzag + 0.4 * ramp)
        self.blend = low_rank(width, 1.7 * wide, nn.Identity(), 0.73 - 0.4 * ramp) if place.nth else None
        self.gate = low_rank(width, 5, nn.Sigmoid(), None)
        self.remove, self.replace = nn.Parameter(0.71 - 0.1 * ramp), nn.Parameter(torch.full((width,), 1.02))
        self.bonus = nn.Parameter(torch.full((width,), -0.04))
        self.norm = nn.GroupNorm(self.heads, width, eps=1e-5 * self.head)
        nn.init.constant_(self.norm.weight, ((place.layer + 1) / place.layers) ** 0.7)

    def forward(self, x, segment_ids, state, shared):
        change = self.change(x, segment_ids, state and state["change"])
        for_r, for_k, for_v, for_w, for_a, for_gate = (x + change * share for share in self.earlier.to(x.dtype))
        rkv = torch.cat([self.r(for_r), self.k(for_k), self.v(for_v)], -1)
        r, k, v = self.canon(rkv, segment_ids, state and state["canon"]).chunk(3, -1)
        first = shared.setdefault("rwkv7.v", v)
        if self.blend is not None:
            v = v + self.blend(for_v).sigmoid() * (first - v)
        precise = torch.promote_types(x.dtype, torch.float32)
        r, k, w, a = (part.to(precise) for part in (r, k, self.decay(for_w), self.rate(for_a)))
        a, log_w, u = a.sigmoid(), -math.exp(-0.5) * w.sigmoid(), k * self.remove
        k = k * (1 + (a - 1) * self.replace)
        parts = (r, k, v, log_w, a, u, r * k * self.bonus)
        r, k, v, log_w, a, u, own = (part.unflatten(-1, (self.heads, -1)) for part in parts)
        u = F.normalize(u, dim=-1)
        more = {"initial_BHKV": recall(state, segment_ids), "segment_ids": segment_ids}
        more |= {"read_BTHK": u * (-log_w).exp(), "erase_BTHK": a * u}  # the helper reads after the decay, u before it
        o, final = linear_recurrence(r, k, v, log_w, **more, implementation=self.implementation)
        remember(state, final, segment_ids)
        o = self.norm(o.to(precise).flatten(2).flatten(0, 1)).view(v.shape) + own.sum(-1, keepdim=True) * v
        return self.out(o.flatten(2).to(v.dtype) * self.gate(for_gate)), state

    def init_state(self, batch, max_len, dtype, device):
        state = empty_state(batch, self.heads, self.head, self.head, dtype, device)
        return state | {name: getattr(self, name).init_state(batch, dtype, device) for name in ("change", "canon")}


def low_rank(width, share, between, bias):
    """Two matrices, `share` of sqrt(width) in between, the first one 0; they don't decay."""
    rank = max(32, 32 * round(share * width**0.5 / 32))
    down, up = matrix(width, rank, 0), matrix(rank, width, 0.1 * max(1, (rank / width) ** 0.5), bias)
    down.weight._no_weight_decay = up.weight._no_weight_decay = True
    return nn.Sequential(down, between, up)


def matrix(inputs, outputs, gain, bias=None):
    layer = nn.Linear(inputs, outputs, bias=bias is not None)
    nn.init.orthogonal_(layer.weight, gain)
    if bias is not None:
        layer.bias.data.copy_(bias)
    return layer
