"""Mamba2: a linear recurrence with one decay per head, whose step size, keys and queries depend on the token.

Source: "Transformers are SSMs", arXiv 2405.21060. Per head, with a state S (K x V), from S_0 = 0:

    S_t = a_t S_{t-1} + k_t v_t^T,    o_t = S_t^T q_t                                  (1)

In Mamba2's letters q is C, k is B (both shared by all heads), v is Delta x and log a is Delta A. Equal forms:
`recurrent` is (1), `chunked` is for training, `stepped` too where states are small, and a cached step is (1).

The chunked form (state space duality, section 6 there) cuts time into chunks of L positions. With b_t the sum of log a
from the chunk's first position to t included, and S the state before the chunk:

    o_t = sum_{s <= t} exp(b_t - b_s) (q_t . k_s) v_s  +  exp(b_t) S^T q_t             (2)
    S'  = exp(b_L) S  +  sum_s exp(b_L - b_s) k_s v_s^T                                (3)

No exponent is ever positive. The products q_t . k_s, S^T q_t and k_s v_s^T of all heads are one matrix product each.

Legend: B batch, T time, C chunks, L positions in a chunk, H heads, K key width, V value width, N = H V inner width.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canonlab.errors import InputError, require_integer, unknown
from canonlab.models.canon_points import NoCanon
from canonlab.models.layers import RMSNorm, ShortConv, inverse_softplus, time_step_bias
from canonlab.models.mixers import fla, stepwise
from canonlab.models.mixers.base import CanonFactory, Mixer, MixerState
from canonlab.models.mixers.recurrence import (
    LOG_DECAY_FLOOR,
    begins,
    empty_state,
    first_state,
    recall,
    remember,
    within_chunks,
)
from canonlab.models.mixers.scan import diagonal_scan
from canonlab.models.sizes import MOST_WIDTH

CHUNK = 32
"""Positions in a chunk: the fastest of 16, 32, 64 and 128 on a CPU, forward and backward at width 512."""

DECAY_INITS = ("range", "uniform")
INITS = ("default", "mimetic")


def recurrent(
    q_BTK: Tensor,
    k_BTK: Tensor,
    v_BTHV: Tensor,
    log_decay_BTH: Tensor,
    initial_BHKV: Tensor | None = None,
    segment_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Equation (1), one token after the other.

    log_decay is log a <= 0, in float32 or float64, in which the state is kept. The recurrence starts anew wherever
    segment_ids (B, T) changes along time; the initial state, zeros if None, belongs to the first token's segment.

    Returns o (B, T, H, V) in the dtype of v, and the state after the last token (B, H, K, V).
    """
    state_BHKV = first_state(initial_BHKV, v_BTHV, k_BTK.shape[-1], log_decay_BTH.dtype)
    begins_BT = None if segment_ids is None else begins(segment_ids)
    outputs = []
    for t in range(v_BTHV.shape[1]):
        if begins_BT is not None:
            state_BHKV = torch.where(begins_BT[:, t, None, None, None], 0, state_BHKV)
        kv_BHKV = k_BTK[:, t, None, :, None] * v_BTHV[:, t, :, None, :]
        state_BHKV = log_decay_BTH[:, t, :, None, None].exp() * state_BHKV + kv_BHKV
        outputs.append((q_BTK[:, t, None, :, None] * state_BHKV).sum(-2))
    return torch.stack(outputs, 1).to(v_BTHV.dtype), state_BHKV


