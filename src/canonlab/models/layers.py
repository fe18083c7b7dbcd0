"""Small parts that every architecture shares."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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


def linear(width_in: int, width_out: int, std: float | None, bias: bool = False) -> nn.Linear:
    """A projection initialised N(0, std), its bias 0; with std None both as PyTorch initialises them."""
    layer = nn.Linear(width_in, width_out, bias=bias)
    if std is not None:
        nn.init.normal_(layer.weight, std=std)
        if bias:
            nn.init.zeros_(layer.bias)
    return layer
