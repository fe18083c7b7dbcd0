"""Gated DeltaNet: a linear recurrence that overwrites what it remembers under a key.

Per head, with a_t the decay, beta_t the share that is overwritten, and k_t of norm 1:

    S_t = a_t (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T,    o_t = S_t^T q_t * scale.

The state S is K x V here. `recurrent` is this definition. `chunked` computes the same in products over chunks of L
positions. Write g_i for the sum of the log decays of a chunk's positions up to i, and S for the state before the chunk.
What position i writes under its key is

    u_i = beta_i (v_i - e^{g_i} S^T k_i - sum_{j<i} e^{g_i - g_j} (k_i . k_j) u_j),

which is a unit lower triangular system: with M_ij = beta_i e^{g_i - g_j} (k_i . k_j) for j < i, and
W = (I + M)^{-1} diag(beta),

    u   = W v - W diag(e^g) k S
    o_i = (e^{g_i} S^T q_i + sum_{j<=i} e^{g_i - g_j} (q_i . k_j) u_j) * scale
    S'  = e^{g_L} S + sum_j e^{g_L - g_j} k_j u_j^T.

Everything but the loop over S (`delta_scan`) is done for all chunks at once, and every exponent is at most 0.
`recurrent`, `chunked`, `stepped` (for small states) and `fla.gated_delta` take and give the same. A cached step is
`recurrent` for one position.

Sources: Yang, Kautz, Hatamizadeh, Gated Delta Networks, arXiv 2412.06464, sections 3 and 4; Yang et al., Parallelizing
Linear Transformers with the Delta Rule, arXiv 2406.06484, for the chunks.
Legend: B batch, T time, C chunks, L positions in a chunk, H heads, K key width, V value width (both of a head).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canonlab.errors import InputError, require_integer
from canonlab.models.layers import RMSNorm, ShortConv, linear, low_rank, time_step_bias
from canonlab.models.mixers import fla, stepwise
from canonlab.models.mixers.base import CanonFactory, Mixer, MixerState
from canonlab.models.mixers.recurrence import (
    LOG_DECAY_FLOOR,
    begins,
    empty_state,
    first_state,
    recall,
    remember,
    width_of,
    within_chunks,
)
from canonlab.models.mixers.scan import delta_scan
from canonlab.models.sizes import MOST_WIDTH

CHUNK = 64
"""Positions in a chunk: of 16 to 128 within 4% of the fastest on a CPU, in fp32 and bf16, for 512 and 4096 tokens."""


def recurrent(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    beta_BTH: Tensor,
    log_decay_BTH: Tensor,
    scale: float,
    initial_BHKV: Tensor | None = None,
    segment_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The definition, one position after the other.

    Args:
        beta_BTH: in [0, 1]; its dtype is that of the arithmetic and of the state.
        log_decay_BTH: log a_t, at most 0.
        initial_BHKV: the state before the first position, in its segment; None is zero.
        segment_ids: (B, T); the state is zero again wherever it changes along T.

    Returns:
        o (B, T, H, V) in the dtype of v, and the state after the last position (B, H, K, V).
    """
    dtype = beta_BTH.dtype
    q_BTHK, k_BTHK, v_BTHV, v_dtype = q_BTHK.to(dtype), k_BTHK.to(dtype), v_BTHV.to(dtype), v_BTHV.dtype
    state_BHKV = first_state(initial_BHKV, v_BTHV, k_BTHK.shape[-1], dtype)
    begins_BT = None if segment_ids is None else begins(segment_ids)
    outputs = []
    for t in range(q_BTHK.shape[1]):
        if begins_BT is not None:
            state_BHKV = torch.where(begins_BT[:, t, None, None, None], 0, state_BHKV)
        k_BHK1, q_BHK1 = k_BTHK[:, t, :, :, None], q_BTHK[:, t, :, :, None]
        state_BHKV = log_decay_BTH[:, t, :, None, None].exp() * state_BHKV
        error_BHV = v_BTHV[:, t] - (k_BHK1 * state_BHKV).sum(-2)
        state_BHKV = state_BHKV + k_BHK1 * (beta_BTH[:, t, :, None] * error_BHV)[..., None, :]
        outputs.append((q_BHK1 * state_BHKV).sum(-2) * scale)
    return torch.stack(outputs, 1).to(v_dtype), state_BHKV