def chunked(
    q_BTK: Tensor,
    k_BTK: Tensor,
    v_BTHV: Tensor,
    log_decay_BTH: Tensor,
    initial_BHKV: Tensor | None = None,
    segment_ids: Tensor | None = None,
    chunk: int = CHUNK,
) -> tuple[Tensor, Tensor]:
    """Equations (2) and (3): what `recurrent` returns, in time linear in T and with matrix products of `chunk` rows."""
    time, heads, values = v_BTHV.shape[1:]
    length = min(chunk, time)
    missing = -time % length  # filled with tokens that neither decay the state nor add to it

    def cut(x: Tensor) -> Tensor:
        return F.pad(x, [0, 0] * (x.ndim - 2) + [0, missing]).unflatten(1, (-1, length))

    q_BCLK, k_BCLK, v_BCLHV = cut(q_BTK), cut(k_BTK), cut(v_BTHV)
    sum_BCLH = cut(log_decay_BTH.clamp(min=LOG_DECAY_FLOOR)).cumsum(2)
    total_BCH = sum_BCLH[:, :, -1]
    from_start_BCLH, to_end_BCLH = sum_BCLH.exp(), (total_BCH[:, :, None] - sum_BCLH).exp()
    across_BCH = total_BCH.exp()
    visible = torch.ones(length, length, dtype=torch.bool, device=v_BTHV.device).tril()
    if segment_ids is not None:
        together_BCLL, with_before_BCL, with_last_BCL = within_chunks(segment_ids, length)
        from_start_BCLH = from_start_BCLH * with_before_BCL[..., None]
        to_end_BCLH = to_end_BCLH * with_last_BCL[..., None]
        across_BCH = across_BCH * with_before_BCL[:, :, -1:]
        visible = visible & together_BCLL[:, :, None]

    # (2), first term. What isn't visible is masked before the exponential: of a later s it could overflow, and infinity
    # times 0 is not a number. The products q . k are the same for all heads.
    sum_BCHL = sum_BCLH.mT
    decay_BCHLL = (sum_BCHL[..., :, None] - sum_BCHL[..., None, :]).masked_fill(~visible, -math.inf).exp()
    weight_BCHLL = decay_BCHLL * (q_BCLK @ k_BCLK.mT)[:, :, None]
    within_BCHLV = weight_BCHLL.to(v_BTHV.dtype) @ v_BCLHV.transpose(2, 3)

    # (3). The values of all heads stand side by side, so that one product serves them all.
    weighted_BCLN = (to_end_BCLH[..., None] * v_BCLHV).flatten(3).to(v_BTHV.dtype)
    update_BCKHV = (k_BCLK.mT @ weighted_BCLN).to(log_decay_BTH.dtype).unflatten(-1, (heads, values))
    # The scan treats its third and fourth dimension alike, so keys and heads may trade places: no transposed copies.
    initial_BHKV = first_state(initial_BHKV, v_BTHV, k_BTK.shape[-1], log_decay_BTH.dtype)
    initial_BKHV = initial_BHKV.transpose(1, 2).contiguous()
    across_BCKH = across_BCH[:, :, None].expand(update_BCKHV.shape[:-1])
    before_BCKHV, final_BKHV = diagonal_scan(across_BCKH, update_BCKHV, initial_BKHV)
    # (2), second term: what is left of the state before the chunk.
    earlier_BCLHV = (q_BCLK @ before_BCKHV.flatten(3).to(v_BTHV.dtype)).unflatten(-1, (heads, values))

    o_BCLHV = within_BCHLV.transpose(2, 3) + from_start_BCLH[..., None] * earlier_BCLHV
    return o_BCLHV.flatten(1, 2)[:, :time].to(v_BTHV.dtype), final_BKHV.transpose(1, 2)


