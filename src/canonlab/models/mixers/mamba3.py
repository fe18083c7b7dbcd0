"""Mamba3: Mamba2 with a trapezoidal rule for its steps and a state that turns, and without a convolution.

Source: "Mamba-3: Improved Sequence Modeling using State Space Principles" (Lahoti et al.), with one input and one
output a head (SISO), and its authors' code, repository state-spaces/mamba, for what the paper leaves open.

Per head, with a state S (K x V) and S_0 = k_0 v_0^T = 0:

    S_t = a_t S_{t-1}  +  (1 - l_t) D_t a_t k_{t-1} v_{t-1}^T  +  l_t D_t k_t v_t^T,    o_t = S_t^T q_t     (1)

D is the time step Delta, a = exp(D A), and l the share of the step's end: with l = 1 it is Mamba2's rule, with l = 1/2
the trapezoidal one. A state of complex numbers, of which each turns by an angle in a step, is a real one where q_t and
k_t are turned by the sum of all angles up to t, in pairs of dimensions; so (1) knows nothing of angles.

Equal forms: `recurrent` is (1). `shifted` is for training, and for a cached step: what is written before t, with the
weight that it has from then on, is an ordinary linear recurrence on the tokens before,

    U_t = a_t U_{t-1}  +  a_t (l_{t-1} D_{t-1} + (1 - l_t) D_t) k_{t-1} v_{t-1}^T                           (2)
    S_t = U_t  +  l_t D_t k_t v_t^T,    o_t = U_t^T q_t  +  l_t D_t (q_t . k_t) v_t                         (3)

in which nothing is subtracted and nothing comes from later tokens.

Legend: B batch, T time, H heads, K key width, V value width, N = H V inner width, R turning pairs of a key.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canonlab.errors import InputError, require_integer, shown
from canonlab.models.layers import RMSNorm, time_step_bias
from canonlab.models.mixers.base import CanonFactory, Mixer, MixerState
from canonlab.models.mixers.linear import linear_recurrence
from canonlab.models.mixers.recurrence import begins, empty_state, first_state, goes_on, recall, remember
from canonlab.models.sizes import MOST_WIDTH

SLOWEST = 1e-4
"""The least -A: nothing is remembered for much longer than 10^4 units of Delta."""

Past = tuple[Tensor, Tensor, Tensor]
"""What (1) needs of earlier tokens: S (B, H, K, V), and the last k (B, H, K) and v (B, H, V)."""


def recurrent(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay_BTH: Tensor,
    step_BTH: Tensor,
    share_BTH: Tensor,
    past: Past | None = None,
    segment_ids: Tensor | None = None,
) -> tuple[Tensor, Past]:
    """Equation (1), one token after the other.

    log_decay is log a <= 0, step is D and share is l, in float32 or float64, in which the state is kept. Nothing is
    left of the past wherever segment_ids (B, T) changes along time; `past`, zeros if None, belongs to the first token's
    segment.

    Returns o (B, T, H, V) in the dtype of v, and what the next token needs.
    """
    state_BHKV, k_BHK, v_BHV = past or _nothing(k_BTHK, v_BTHV, step_BTH.dtype)
    decay_BTH, outputs = log_decay_BTH.exp(), []
    for t in range(v_BTHV.shape[1]):
        before_BHKV = state_BHKV + ((1 - share_BTH) * step_BTH)[:, t, :, None, None] * _outer(k_BHK, v_BHV)
        if segment_ids is not None:
            before_BHKV = torch.where(begins(segment_ids)[:, t, None, None, None], 0, before_BHKV)
        k_BHK, v_BHV = k_BTHK[:, t], v_BTHV[:, t]
        now_BHKV = (share_BTH * step_BTH)[:, t, :, None, None] * _outer(k_BHK, v_BHV)
        state_BHKV = decay_BTH[:, t, :, None, None] * before_BHKV + now_BHKV
        outputs.append((q_BTHK[:, t, ..., None] * state_BHKV).sum(-2))
    return torch.stack(outputs, 1).to(v_BTHV.dtype), (state_BHKV, k_BHK, v_BHV)


def shifted(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay_BTH: Tensor,
    step_BTH: Tensor,
    share_BTH: Tensor,
    past: Past | None = None,
    segment_ids: Tensor | None = None,
    implementation: str = "torch",
) -> tuple[Tensor, Past]:
    """Equations (2) and (3): what `recurrent` returns, by `linear_recurrence`."""
    state_BHKV, k_BHK, v_BHV = past or _nothing(k_BTHK, v_BTHV, step_BTH.dtype)
    now_BTH = share_BTH * step_BTH
    weight_BTH = F.pad(now_BTH[:, :-1], (0, 0, 1, 0)) + (1 - share_BTH) * step_BTH
    if segment_ids is not None:
        weight_BTH = weight_BTH.masked_fill(begins(segment_ids)[..., None], 0)
    earlier_k_BTHK = torch.cat([k_BHK[:, None].to(k_BTHK.dtype), k_BTHK[:, :-1]], 1)
    earlier_v_BTHV = torch.cat([v_BHV[:, None].to(v_BTHV.dtype), v_BTHV[:, :-1]], 1)
    weighted_BTHK = ((log_decay_BTH.exp() * weight_BTH)[..., None] * earlier_k_BTHK).to(k_BTHK.dtype)
    o_BTHV, final_BHKV = linear_recurrence(
        q_BTHK,
        weighted_BTHK,
        earlier_v_BTHV,
        log_decay_BTH,
        initial_BHKV=state_BHKV,
        segment_ids=segment_ids,
        implementation=implementation,
    )
    now_BTH1 = (now_BTH * (q_BTHK * k_BTHK).sum(-1))[..., None].to(v_BTHV.dtype)
    last_BHKV = now_BTH[:, -1, :, None, None] * _outer(k_BTHK[:, -1], v_BTHV[:, -1])
    return o_BTHV + now_BTH1 * v_BTHV, (final_BHKV + last_BHKV, k_BTHK[:, -1], v_BTHV[:, -1])


def _outer(k_BHK: Tensor, v_BHV: Tensor) -> Tensor:
    return k_BHK[..., None] * v_BHV[..., None, :]


def _nothing(k_BTHK: Tensor, v_BTHV: Tensor, dtype: torch.dtype) -> Past:
    state_BHKV = first_state(None, v_BTHV, k_BTHK.shape[-1], dtype)
    return state_BHKV, torch.zeros_like(k_BTHK[:, 0]), torch.zeros_like(v_BTHV[:, 0])


def turn(x_BTHK: Tensor, cos_BTHR: Tensor, sin_BTHR: Tensor) -> Tensor:
    """x with its first R dimensions and its next R turned as R pairs, counter-clockwise; the others stay."""
    pairs = cos_BTHR.shape[-1]
    first, second, rest = x_BTHK.split([pairs, pairs, x_BTHK.shape[-1] - 2 * pairs], -1)
    turned = [first * cos_BTHR - second * sin_BTHR, second * cos_BTHR + first * sin_BTHR, rest]
    return torch.cat([part.to(x_BTHK.dtype) for part in turned], -1)


class Mamba3(Mixer):
    """The Mamba3 layer around recurrence (1), with inner width 2d, 16 heads, and one B and C for all heads.

        z, x, B, C, dt, a, l, theta = W_in u      canon point B acts on all of these
        Delta = softplus(dt + dt_bias),  A = -max(softplus(a), 1e-4),  a head
        angle_t = sum_{s <= t} Delta_s pi tanh(theta_s),  a head and pair; theta is one for all heads
        q = turned(RMSNorm(C) + C_bias, angle),  k = turned(RMSNorm(B) + B_bias, angle);  biases a head
        y = recurrence(q, k, v = x, a = exp(Delta A), D = Delta, l = sigmoid(l)) + D x
        W_out (y silu(z))

    The two norms stand for Mamba2's before W_out, the recurrence's second term for its convolution; so there is no
    point b. Which dimensions make a pair is a matter of how they are numbered: here i and i + R, as in this package's
    rotary positions, in the authors' code 2i and 2i + 1.

    Initialisation: linear layers as PyTorch initialises them, D, biases and norms 1, softplus(dt_bias) log-uniform in
    [1e-3, 0.1].
    """

    state_field = "state"

    @dataclass(frozen=True)
    class Config:
        """`state` is K, the width of B and C, and `rotated` the share of it that turns; the rest as in Mamba2."""

        width: int
        heads: int = 16
        state: int = 64
        expansion: int = 2
        rotated: float = 0.5
        norm_eps: float = 1e-5

        def __post_init__(self) -> None:
            for name in ("heads", "state", "expansion"):
                require_integer(name, getattr(self, name), 1, MOST_WIDTH)
            if self.inner % self.heads:
                raise InputError(f"heads = {self.heads}: must divide the inner width {self.inner}")
            if not 0 <= self.rotated <= 1:
                raise InputError(f"rotated = {shown(self.rotated)}: must be a share of the state, from 0 to 1")

        @property
        def inner(self) -> int:
            return self.expansion * self.width

        @property
        def pairs(self) -> int:
            """R: an odd dimension doesn't turn."""
            return int(self.rotated * self.state) // 2

        @property
        def parts(self) -> dict[str, tuple[int, int]]:
            """B, before its norm, and x."""
            return {"K": (2 * self.inner, 2 * self.inner + self.state), "V": (self.inner, 2 * self.inner)}

    def __init__(self, config: Config, canon: CanonFactory) -> None:
        super().__init__()
        self.heads, self.state, self.inner = config.heads, config.state, config.inner
        self.widths = [config.inner] * 2 + [config.state] * 2 + [config.heads] * 3 + [config.pairs]
        self.in_proj = nn.Linear(config.width, sum(self.widths), bias=False)
        self.canon = canon(sum(self.widths))
        self.dt_bias = nn.Parameter(time_step_bias(config.heads))
        self.B_norm, self.C_norm = (RMSNorm(config.state, config.norm_eps) for _ in range(2))
        self.B_bias, self.C_bias = (nn.Parameter(torch.ones(config.heads, config.state)) for _ in range(2))
        self.D = nn.Parameter(torch.ones(config.heads))
        self.out_proj = nn.Linear(config.inner, config.width, bias=False)

    def forward(
        self, x: Tensor, segment_ids: Tensor | None, state: MixerState | None
    ) -> tuple[Tensor, MixerState | None]:
        projected = self.canon(self.in_proj(x), segment_ids, state and state["canon"])
        z_BTN, x_BTN, b_BTK, c_BTK, *gates, theta_BTR = projected.split(self.widths, -1)
        precise = torch.promote_types(x.dtype, torch.float32)
        dt_BTH, rate_BTH, share_BTH = (gate.to(precise) for gate in gates)
        step_BTH = F.softplus(dt_BTH + self.dt_bias)
        log_decay_BTH = -step_BTH * F.softplus(rate_BTH).clamp(min=SLOWEST)
        angle_BTHR = self._angles(step_BTH, theta_BTR.to(precise), state)
        cos_BTHR, sin_BTHR = angle_BTHR.cos(), angle_BTHR.sin()
        q_BTHK = turn(self.C_norm(c_BTK)[:, :, None] + self.C_bias.to(c_BTK.dtype), cos_BTHR, sin_BTHR)
        k_BTHK = turn(self.B_norm(b_BTK)[:, :, None] + self.B_bias.to(b_BTK.dtype), cos_BTHR, sin_BTHR)
        x_BTHV = x_BTN.unflatten(-1, (self.heads, -1))
        past = self._past(state, segment_ids)
        inputs = (q_BTHK, k_BTHK, x_BTHV, log_decay_BTH, step_BTH, share_BTH.sigmoid())
        o_BTHV, (final_BHKV, k_BHK, v_BHV) = shifted(*inputs, past, segment_ids, self.implementation)
        remember(state, final_BHKV, segment_ids)
        if state is not None:
            state["k"].copy_(k_BHK.detach())
            state["v"].copy_(v_BHV.detach())
        y_BTN = (o_BTHV + self.D.to(x_BTHV.dtype)[:, None] * x_BTHV).flatten(2)
        return self.out_proj(y_BTN * F.silu(z_BTN)), state

    def _angles(self, step_BTH: Tensor, theta_BTR: Tensor, state: MixerState | None) -> Tensor:
        """The sum of all angles so far. It goes on over segments, since only differences of angles have an effect."""
        turn_BTHR = step_BTH[..., None] * (math.pi * theta_BTR.tanh())[:, :, None]
        # In double precision: over thousands of tokens a sum has few digits left for the difference of two neighbours.
        precise = turn_BTHR.dtype if turn_BTHR.device.type == "mps" else torch.float64  # which mps doesn't have
        angle_BTHR = _within_a_turn(_within_a_turn(turn_BTHR).to(precise).cumsum(1)).to(turn_BTHR.dtype)
        if state is not None:
            angle_BTHR = angle_BTHR + state["angle"][:, None]
            state["angle"].copy_(_within_a_turn(angle_BTHR[:, -1].detach()))
        return angle_BTHR

    def _past(self, state: MixerState | None, segment_ids: Tensor | None) -> Past | None:
        initial_BHKV = recall(state, segment_ids)
        if state is None or initial_BHKV is None:
            return None
        return initial_BHKV, state["k"], torch.where(goes_on(state, segment_ids)[:, None, None], state["v"], 0)

    def init_state(self, batch: int, max_len: int, dtype: torch.dtype, device: torch.device) -> MixerState:
        values, precise = self.inner // self.heads, torch.promote_types(dtype, torch.float32)
        return {
            **empty_state(batch, self.heads, self.state, values, dtype, device),
            "k": torch.zeros(batch, self.heads, self.state, dtype=dtype, device=device),
            "v": torch.zeros(batch, self.heads, values, dtype=dtype, device=device),
            "angle": torch.zeros(batch, self.heads, self.widths[-1], dtype=precise, device=device),
            "canon": self.canon.init_state(batch, dtype, device),
        }


def _within_a_turn(angle: Tensor) -> Tensor:
    """The angle from -pi to pi that is the same, so that sums stay small enough to be exact."""
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
