"""The Canon layer as a module."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canonlab.canon.functional import canon, require_kernel, require_known

RANK = 16
"""Numbers that a position's dynamic taps are made from."""

CHANNELS = 64
"""Side by side, at least, that share dynamic taps where there are so many, as a head's do."""


def groups_of(width: int) -> int:
    """How many groups of channels have dynamic taps of their own: the most of `CHANNELS` or more that are equal."""
    return next(groups for groups in range(max(1, width // CHANNELS), 0, -1) if width % groups == 0)


class Canon(nn.Module):
    """A causal depthwise convolution over the last few positions, with a residual connection: x + conv(x).

    `weight` (kernel, width) is initialised as PyTorch initialises a depthwise Conv1d, uniform in +-1/sqrt(kernel).
    Other initialisers that walk over a model must leave it alone.

    With `dynamic`, taps of each position's own are added to it, d(x_t) = U (D x_t), one for each group of channels
    (`groups_of`): `down` D (RANK, width), initialised as a projection, and `up` U (kernel * groups, RANK), all 0. With
    `gate`, y = x + g * conv(x), g (width,) of ones. So a layer begins as one that has neither. Dynamic taps are those
    of dynamic short convolutions (arXiv 2606.03825) in a form of few parameters.

    Args:
        width: channels of the input.
        kernel: how many positions are seen, the current one included; 2 to 8.
        residual: add the input.
        activation: SiLU after the convolution (before the residual).
        frozen: keep the random taps as they are; what begins without effect, dynamic taps and gate, learns.
        scale: times 1/sqrt(kernel + 1).
        dynamic: add taps that depend on the position's input.
        gate: a learned factor of each channel on what is added to the input.
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
        dynamic: bool = False,
        gate: bool = False,
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
        self.gate = nn.Parameter(torch.ones(width, dtype=torch.float32)) if gate else None
        self.dynamic = dynamic
        if dynamic:
            self.down = nn.Parameter(torch.empty(RANK, width, dtype=torch.float32))
            self.up = nn.Parameter(torch.zeros(kernel * groups_of(width), RANK, dtype=torch.float32))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = self.kernel**-0.5
        nn.init.uniform_(self.weight, -bound, bound)
        if self.gate is not None:
            nn.init.ones_(self.gate)
        if self.dynamic:
            nn.init.uniform_(self.down, -(self.width**-0.5), self.width**-0.5)
            nn.init.zeros_(self.up)

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

    def forward(
        self,
        x: Tensor,
        segment_ids: Tensor | None = None,
        state: dict[str, Tensor] | None = None,
        past: Tensor | None = None,
    ) -> Tensor:
        """x (batch, time, width) -> the same shape and dtype.

        segment_ids (batch, time): a position only sees those of its own segment; padding is -1. With a `state` from
        `init_state`, x continues what was seen before (in segment 0 if no ids are given), and the state is updated in
        place. A state carries no gradients. past (batch, time, width): what earlier positions are taken from in place
        of x, for all calls that share a state.
        """
        if state is None:
            return self._canon(x, segment_ids, past)
        if segment_ids is None:
            segment_ids = torch.zeros(x.shape[:2], dtype=torch.int64, device=x.device)
        seen, time = self.kernel - 1, x.shape[1]
        inputs = torch.cat([state["inputs"].to(x.dtype), x if past is None else past], dim=1)
        segments = torch.cat([state["segments"], segment_ids], dim=1)
        if past is None:
            y = self._canon(inputs, segments, None)
        else:
            y = self._canon(F.pad(x, (0, 0, seen, 0)), segments, inputs)
        state["inputs"].copy_(inputs[:, time:].detach())
        state["segments"].copy_(segments[:, time:])
        return y[:, seen:]

    def _canon(self, x: Tensor, segment_ids: Tensor | None, past: Tensor | None) -> Tensor:
        return canon(
            x,
            self.weight,
            segment_ids=segment_ids,
            residual=self.residual,
            activation=self.activation,
            scale=self.scale,
            dynamic=self._taps(x) if self.dynamic else None,
            gate=self.gate,
            past=past,
            implementation=self.implementation,
        )

    def _taps(self, x: Tensor) -> Tensor:
        """(batch, time, kernel, groups): the taps that each position asks for, in the dtype of a projection of x."""
        taps = F.linear(F.linear(x, self.down.to(x.dtype)), self.up.to(x.dtype))
        return taps.unflatten(-1, (self.kernel, -1))

    def extra_repr(self) -> str:
        names = [name for name in ("activation", "frozen", "scale", "dynamic") if getattr(self, name)]
        names += ["gate"] if self.gate is not None else []
        return ", ".join([f"{self.width}, kernel={self.kernel}, residual={self.residual}", *names])