def stepped(
    q_BTK: Tensor,
    k_BTK: Tensor,
    v_BTHV: Tensor,
    log_decay_BTH: Tensor,
    initial_BHKV: Tensor | None = None,
    segment_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`recurrent` in compiled code, for small states (`stepwise.fits`)."""
    first_BHKV = first_state(initial_BHKV, v_BTHV, k_BTK.shape[-1], log_decay_BTH.dtype)
    decay_BTH = log_decay_BTH.exp()
    if segment_ids is not None:
        decay_BTH = decay_BTH.masked_fill(begins(segment_ids)[..., None], 0)
    o_BTN, final_BKN = stepwise.columns(
        q_BTK, k_BTK, v_BTHV.flatten(2), decay_BTH, first_BHKV.transpose(1, 2).flatten(2)
    )
    heads, values = v_BTHV.shape[2:]
    return o_BTN.unflatten(2, (heads, values)), final_BKN.unflatten(2, (heads, values)).transpose(1, 2)


class Mamba2(Mixer):
    """The Mamba2 layer around recurrence (1), with inner width 2d, 16 heads, and one B and C for all heads.

        z, x, B, C, dt = W_in u                   canon point B acts on all of these, width 4d + 2 state + heads
        x, B, C = silu(conv(x, B, C) + bias)      canon point b: `conv1d`; without it x, B, C stay as they are
        Delta = softplus(dt + dt_bias),  A = -exp(A_log)
        y = recurrence(q = C, k = B, v = Delta x, log a = Delta A) + D x
        W_out RMSNorm(y silu(z))                  the norm over the whole inner width

    Initialisation: linear layers and convolution as PyTorch initialises them, D = 1, softplus(dt_bias) log-uniform in
    [1e-3, 0.1], and A = -1, -2, .. -heads (`decay_init` "range") or -U(1, 16) ("uniform").

    `init` "mimetic" (arXiv 2410.11135): the layer begins as linear attention in which like tokens attend to each other.
    Four things differ: A_log = -8, so that exp(Delta A) = 0.9997; W_dt = 0 and dt_bias = 0.54, so that Delta = 1;
    W_C = W_B, so that W_C^T W_B is (state / 3d) I in expectation; and a convolution that passes the current token on,
    its newest tap 1, the others and the bias 0.
    """

    state_field = "state"

    @dataclass(frozen=True)
    class Config:
        """`state` is K, the width of B and C; `expansion` is inner width / width. `heads` share the inner width.

        `conv_activation`, `conv_residual`: whether the convolution has a SiLU, and adds its input.
        """

        width: int
        heads: int = 16
        state: int = 64
        expansion: int = 2
        conv1d: bool = True
        decay_init: str = "range"
        init: str = "default"
        norm_eps: float = 1e-5
        conv_activation: bool = True
        conv_residual: bool = False

        def __post_init__(self) -> None:
            for name in ("heads", "state", "expansion"):
                require_integer(name, getattr(self, name), 1, MOST_WIDTH)
            if self.inner % self.heads:
                raise InputError(f"heads = {self.heads}: must divide the inner width {self.inner}")
            if self.decay_init not in DECAY_INITS:
                raise unknown("decay_init", self.decay_init, DECAY_INITS)
            if self.init not in INITS:
                raise unknown("init", self.init, INITS)

        @property
        def inner(self) -> int:
            return self.expansion * self.width

        @property
        def parts(self) -> dict[str, tuple[int, int]]:
            """B and x, before the convolution."""
            return {"K": (2 * self.inner, 2 * self.inner + self.state), "V": (self.inner, 2 * self.inner)}

    def __init__(self, config: Config, canon: CanonFactory) -> None:
        super().__init__()
        self.heads, self.state = config.heads, config.state
        mixed = config.inner + 2 * config.state  # x, B and C
        self.widths = [config.inner, mixed, config.heads]
        self.in_proj = nn.Linear(config.width, sum(self.widths), bias=False)
        self.canon = canon(sum(self.widths))
        shape = {"activation": config.conv_activation, "residual": config.conv_residual}
        self.conv = ShortConv(mixed, bias=True, **shape) if config.conv1d else NoCanon()
        decays = torch.arange(1.0, config.heads + 1)
        if config.decay_init == "uniform":
            decays = torch.empty(config.heads).uniform_(1, 16)
        self.A_log = nn.Parameter(decays.log())
        self.dt_bias = nn.Parameter(time_step_bias(config.heads))
        self.D = nn.Parameter(torch.ones(config.heads))
        self.norm = RMSNorm(config.inner, config.norm_eps)
        self.out_proj = nn.Linear(config.inner, config.width, bias=False)
        if config.init == "mimetic":
            self._mimic_attention()

    @torch.no_grad()
    def _mimic_attention(self) -> None:
        self.A_log.fill_(-8.0)
        self.dt_bias.copy_(inverse_softplus(torch.ones_like(self.dt_bias)))
        *_, keys, queries, steps = self.in_proj.weight.split(
            [self.widths[0], self.widths[1] - 2 * self.state, self.state, self.state, self.heads]
        )
        queries.copy_(keys)
        steps.zero_()
        if isinstance(self.conv, ShortConv):
            for parameter in self.conv.parameters():
                parameter.zero_()
            self.conv.conv.weight[0] = 1.0

    def forward(
        self, x: Tensor, segment_ids: Tensor | None, state: MixerState | None
    ) -> tuple[Tensor, MixerState | None]:
        projected = self.canon(self.in_proj(x), segment_ids, state and state["canon"])
        z_BTN, xbc, dt_BTH = projected.split(self.widths, dim=-1)
        xbc = self.conv(xbc, segment_ids, state and state["conv"])
        x_BTN, b_BTK, c_BTK = xbc.split([self.widths[0], self.state, self.state], dim=-1)
        x_BTHV = x_BTN.unflatten(-1, (self.heads, -1))
        delta_BTH = F.softplus(dt_BTH.to(torch.promote_types(dt_BTH.dtype, torch.float32)) + self.dt_bias)
        log_decay_BTH = -delta_BTH * self.A_log.to(delta_BTH.dtype).exp()
        v_BTHV = (delta_BTH[..., None] * x_BTHV).to(x_BTHV.dtype)
        y_BTHV = self._recur(c_BTK, b_BTK, v_BTHV, log_decay_BTH, segment_ids, state)
        y_BTN = (y_BTHV + self.D[:, None] * x_BTHV).flatten(2)
        return self.out_proj(self.norm(y_BTN * F.silu(z_BTN)).to(z_BTN.dtype)), state

    def _recur(
        self,
        c_BTK: Tensor,
        b_BTK: Tensor,
        v_BTHV: Tensor,
        log_decay_BTH: Tensor,
        segment_ids: Tensor | None,
        state: MixerState | None,
    ) -> Tensor:
        """The recurrence by whatever computes it here, from the state and into it."""
        initial_BHKV = recall(state, segment_ids)
        if state is not None and v_BTHV.shape[1] == 1:
            o_BTHV, final_BHKV = recurrent(c_BTK, b_BTK, v_BTHV, log_decay_BTH, initial_BHKV)
        elif self.implementation == "fla":
            c_BTHK, b_BTHK = (t[:, :, None].expand(-1, -1, self.heads, -1) for t in (c_BTK, b_BTK))
            o_BTHV, final_BHKV = fla.linear(
                c_BTHK, b_BTHK, v_BTHV, log_decay_BTH, initial_BHKV=initial_BHKV, segment_ids=segment_ids
            )
        elif self.implementation == "numba" and stepwise.fits(v_BTHV, self.state, self.widths[0]):
            o_BTHV, final_BHKV = stepped(c_BTK, b_BTK, v_BTHV, log_decay_BTH, initial_BHKV, segment_ids)
        else:
            o_BTHV, final_BHKV = chunked(c_BTK, b_BTK, v_BTHV, log_decay_BTH, initial_BHKV, segment_ids)
        remember(state, final_BHKV, segment_ids)
        return o_BTHV

    def init_state(self, batch: int, max_len: int, dtype: torch.dtype, device: torch.device) -> MixerState:
        return {
            **empty_state(batch, self.heads, self.state, self.widths[0] // self.heads, dtype, device),
            "conv": self.conv.init_state(batch, dtype, device),
            "canon": self.canon.init_state(batch, dtype, device),
        }