def chunked(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    beta_BTH: Tensor,
    log_decay_BTH: Tensor,
    scale: float,
    initial_BHKV: Tensor | None = None,
    segment_ids: Tensor | None = None,
    chunk: int = CHUNK,
) -> tuple[Tensor, Tensor]:
    """As `recurrent`, in chunks of `chunk` positions: the work grows linearly with T and is done in matrix products."""
    # Under autocast products alone are in half precision: the triangular system hands errors on from token to token.
    dtype, time, v_dtype = beta_BTH.dtype, q_BTHK.shape[1], v_BTHV.dtype
    length = min(chunk, time)
    q_BTHK, k_BTHK, v_BTHV = q_BTHK.to(dtype), k_BTHK.to(dtype), v_BTHV.to(dtype)
    # The last chunk is filled up with positions that write nothing and let nothing decay.
    q_BCHLK, k_BCHLK, v_BCHLV, beta_BCHL = (_split(x, length) for x in (q_BTHK, k_BTHK, v_BTHV, beta_BTH))
    within_BCHLL, from_start_BCHL, to_end_BCHL = _decays(_split(log_decay_BTH, length), segment_ids)

    m_BCHLL = beta_BCHL[..., None] * within_BCHLL * (k_BCHLK @ k_BCHLK.mT)
    identity = torch.eye(length, dtype=dtype, device=m_BCHLL.device).expand_as(m_BCHLL)
    # (I + M)^-1 itself, as v and k both need it. Of M only the entries below the diagonal are read.
    inverse_BCHLL = torch.linalg.solve_triangular(m_BCHLL, identity, upper=False, unitriangular=True)
    w_BCHLL = inverse_BCHLL * beta_BCHL[..., None, :]
    # The only loop over chunks: S' = e^{g_L} S + (e^{g_L - g} k)^T u with u = W v - (W e^g k) S.
    before_BCHKV, u_BCHLV, final_BHKV = delta_scan(
        from_start_BCHL[..., -1],
        k_BCHLK * to_end_BCHL[..., None],
        ((w_BCHLL * from_start_BCHL[..., None, :]) @ k_BCHLK).to(dtype),
        (w_BCHLL @ v_BCHLV).to(dtype),
        first_state(initial_BHKV, v_BTHV, k_BTHK.shape[-1], dtype),
    )
    q_BCHLK = q_BCHLK * scale
    o_BCHLV = (q_BCHLK * from_start_BCHL[..., None]) @ before_BCHKV
    o_BCHLV = o_BCHLV + (within_BCHLL * (q_BCHLK @ k_BCHLK.mT)) @ u_BCHLV
    return o_BCHLV.transpose(2, 3).flatten(1, 2)[:, :time].to(v_dtype), final_BHKV


