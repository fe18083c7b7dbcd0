"""The short convolution that linear mixers bring along: Canon point b."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canonlab.canon import Canon


class ShortConv(nn.Module):
    """silu(conv(x) + bias), causal and depthwise, without a residual: what the authors of linear mixers use.

    `std` initialises the taps N(0, std); None leaves them, and the bias, as PyTorch initialises a depthwise Conv1d. The
    convolution is a Canon layer without residual and activation, so it has that layer's kernels, segments and state.
    """

    def __init__(self, width: int, *, kernel: int = 4, bias: bool = False, std: float | None = None) -> None:
        super().__init__()
        self.conv = Canon(width, kernel=kernel, residual=False)
        if std is not None:
            nn.init.normal_(self.conv.weight, std=std)
        self.bias = nn.Parameter(torch.empty(width).uniform_(-(kernel**-0.5), kernel**-0.5)) if bias else None

    def forward(self, x: Tensor, segment_ids: Tensor | None = None, state: dict[str, Tensor] | None = None) -> Tensor:
        """x (batch, time, width) -> the same shape; segments and state as for `Canon`."""
        y = self.conv(x, segment_ids, state)
        return F.silu(y if self.bias is None else y + self.bias.to(y.dtype))

    def init_state(self, batch: int, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
        return self.conv.init_state(batch, dtype, device)
