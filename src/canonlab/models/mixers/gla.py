"""Gated linear attention: a matrix-valued state with a decay per key channel (Yang et al., arXiv 2312.06635).

    S_t = diag(a_t) S_{t-1} + k_t v_t^T        o_t = scale S_t^T q_t        0 <= a_t <= 1, scale = K^(-1/2)

per head, S_0 = 0. Equal forms: `recurrent` is the definition, `chunked` is for training, `stepped` too where states
are small, and a cached step is `recurrent` for one token. Decays are given as logarithms; a log decay of -inf starts a
new segment, exactly.

Legend: B batch, T time, C chunks, L positions in a chunk, N blocks in a chunk, H heads, K key width, V value width.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from canonlab.errors import InputError, require_integer, unknown
from canonlab.models.canon_points import NoCanon
from canonlab.models.layers import RMSNorm, ShortConv, linear, low_rank
from canonlab.models.mixers import fla, stepwise
from canonlab.models.mixers.base import CanonFactory, Mixer, MixerState
from canonlab.models.mixers.recurrence import begins, empty_state, first_state, recall, remember, width_of
from canonlab.models.mixers.scan import diagonal_scan
from canonlab.models.sizes import MOST_WIDTH

DECAY_RANK = 16
"""Inner width of the two matrices that give the decays."""

DECAY_ROOT = 16
"""a_t is the 16th root of a sigmoid: 0.96 at initialisation, a half-life of 16 tokens."""

CHUNK = 64
"""Positions in a chunk, a power of two: nearly as fast as 32 on a CPU, with half of the memory for states. A shorter
sequence is one chunk, of the smallest power of two that holds it."""

FEATURE_MAPS = ("identity", "elu")


def recurrent(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay_BTHK: Tensor,
    scale: float,
    initial_BHKV: Tensor | None = None,
    segment_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The definition, token by token: o (B, T, H, V) in the dtype of v, and the state after the last token.

    `initial_BHKV` is the state before the first token, None is zero; states have the dtype of the log decays, float32
    or float64. With `segment_ids` (B, T) the state is zero again wherever the id changes; the first segment continues
    from the initial.
    """
    state = first_state(initial_BHKV, v_BTHV, k_BTHK.shape[-1], log_decay_BTHK.dtype)
    log_decay_BTHK, outputs = _restart(log_decay_BTHK, segment_ids), []
    for q, k, v, log_decay in zip(*(x.unbind(1) for x in (q_BTHK, k_BTHK, v_BTHV, log_decay_BTHK)), strict=True):
        state = log_decay.exp()[..., None] * state + k[..., None] * v[..., None, :]
        outputs.append((scale * q[..., None] * state).sum(-2))
    return torch.stack(outputs, 1).to(v_BTHV.dtype), state