def stepped(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    beta_BTH: Tensor,
    log_decay_BTH: Tensor,
    scale: float,
    initial_BHKV: Tensor | None = None,
    segment_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`recurrent` in compiled code, for small states (`stepwise.fits`)."""
    first_BHKV = first_state(initial_BHKV, v_BTHV, k_BTHK.shape[-1], beta_BTH.dtype)
    decay_BTH = log_decay_BTH.exp()
    if segment_ids is not None:
        decay_BTH = decay_BTH.masked_fill(begins(segment_ids)[..., None], 0)
    decay_BTHK = decay_BTH[..., None].expand(k_BTHK.shape)
    return stepwise.rows(scale * q_BTHK, k_BTHK, v_BTHV, decay_BTHK, beta_BTH, first_BHKV, True)


def _split(x: Tensor, length: int) -> Tensor:
    """(B, T, H, ...) -> (B, C, H, L, ...), filled up with zeros."""
    missing = -x.shape[1] % length
    return F.pad(x, (0, 0) * (x.ndim - 2) + (0, missing)).unflatten(1, (-1, length)).transpose(2, 3)


def _decays(log_decay_BCHL: Tensor, segment_ids: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """How much is left, 0 across the start of a segment.

    At position i of what j <= i wrote, e^{g_i - g_j} (B, C, H, L, L). At i of the state before the chunk, e^{g_i}
    (B, C, H, L). At the chunk's end of what j wrote, e^{g_L - g_j} (B, C, H, L).
    """
    length = log_decay_BCHL.shape[-1]
    g_BCHL = log_decay_BCHL.clamp(min=LOG_DECAY_FLOOR).cumsum(-1)
    from_start_BCHL, to_end_BCHL = g_BCHL.exp(), (g_BCHL[..., -1:] - g_BCHL).exp()
    seen = torch.ones(length, length, dtype=torch.bool, device=g_BCHL.device).tril()
    if segment_ids is not None:
        together_BC1LL, with_before_BC1L, with_last_BC1L = (x[:, :, None] for x in within_chunks(segment_ids, length))
        seen = seen & together_BC1LL
        from_start_BCHL = from_start_BCHL * with_before_BC1L
        to_end_BCHL = to_end_BCHL * with_last_BC1L
    within_BCHLL = (g_BCHL[..., None] - g_BCHL[..., None, :]).masked_fill(~seen, -torch.inf).exp()
    return within_BCHLL, from_start_BCHL, to_end_BCHL


class GatedDeltaNet(Mixer):
    """q, k, v -> point B or b -> SiLU -> q, k of norm 1 -> the recurrence -> norm per head * silu(gate) -> projection.

    Canon-B sits on q, k, v concatenated (K H + K H + V H), before the SiLU; the gates never pass a convolution.
    beta_t = sigmoid(W_b x) and a_t = exp(-exp(A_log) softplus(W_a x + dt_bias)), one of each a head.
    """

    state_field = "key_share"

    @dataclass(frozen=True)
    class Config:
        """Keys are `key_share` width wide over all heads, values `value_share` width.

        `gate_rank` 0 gives the output gate a full matrix, r > 0 the product of two of rank r and a bias: gdn2 is shares
        of 1 and 2 with rank 16, again about 6 width^2 parameters.
        """

        width: int
        heads: int
        conv1d: bool = True
        key_share: float = 0.75
        value_share: float = 1.5
        gate_rank: int = 0
        norm_eps: float = 1e-6

        def __post_init__(self) -> None:
            require_integer("heads", self.heads, 1)
            require_integer("gate_rank", self.gate_rank, 0, MOST_WIDTH)
            common = math.gcd(self.key_width, self.value_width)
            if common % self.heads:
                fitting = ", ".join(str(n) for n in range(1, common + 1) if common % n == 0)
                raise InputError(
                    f"heads = {self.heads}: must divide the key width {self.key_width} and the value width "
                    f"{self.value_width} of width {self.width} (allowed: {fitting})"
                )

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
        width, heads, keys, values = config.width, config.heads, config.key_width, config.value_width
        self.heads, self.keys, self.values = heads, keys, values
        self.qkv = linear(width, 2 * keys + values, std=0.02)
        self.canon = canon(2 * keys + values)
        self.conv = ShortConv(2 * keys + values, std=0.02) if config.conv1d else None
        self.beta_and_decay = linear(width, 2 * heads, std=0.02)
        self.A_log = nn.Parameter((16 * (1 - torch.rand(heads))).log())  # rand is in [0, 1): never log 0
        self.dt_bias = nn.Parameter(time_step_bias(heads))
        if rank := config.gate_rank:  # the product of both matrices has the spread of one that is N(0, 0.02)
            self.gate: nn.Module = low_rank(width, rank, values, std=(0.02 / rank**0.5) ** 0.5)
        else:
            self.gate = linear(width, values, std=0.02)
        self.norm = RMSNorm(values // heads, config.norm_eps)
        self.out = linear(values, width, std=0.02)

    def forward(
        self, x: Tensor, segment_ids: Tensor | None, state: MixerState | None
    ) -> tuple[Tensor, MixerState | None]:
        dtype = torch.promote_types(x.dtype, torch.float32)
        qkv = self.canon(self.qkv(x), segment_ids, state and state["canon"])
        qkv = F.silu(qkv) if self.conv is None else self.conv(qkv, segment_ids, state and state["conv"])
        q_BTHK, k_BTHK, v_BTHV = (
            part.unflatten(-1, (self.heads, -1)) for part in qkv.split([self.keys, self.keys, self.values], -1)
        )
        q_BTHK, k_BTHK = _unit(q_BTHK.to(dtype)), _unit(k_BTHK.to(dtype))
        beta_BTH, dt_BTH = self.beta_and_decay(x).to(dtype).chunk(2, -1)
        log_decay_BTH = -self.A_log.to(dtype).exp() * F.softplus(dt_BTH + self.dt_bias.to(dtype))
        scale, initial = (self.keys // self.heads) ** -0.5, recall(state, segment_ids)
        beta_BTH = beta_BTH.sigmoid()
        if x.shape[1] == 1:
            form = recurrent
        elif self.implementation == "numba" and stepwise.fits(v_BTHV, k_BTHK.shape[-1], v_BTHV.shape[-1]):
            form = stepped
        else:
            form = fla.gated_delta if self.implementation == "fla" else chunked
        o_BTHV, final_BHKV = form(q_BTHK, k_BTHK, v_BTHV, beta_BTH, log_decay_BTH, scale, initial, segment_ids)
        remember(state, final_BHKV, segment_ids)
        gate_BTHV = self.gate(x).unflatten(-1, (self.heads, -1))
        return self.out((self.norm(o_BTHV) * F.silu(gate_BTHV)).flatten(2)), state

    def init_state(self, batch: int, max_len: int, dtype: torch.dtype, device: torch.device) -> MixerState:
        return {
            **empty_state(batch, self.heads, self.keys // self.heads, self.values // self.heads, dtype, device),
            "conv": {} if self.conv is None else self.conv.init_state(batch, dtype, device),
            "canon": self.canon.init_state(batch, dtype, device),
        }


def _unit(x: Tensor) -> Tensor:
    """x / |x| over the last dimension, with the epsilon of the authors' code: under the root."""
    return x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt()
