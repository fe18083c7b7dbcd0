"""RWKV-7: a delta rule whose rates are of each channel, over tokens mixed with the one before.

Per head, with decays w_t and rates a_t of each key channel, and a removal key u_t of norm 1:

    S_t = (diag(w_t) - (a_t * u_t) u_t^T) S_{t-1} + k_t v_t^T,    o_t = S_t^T r_t,

the recurrence of `linear.py`, which reads after the decay, so with u_t / w_t; w_t is never below exp(-e^(-1/2)), 0.545.
The values of later layers are mixed with those of the first one.

Source: RWKV-7 "Goose", arXiv 2503.14456, section 4, and the initial values of its authors' code. Its channel mixing is
not here: blocks have the MLP of all others.
Legend: B batch, T time, H heads, K key width, V value width (both of a head), D width of the model.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canonlab.errors import InputError, require_integer, shown
from canonlab.models.layers import TokenShift
from canonlab.models.mixers.base import CanonFactory, Mixer, MixerState, Place, Shared
from canonlab.models.mixers.linear import linear_recurrence
from canonlab.models.mixers.recurrence import empty_state, recall, remember, width_of

FASTEST = math.exp(-0.5)
"""Of the logarithms of decays, which are between -e^(-1/2) and 0."""

FIRST_VALUES = "rwkv7 values"
"""The name under which the first layer shares its values."""

MIXED = {"r": 0.2, "w": 0.9, "k": 0.7, "v": 0.7, "a": 0.9, "g": 0.2}
"""What is projected from a mixture with the token before, and how fast its share falls over the channels at first."""


class RWKV7(Mixer):
    """r, k, v (Canon B on them) -> the recurrence -> norm per head, + (r . (rho * k)) v, * gate -> projection.

    Point b is the token shift: each projection sees x_t + mu (x_{t-1} - x_t), mu a vector of its own; off, x_t.
    Rates, decays, gates and the mixing of values are of low rank: about 5.1 width^2 parameters as the defaults have it.
    """

    state_field = "key_share"

    @dataclass(frozen=True)
    class Config:
        """The arguments.

        Attributes:
            key_share: Width of all heads' keys / width.
            rank_share: Ranks of decays and rates / width; twice of that for the gate, half for the mixing of values.
                The authors' ranks at width 512; at other widths theirs are nearer to each other (32 at least).
            norm_eps: Of the norm of each head's output, times the head's width.
        """

        width: int
        heads: int
        conv1d: bool = True
        key_share: float = 1.0
        rank_share: float = 0.125
        norm_eps: float = 1e-5

        def __post_init__(self) -> None:
            require_integer("heads", self.heads, 1)
            for name, width in (("key width", self.key_width), ("width", self.width)):
                if width % self.heads:
                    raise InputError(f"heads = {self.heads}: must divide the {name} {width}")
            if not 0 < self.rank_share <= 1:
                raise InputError(f"rank_share = {shown(self.rank_share)}: must be above 0 and at most 1")

        @property
        def key_width(self) -> int:
            return width_of("key_share", self.key_share, self.width)

        def rank(self, times: float) -> int:
            """That many times the share, 1 at least."""
            return max(1, round(times * self.rank_share * self.width))

        @property
        def parts(self) -> dict[str, tuple[int, int]]:
            values = 2 * self.key_width
            return {"K": (self.key_width, values), "V": (values, values + self.width)}

    def __init__(self, config: Config, canon: CanonFactory, place: Place) -> None:
        super().__init__()
        width, keys, self.heads = config.width, config.key_width, config.heads
        self.widths, self.first = [keys, keys, width], place.nth == 0
        depth, rest = place.layer / max(1, place.layers - 1), 1 - place.layer / place.layers
        self.shift = TokenShift() if config.conv1d else None
        if config.conv1d:
            self.mix = Mixtures({name: 1 - _rising(width) ** (rate * rest) for name, rate in MIXED.items()})
        self.r, self.k, self.v = (
            _uniform(width, out, bound) for out, bound in zip(self.widths, (0.5, 0.05, 0.5), strict=True)
        )
        self.canon = canon(sum(self.widths))
        slope, zigzag = _line(-0.5, 0.5, keys), _zigzag(keys, self.heads)
        decays = 6 * _line(0, 1, keys) ** (1 + depth**0.3) - 5.5
        self.decay = LowRank(width, config.rank(1), decays + 2.5 * zigzag, nn.Tanh())
        self.decay.bias._learning_rate_factor = 2.0  # as in the authors' code
        self.rate = LowRank(width, config.rank(1), -0.19 + 0.3 * zigzag + 0.4 * slope)
        self.blend = None if self.first else LowRank(width, config.rank(0.5), 0.73 - _line(-0.2, 0.2, width))
        self.gate = LowRank(width, config.rank(2), None, nn.Sigmoid())
        self.removed = nn.Parameter(0.71 - 0.1 * slope)
        self.replaced = nn.Parameter(torch.full((keys,), 1.02))
        self.bonus = nn.Parameter(torch.full((keys,), -0.04))
        self.norm = HeadNorm(self.heads, width, eps=width // self.heads * config.norm_eps)
        nn.init.constant_(self.norm.weight, ((place.layer + 1) / place.layers) ** 0.7)
        self.out = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(  # type: ignore[override]  # a block passes what is named
        self, x: Tensor, segment_ids: Tensor | None, state: MixerState | None, shared: Shared
    ) -> tuple[Tensor, MixerState | None]:
        inputs = dict.fromkeys(MIXED, x)
        if self.shift is not None:
            inputs = self.mix(x, self.shift(x, segment_ids, state and state["shift"]))
        rkv = torch.cat([self.r(inputs["r"]), self.k(inputs["k"]), self.v(inputs["v"])], -1)
        rkv = self.canon(rkv, segment_ids, state and state["canon"])
        r, k, v = rkv.split(self.widths, -1)
        if self.blend is None:
            shared[FIRST_VALUES] = v
        else:
            v = v + (shared[FIRST_VALUES] - v) * self.blend(inputs["v"]).sigmoid().to(v.dtype)
        precise = torch.promote_types(x.dtype, torch.float32)
        k, a = k.to(precise), self.rate(inputs["a"]).to(precise).sigmoid()
        log_w = -FASTEST * self.decay(inputs["w"]).to(precise).sigmoid()
        removed_BTHK = F.normalize(self._heads(k * self.removed), dim=-1)
        k = k * (1 + (a - 1) * self.replaced)
        r_BTHK, k_BTHK, v_BTHV, a_BTHK, log_w_BTHK = (self._heads(part) for part in (r.to(precise), k, v, a, log_w))
        o_BTHV, final_BHKV = linear_recurrence(
            r_BTHK,
            k_BTHK,
            v_BTHV,
            log_w_BTHK,
            read_BTHK=removed_BTHK * (-log_w_BTHK).exp(),
            erase_BTHK=removed_BTHK * a_BTHK,
            initial_BHKV=recall(state, segment_ids),
            segment_ids=segment_ids,
            implementation=self.implementation,
        )
        remember(state, final_BHKV, segment_ids)
        o = self.norm(o_BTHV.flatten(2).flatten(0, 1).to(precise)).unflatten(0, x.shape[:2])
        now_BTH1 = (r_BTHK * k_BTHK * self._heads(self.bonus)).sum(-1, keepdim=True)
        o = o + (now_BTH1 * v_BTHV).flatten(2)
        return self.out(o.to(v.dtype) * self.gate(inputs["g"])), state

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1))

    def init_state(self, batch: int, max_len: int, dtype: torch.dtype, device: torch.device) -> MixerState:
        keys, _, values = (width // self.heads for width in self.widths)
        return {
            **empty_state(batch, self.heads, keys, values, dtype, device),
            "canon": self.canon.init_state(batch, dtype, device),
            "shift": {} if self.shift is None else self.shift.init_state(batch, self.widths[2], dtype, device),
        }


class Mixtures(nn.Module):
    """x_t + mu (x_{t-1} - x_t) for each name, mu a vector of its own."""

    def __init__(self, mus: dict[str, Tensor]) -> None:
        super().__init__()
        for name, mu in mus.items():
            self.register_parameter(name, nn.Parameter(mu))

    def forward(self, x: Tensor, before: Tensor) -> dict[str, Tensor]:
        delta_BTD = before - x
        return {name: torch.addcmul(x, delta_BTD, mu.to(x.dtype)) for name, mu in self.named_parameters()}


class HeadNorm(nn.GroupNorm):
    """In the precision of its input, whatever that of its weights."""

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.num_groups, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


class LowRank(nn.Module):
    """B f(A x) + bias, with A = 0 at first and B orthogonal, a tenth in size."""

    def __init__(self, width: int, rank: int, bias: Tensor | None, f: nn.Module | None = None) -> None:
        super().__init__()
        out = width if bias is None else len(bias)
        self.down, self.up = nn.Linear(width, rank, bias=False), nn.Linear(rank, out, bias=False)
        nn.init.zeros_(self.down.weight)
        nn.init.orthogonal_(self.up.weight, gain=0.1)
        self.f = f or nn.Identity()
        self.bias: Any = None if bias is None else nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(self.f(self.down(x)))
        return y if self.bias is None else y + self.bias


def _uniform(width: int, out: int, bound: float) -> nn.Linear:
    """A projection uniform in +- bound / sqrt(width)."""
    layer = nn.Linear(width, out, bias=False)
    nn.init.uniform_(layer.weight, -bound / width**0.5, bound / width**0.5)
    return layer


def _line(first: float, last: float, width: int) -> Tensor:
    """Evenly from `first` to `last`. (transformers makes `torch.linspace` on the CPU where nothing else has memory.)"""
    return first + (last - first) / max(1, width - 1) * torch.arange(width)


def _rising(width: int) -> Tensor:
    """n / width for channels n = 0, 1, .."""
    return torch.arange(width) / width


def _zigzag(width: int, heads: int) -> Tensor:
    """Over each head's channels from -1 to 1, squared with its sign."""
    line = _line(-1, 1, width // heads) if width > heads else torch.zeros(1)
    return (line * line.abs()).repeat(heads)