def chunked(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay_BTHK: Tensor,
    scale: float,
    initial_BHKV: Tensor | None = None,
    segment_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`recurrent` by matrix products over chunks of L positions; cost linear in T.

    With D(j, i] the product of the decays a_{j+1} .. a_i, and S the state before a chunk,

        o_i = scale (sum_{j <= i} (q_i . D(j, i] k_j) v_j + S^T D(start, i] q_i)
        S' = diag(D(start, end]) S + sum_j (D(j, end] k_j) v_j^T
    """
    initial_BHKV = first_state(initial_BHKV, v_BTHV, k_BTHK.shape[-1], log_decay_BTHK.dtype)
    log_decay_BTHK = _restart(log_decay_BTHK, segment_ids)
    time, length = q_BTHK.shape[1], 1
    # A power of two, because `_scores` doubles its blocks until one is left.
    while length < min(CHUNK, time):
        length *= 2
    padding = -time % length

    def chunks(x: Tensor) -> Tensor:  # padding has k = 0 and a log decay of 0, which leave the state as it is
        padded = F.pad(x, (0, 0, 0, 0, 0, padding)) if padding else x
        return padded.unflatten(1, (-1, length)).transpose(2, 3).contiguous()

    q, k, v, log_decay = (chunks(x) for x in (scale * q_BTHK, k_BTHK, v_BTHV, log_decay_BTHK))
    scores_BCHLL, since_start, until_end = _scores(q, k, log_decay)
    # Decays are float32 or float64; the products run in the dtype of v, where the time goes.
    update_BCHKV = (k * until_end.exp()).to(v.dtype).mT @ v
    decay_BCHK = since_start[..., -1, :].exp()
    before_BCHKV, final_BHKV = diagonal_scan(decay_BCHK, update_BCHKV.to(initial_BHKV.dtype), initial_BHKV)
    o_BCHLV = scores_BCHLL @ v + (q * since_start.exp()).to(v.dtype) @ before_BCHKV.to(v.dtype)
    return o_BCHLV.transpose(2, 3).flatten(1, 2)[:, :time], final_BHKV


def stepped(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay_BTHK: Tensor,
    scale: float,
    initial_BHKV: Tensor | None = None,
    segment_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`recurrent` in compiled code, for small states (`stepwise.fits`)."""
    first_BHKV = first_state(initial_BHKV, v_BTHV, k_BTHK.shape[-1], log_decay_BTHK.dtype)
    decay_BTHK = _restart(log_decay_BTHK, segment_ids).exp()
    ones_BTH = v_BTHV.new_ones(v_BTHV.shape[:3])
    return stepwise.rows(scale * q_BTHK, k_BTHK, v_BTHV, decay_BTHK, ones_BTH, first_BHKV, False)


def _restart(log_decay_BTHK: Tensor, segment_ids: Tensor | None) -> Tensor:
    """The log decays, -inf where a segment begins: nothing is left of the state before."""
    if segment_ids is None:
        return log_decay_BTHK
    return log_decay_BTHK.masked_fill(begins(segment_ids)[..., None, None], -torch.inf)


def _scores(q_BCHLK: Tensor, k_BCHLK: Tensor, log_decay_BCHLK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q_i . D(j, i] k_j for all i >= j of a chunk (B, C, H, L, L), log D(start, i] and log D(j, end] (B, C, H, L, K).

    D(j, i] depends on i, j and the channel, so the scores are no product of two matrices. But D(j, i] = D(j, m] D(m, i]
    for any m between: with m the middle of a block, the block's lower left quarter is a product, and the two on its
    diagonal are blocks of half the length. From the bottom up: blocks of 1, then pairs of blocks until one is left.
    Log decays are only ever added, all of one sign. So there is no overflow, no cancellation, and -inf is harmless.
    """
    scores = (q_BCHLK * k_BCHLK).sum(-1)[..., None, None]  # (B, C, H, N, length, length), as many blocks as positions
    since_start, until_end = log_decay_BCHLK, torch.zeros_like(log_decay_BCHLK)  # of the position's block
    while (length := scores.shape[-1]) < q_BCHLK.shape[3]:
        (start_0, start_1), (end_0, end_1), (_, q_1), (k_0, _) = (
            x.unflatten(3, (-1, 2, length)).unbind(4) for x in (since_start, until_end, q_BCHLK, k_BCHLK)
        )
        quarter = (q_1 * start_1.exp()).to(q_1.dtype) @ (k_0 * end_0.exp()).to(k_0.dtype).mT
        diagonal_0, diagonal_1 = scores.unflatten(3, (-1, 2)).unbind(4)
        scores = torch.cat([F.pad(diagonal_0, (0, length)), torch.cat([quarter, diagonal_1], -1)], -2)
        end_0, start_1 = end_0 + start_1[..., -1:, :], start_1 + start_0[..., -1:, :]
        since_start = torch.cat([start_0, start_1], -2).flatten(3, 4)
        until_end = torch.cat([end_0, end_1], -2).flatten(3, 4)
    return scores.squeeze(3), since_start, until_end


class GLA(Mixer):
    """q, k, v = W x (Canon B or convolution b on them); out(RMSNorm(o) * silu(gate(x))), the norm per head.

    a_t = sigmoid(W_2 W_1 x + bias)^(1/16) with W_1: width -> 16. About 4 width^2 parameters as the defaults have it.
    `gla5`: heads = width / 128, key_share = 1, value_share = 2, conv1d, gate_rank = 16, low_rank_std = sqrt(0.02 / 4).
    """

    state_field = "key_share"

    @dataclass(frozen=True)
    class Config:
        """Widths are shares of the model's width.

        Attributes:
            width: of the model.
            heads: they divide keys and values among them.
            key_share: width of all heads' keys / width.
            value_share: width of all heads' values / width.
            conv1d: the short convolution (kernel 4, SiLU) on q, k and v.
            gate_rank: rank of the output gate, which then has a bias; 0: a full matrix without.
            low_rank_std: initial standard deviation of both matrices of the decay and of a low-rank output gate. With
                s^2 = 0.02 / sqrt(rank) their product is N(0, 0.02)-like, as a full matrix.
            feature_map: identity, or elu: 1 + elu(.) on q and k, which makes them positive.
            norm_eps: of the norm of each head's output.
        """

        width: int
        heads: int = 4
        key_share: float = 0.5
        value_share: float = 1.0
        conv1d: bool = False
        gate_rank: int = 0
        low_rank_std: float = 0.02
        feature_map: str = "identity"
        norm_eps: float = 1e-6

        def __post_init__(self) -> None:
            require_integer("heads", self.heads, 1)
            require_integer("gate_rank", self.gate_rank, 0, MOST_WIDTH)
            for name in ("key", "value"):
                if (width := getattr(self, f"{name}_width")) % self.heads:
                    raise InputError(
                        f"{name}_share = {getattr(self, f'{name}_share')}: {name}_share * width = {width} must be a "
                        f"multiple of the {self.heads} heads"
                    )
            if self.feature_map not in FEATURE_MAPS:
                raise unknown("feature_map", self.feature_map, FEATURE_MAPS)

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
        keys, values = config.key_width, config.value_width
        self.heads, self.widths, self.feature_map = config.heads, (keys, keys, values), config.feature_map
        self.qkv = linear(config.width, sum(self.widths), std=0.02)
        self.canon = canon(sum(self.widths))
        self.conv = ShortConv(sum(self.widths), std=0.02) if config.conv1d else NoCanon()
        self.decay = low_rank(config.width, DECAY_RANK, keys, config.low_rank_std)
        self.norm = RMSNorm(values // config.heads, config.norm_eps)
        self.gate = (
            low_rank(config.width, config.gate_rank, values, config.low_rank_std)
            if config.gate_rank
            else linear(config.width, values, std=0.02)
        )
        self.out = linear(values, config.width, std=0.02)

    def forward(
        self, x: Tensor, segment_ids: Tensor | None, state: MixerState | None
    ) -> tuple[Tensor, MixerState | None]:
        qkv = self.canon(self.qkv(x), segment_ids, state and state["canon"])
        qkv = self.conv(qkv, segment_ids, state and state["conv"])
        q_BTHK, k_BTHK, v_BTHV = (part.unflatten(-1, (self.heads, -1)) for part in qkv.split(self.widths, -1))
        if self.feature_map == "elu":
            q_BTHK, k_BTHK = 1 + F.elu(q_BTHK), 1 + F.elu(k_BTHK)
        pre = self.decay(x).unflatten(-1, (self.heads, -1))
        log_decay_BTHK = F.logsigmoid(pre.to(torch.promote_types(pre.dtype, torch.float32))) / DECAY_ROOT
        scale, initial = q_BTHK.shape[-1] ** -0.5, recall(state, segment_ids)
        if x.shape[1] == 1:
            form = recurrent
        elif self.implementation == "numba" and stepwise.fits(v_BTHV, k_BTHK.shape[-1], v_BTHV.shape[-1]):
            form = stepped
        else:
            form = fla.gla if self.implementation == "fla" else chunked
        o_BTHV, final_BHKV = form(q_BTHK, k_BTHK, v_BTHV, log_decay_BTHK, scale, initial, segment_ids)
        remember(state, final_BHKV, segment_ids)
        return self.out(self.norm(o_BTHV).flatten(2) * F.silu(self.gate(x))), state

    def init_state(self, batch: int, max_len: int, dtype: torch.dtype, device: torch.device) -> MixerState:
        keys, _, values = (width // self.heads for width in self.widths)
        return {
            **empty_state(batch, self.heads, keys, values, dtype, device),
            "canon": self.canon.init_state(batch, dtype, device),
            "conv": self.conv.init_state(batch, dtype, device),
        }
