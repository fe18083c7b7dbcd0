"""The position-wise half of a block."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canonlab.models.canon_points import CanonConfig
from canonlab.models.layers import linear


class GatedMLP(nn.Module):
    """down(silu(gate(x)) * up(x)) (SwiGLU). Canon point D acts on gate and up together, before the non-linearity.

    `forward` returns an auxiliary loss beside its output, for MLPs that balance experts; this one has none.
    """

    def __init__(self, width: int, intermediate: int, canon: CanonConfig) -> None:
        super().__init__()
        self.gate_up = linear(width, 2 * intermediate, std=0.02)
        self.canon = canon.build("D", 2 * intermediate)
        self.down = linear(intermediate, width, std=0.02)

    def forward(
        self, x: Tensor, segment_ids: Tensor | None, state: dict[str, Tensor] | None
    ) -> tuple[Tensor, Tensor | None]:
        gate, up = self.canon(self.gate_up(x), segment_ids, state).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up), None

    def init_state(self, batch: int, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
        return self.canon.init_state(batch, dtype, device)
