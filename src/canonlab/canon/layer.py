"""The Canon layer as a module."""

import torch
from torch import Tensor, nn

from canonlab.canon.functional import canon, require_kernel, require_known


class Canon(nn.Module):
    """A causal depthwise convolution over the last few positions, with a residual connection: x + conv(x).

    `weight` (kernel, width) is initialised as PyTorch initialises a depthwise Conv1d, uniform in +-1/sqrt(kernel).
    Other initialisers that walk over a model must leave it alone.

    Args:
        width: channels of the input.
        kernel: how many positions are seen, the current one included; 2 to 8.
        residual: add the input.
        activation: SiLU after the convolution (before the residual).
        frozen: keep the random weights as they are.
        scale: times 1/sqrt(kernel + 1).
        implementation: see `canonlab.canon.canon`.
    """

    def __init__(
        self,
        width: int,
        *,
        kernel: int = 4,
        residual: bool = True,
        activation: bool = False,
        frozen: bool = False,
        scale: bool = False,
        implementation: str | None = None,
    ) -> None:
        super().__init__()
        require_kernel(kernel)
        if implementation is not None:
            require_known(implementation)
        if width < 1:
            raise ValueError(f"Canon width = {width}: must be at least 1")
        self.width, self.kernel = width, kernel
        self.residual, self.activation, self.frozen, self.scale = residual, activation, frozen, scale
        self.implementation = implementation
        self.weight = nn.Parameter(torch.empty(kernel, width, dtype=torch.float32), requires_grad=not frozen)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = self.kernel**-0.5
        nn.init.uniform_(self.weight, -bound, bound)

    def init_state(
        self, batch: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> dict[str, Tensor]:
        """What streaming remembers: the last kernel - 1 inputs and their segments, nothing (-1) at first.

        Sequences are along dimension 0 of every tensor, so that an `index_select` there reorders beams.
        """
        past = self.kernel - 1
        device = self.weight.device if device is None else device
        inputs = torch.zeros(batch, past, self.width, dtype=dtype or self.weight.dtype, device=device)
        return {"inputs": inputs, "segments": torch.full((batch, past), -1, dtype=torch.int64, device=device)}

    def forward(self, x: Tensor, segment_ids: Tensor | None = None, state: dict[str, Tensor] | None = None) -> Tensor:
        """x (batch, time, width) -> the same shape and dtype.

        segment_ids (batch, time): a position only sees those of its own segment; padding is -1. With a `state` from
        `init_state`, x continues what was seen before (in segment 0 if no ids are given), and the state is updated in
        place. A state carries no gradients.
        """
        if state is None:
            return self._canon(x, segment_ids)
        if segment_ids is None:
            segment_ids = torch.zeros(x.shape[:2], dtype=torch.int64, device=x.device)
        past, time = self.kernel - 1, x.shape[1]
        inputs = torch.cat([state["inputs"].to(x.dtype), x], dim=1)
        segments = torch.cat([state["segments"], segment_ids], dim=1)
        y = self._canon(inputs, segments)[:, past:]
        state["inputs"].copy_(inputs[:, time:].detach())
        state["segments"].copy_(segments[:, time:])
        return y

    def _canon(self, x: Tensor, segment_ids: Tensor | None) -> Tensor:
        return canon(
            x,
            self.weight,
            segment_ids=segment_ids,
            residual=self.residual,
            activation=self.activation,
            scale=self.scale,
            implementation=self.implementation,
        )

    def extra_repr(self) -> str:
        names = [name for name in ("activation", "frozen", "scale") if getattr(self, name)]
        return ", ".join([f"{self.width}, kernel={self.kernel}, residual={self.residual}", *names])
