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
        half = x.dtype in (torch.bfloat16, torch.float16)
        y = F.rms_norm(x.float() if half else x, x.shape[-1:], self.weight, self.eps)
        device = x.device.type
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            # What follows is a projection, which would cast anyway. Casting before the Canon layer that may stand
            # between halves the bytes that it moves, for one more rounding.
            return y.to(torch.get_autocast_dtype(device))
        return y.to(x.dtype)


def linear(width_in: int, width_out: int, std: float) -> nn.Linear:
    """A projection without bias, initialised N(0, std)."""
    layer = nn.Linear(width_in, width_out, bias=False)
    nn.init.normal_(layer.weight, std=std)
    return layer
