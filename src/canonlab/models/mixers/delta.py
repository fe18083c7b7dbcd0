"""What mixers with a delta rule share: how tokens become queries, keys and values, and the state that is kept.

Legend: B batch, T time, H heads, K key width, V value width (both of a head).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canonlab.errors import InputError, require_integer
from canonlab.models.layers import ShortConv, linear
from canonlab.models.mixers.base import CanonFactory, Mixer, MixerState
from canonlab.models.mixers.linear import linear_recurrence
from canonlab.models.mixers.recurrence import empty_state, recall, remember, width_of


@dataclass(frozen=True)
class DeltaConfig:
    """What all of them have.

    Attributes:
        key_share, value_share: Width of all heads' keys, or values, / width.
        conv1d: Their short convolution (b).
        conv_activation, conv_residual: Whether it has a SiLU, and adds its input.
        canon_after: Canon-B (or K, V) is after the SiLU, as in the released code, not before it, as in the paper.
    """

    width: int
    heads: int
    conv1d: bool = True
    key_share: float = 1.0
    value_share: float = 1.0
    conv_activation: bool = True
    conv_residual: bool = False
    canon_after: bool = False

    def __post_init__(self) -> None:
        require_integer("heads", self.heads, 1)
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
    def made(self) -> int:
        """Keys and values that are made of each token."""
        return 1

    @property
    def parts(self) -> dict[str, tuple[int, int]]:
        values = (1 + self.made) * self.key_width
        return {"K": (self.key_width, values), "V": (values, values + self.made * self.value_width)}


class DeltaMixer(Mixer):
    """q, k, v -> point B or b -> SiLU -> q and k of norm 1, q times K^(-1/2) -> a recurrence of `linear.py`.

    Canon-B sits on q, k, v concatenated, before the SiLU; gates never pass a convolution.
    """

    state_field = "key_share"

    def _build(self, config: DeltaConfig, canon: CanonFactory) -> None:
        """The parts that come first; a subclass makes its gates, its norm and its output after them."""
        self.heads, keys, values = config.heads, config.key_width, config.value_width
        self.head_widths = (keys // self.heads, values // self.heads)
        self.widths = [keys, config.made * keys, config.made * values]
        self.qkv = linear(config.width, sum(self.widths), std=0.02)
        self.canon = canon(sum(self.widths))
        shape = {"activation": config.conv_activation, "residual": config.conv_residual}
        self.conv = ShortConv(sum(self.widths), std=0.02, **shape) if config.conv1d else None
        self.canon_after = config.canon_after

    def _project(
        self, x: Tensor, segment_ids: Tensor | None, state: MixerState | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """q (B, T, H, K), k (B, T, n H, K) and v (B, T, n H, V), n made of each; q, k in single precision at least."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        qkv = self.qkv(x)
        if not self.canon_after:
            qkv = self.canon(qkv, segment_ids, state and state["canon"])
        qkv = F.silu(qkv) if self.conv is None else self.conv(qkv, segment_ids, state and state["conv"])
        if self.canon_after:
            qkv = self.canon(qkv, segment_ids, state and state["canon"])
        keys, values = self.head_widths
        q, k, v = (
            part.unflatten(-1, (-1, width))
            for part, width in zip(qkv.split(self.widths, -1), (keys, keys, values), strict=True)
        )
        return keys**-0.5 * unit(q.to(dtype)), unit(k.to(dtype)), v

    def _recur(
        self,
        q_BTHK: Tensor,
        k_BTHK: Tensor,
        v_BTHV: Tensor,
        log_decay: Tensor,
        read_BTHK: Tensor,
        segment_ids: Tensor | None,
        state: MixerState | None,
    ) -> Tensor:
        """The recurrence from the state and into it: o (B, T, H, V)."""
        o_BTHV, final_BHKV = linear_recurrence(
            q_BTHK,
            k_BTHK,
            v_BTHV,
            log_decay,
            read_BTHK=read_BTHK,
            initial_BHKV=recall(state, segment_ids),
            segment_ids=segment_ids,
            implementation=self.implementation,
        )
        remember(state, final_BHKV, segment_ids)
        return o_BTHV

    def init_state(self, batch: int, max_len: int, dtype: torch.dtype, device: torch.device) -> MixerState:
        return {
            **empty_state(batch, self.heads, *self.head_widths, dtype, device),
            "conv": {} if self.conv is None else self.conv.init_state(batch, dtype, device),
            "canon": self.canon.init_state(batch, dtype, device),
        }


def unit(x: Tensor) -> Tensor:
    """x / |x| over the last dimension, with the epsilon of the authors' code: under the root."""
    return x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt()


def log_decays(A_log: Tensor, step: Tensor, bias: Tensor) -> Tensor:
    """-exp(A_log) softplus(step + bias), at most 0, in single precision at least. Source: Mamba2, arXiv 2405.21060."""
    dtype = torch.promote_types(step.dtype, torch.float32)
    return -A_log.to(dtype).exp() * F.softplus(step.to(dtype) + bias.to(dtype))


def low_rank_std(rank: int) -> float:
    """Of two matrices whose product has the spread of one that is N(0, 0.02)."""
    return math.sqrt(0.02 / math.sqrt(rank))


def decay_rates(heads: int) -> nn.Parameter:
    """A_log of the heads: exp of it is uniform in (0, 16]; rand is in [0, 1), so there is never log 0."""
    return nn.Parameter((16 * (1 - torch.rand(heads))).log())
