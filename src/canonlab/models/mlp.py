"""The position-wise half of a block: gated or standard MLP. A mixture of experts is in `moe.py`."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canonlab.errors import require_integer, unknown
from canonlab.models.canon_points import CanonConfig
from canonlab.models.layers import linear


def relu2(x: Tensor) -> Tensor:
    """max(x, 0)^2 (Primer, arXiv 2109.08668)."""
    return F.relu(x).square()


def gelu(x: Tensor) -> Tensor:
    """GELU by its tanh approximation, as GPT-2 has it."""
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"silu": F.silu, "gelu": gelu, "relu2": relu2}
KINDS = ("gated", "standard", "moe")


@dataclass(frozen=True)
class MLPConfig:
    """Which MLP, and the width of its inner layer (of each expert's, with `moe`).

    `std` initialises the projections N(0, std), biases 0; None leaves both as PyTorch initialises them.
    """

    kind: str
    intermediate: int
    activation: str = "silu"
    bias: bool = False
    std: float | None = 0.02

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("mlp", self.kind, KINDS)
        if self.activation not in ACTIVATIONS:
            raise unknown("activation", self.activation, ACTIVATIONS)
        require_integer("width of the MLP's inner layer", self.intermediate, 1)


class MLP(nn.Module):
    """Gated: down(act(gate(x)) * up(x)) (SwiGLU with SiLU). Standard: down(act(up(x))).

    Canon point D acts on gate and up together, before the non-linearity. `forward` returns an auxiliary loss beside its
    output, for MLPs that balance experts; this one has none.
    """

    def __init__(self, config: MLPConfig, width: int, canon: CanonConfig) -> None:
        super().__init__()
        self.gated = config.kind == "gated"
        self.activation = ACTIVATIONS[config.activation]
        inner = config.intermediate * (2 if self.gated else 1)
        self.up = linear(width, inner, config.std, config.bias)
        self.canon = canon.build("D", inner)
        self.down = linear(config.intermediate, width, config.std, config.bias)

    def forward(
        self, x: Tensor, segment_ids: Tensor | None, state: dict[str, Tensor] | None
    ) -> tuple[Tensor, Tensor | None]:
        h = self.canon(self.up(x), segment_ids, state)
        if not self.gated:
            return self.down(self.activation(h)), None
        gate, up = h.chunk(2, dim=-1)
        return self.down(self.activation(gate) * up), None

    def init_state(self, batch: int, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
        return self.canon.init_state(batch, dtype, device)
