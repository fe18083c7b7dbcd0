"""Small parts that several architectures share: norms, projections, short convolutions, time steps."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canonlab.canon import Canon


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last dimension; the result has the dtype in which autocast's products run."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return _for_products(F.rms_norm(_single(x), x.shape[-1:], self.weight, self.eps), x)


class LayerNorm(nn.Module):
    """(x - mean(x)) / std(x) * weight + bias over the last dimension; dtypes as for RMSNorm."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return _for_products(F.layer_norm(_single(x), x.shape[-1:], self.weight, self.bias, self.eps), x)


NORMS: dict[str, type[RMSNorm] | type[LayerNorm]] = {"rms": RMSNorm, "layer": LayerNorm}


def _single(x: Tensor) -> Tensor:
    """x in at least single precision: statistics of a half-precision x would lose too much."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _for_products(y: Tensor, x: Tensor) -> Tensor:
    """y in the dtype of x or, under autocast, in that of the products.

    What follows a norm is a projection, which would cast anyway. Casting before the Canon layer that may stand between
    halves the bytes that it moves, for one more rounding.
    """
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return y.to(torch.get_autocast_dtype(device))
    return y.to(x.dtype)


def low_rank(width_in: int, rank: int, width_out: int, std: float) -> nn.Sequential:
    """A product of two matrices N(0, std), then a bias of 0."""
    return nn.Sequential(linear(width_in, rank, std), linear(rank, width_out, std, bias=True))


FIXED = "_fixed_std"
"""The attribute of a matrix whose initial standard deviation doesn't hang on the model's width."""


def fixed(weight: Tensor, std: float) -> Tensor:
    """A matrix with entries N(0, std), for `DecoderConfig.init_scale` to find."""
    nn.init.normal_(weight, std=std)
    setattr(weight, FIXED, True)
    return weight


def scale_fixed(module: nn.Module, scale: float) -> None:
    """Multiply all such matrices of a module."""
    with torch.no_grad():
        for parameter in module.parameters():
            if getattr(parameter, FIXED, False):
                parameter.mul_(scale)


def linear(width_in: int, width_out: int, std: float | None, bias: bool = False) -> nn.Linear:
    """A projection initialised N(0, std), its bias 0; with std None both as PyTorch initialises them."""
    layer = nn.Linear(width_in, width_out, bias=bias)
    if std is not None:
        fixed(layer.weight, std)
        if bias:
            nn.init.zeros_(layer.bias)
    return layer


class ShortConv(nn.Module):
    """silu(conv(x) + bias), causal and depthwise, without a residual: what linear mixers bring along, Canon point b.

    `std` initialises the taps N(0, std); None leaves them, and the bias, as PyTorch initialises a depthwise Conv1d. The
    convolution is a Canon layer without residual and activation, so it has that layer's kernels, segments and state.
    `activation` False leaves out the SiLU, `residual` adds x (Part 4.1, figures 30 to 36).
    """

    def __init__(
        self,
        width: int,
        *,
        kernel: int = 4,
        bias: bool = False,
        std: float | None = None,
        activation: bool = True,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.conv = Canon(width, kernel=kernel, residual=False)
        self.activation, self.residual = activation, residual
        if std is not None:
            nn.init.normal_(self.conv.weight, std=std)
        self.bias = nn.Parameter(torch.empty(width).uniform_(-(kernel**-0.5), kernel**-0.5)) if bias else None

    def forward(self, x: Tensor, segment_ids: Tensor | None = None, state: dict[str, Tensor] | None = None) -> Tensor:
        """x (batch, time, width) -> the same shape; segments and state as for `Canon`."""
        y = self.conv(x, segment_ids, state)
        y = y if self.bias is None else y + self.bias.to(y.dtype)
        y = F.silu(y) if self.activation else y
        return x + y if self.residual else y

    def init_state(self, batch: int, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
        return self.conv.init_state(batch, dtype, device)


class TokenShift(nn.Module):
    """The token before each one, in its segment; zeros before the first."""

    def forward(self, x: Tensor, segment_ids: Tensor | None, state: dict[str, Tensor] | None) -> Tensor:
        """x (batch, time, width) -> the same shape; segments and state as for `Canon`."""
        if segment_ids is None:
            segment_ids = torch.zeros(x.shape[:2], dtype=torch.int64, device=x.device)
        if state is None:
            before, segment = torch.zeros_like(x[:, :1]), torch.full_like(segment_ids[:, :1], -2)
        else:
            before, segment = state["x"][:, None].to(x.dtype), state["segment"][:, None]
        same = segment_ids == torch.cat([segment, segment_ids[:, :-1]], 1)
        shifted = torch.where(same[..., None], torch.cat([before, x[:, :-1]], 1), 0)
        if state is not None:
            state["x"].copy_(x[:, -1].detach())
            state["segment"].copy_(segment_ids[:, -1])
        return shifted

    def init_state(self, batch: int, width: int, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
        return {
            "x": torch.zeros(batch, width, dtype=dtype, device=device),
            "segment": torch.full((batch,), -1, device=device),
        }


def time_step_bias(heads: int) -> Tensor:
    """(heads,): softplus of it is a time step, log-uniform in [0.001, 0.1]. Source: Mamba (2312.00752), section 3.6."""
    return inverse_softplus(torch.empty(heads).uniform_(math.log(0.001), math.log(0.1)).exp())


def inverse_softplus(x: Tensor) -> Tensor:
    """y with softplus(y) = x, for x > 0; exact where x is small too."""
    return x + torch.log(-torch.expm1(-x))
