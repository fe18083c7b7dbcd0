"""Where Canon layers sit in a block, and which kind they are."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from canonlab.canon import Canon
from canonlab.errors import InputError, require_integer, shown

POINTS = "ABbCD"
"""A: before the mixer. B: inside it, on its projections. b: the mixer's own short convolution. C: before the MLP.
D: inside the MLP, before the non-linearity."""


@dataclass(frozen=True)
class CanonConfig:
    """The set of points, e.g. "ABCD" ("" for none), and the variant that sits at every one of them but b.

    Source: Physics of Language Models Part 4.1, section 4.
    """

    points: str = ""
    kernel: int = 4
    residual: bool = True
    activation: bool = False
    frozen: bool = False

    def __post_init__(self) -> None:
        letters = "" if self.points.lower() == "none" else self.points
        for letter in letters:
            if letter not in POINTS:
                hint = f"; did you mean {letter.upper()!r}?" if letter.upper() in POINTS else ""
                raise InputError(
                    f"canon = {shown(self.points)}: unknown point {letter!r}{hint} (allowed: letters of {POINTS})"
                )
            if letters.count(letter) > 1:
                raise InputError(f"canon = {shown(self.points)}: point {letter!r} is named twice")
        if "B" in letters and "b" in letters:
            raise InputError(
                f"canon = {shown(self.points)}: B replaces the mixer's own convolution b; name one of them"
            )
        object.__setattr__(self, "points", "".join(sorted(letters, key=POINTS.index)))
        require_integer("canon_kernel", self.kernel, 2, 8)

    def build(self, point: str, width: int) -> "Canon | NoCanon":
        """The layer for `point` on hidden states of `width`; one that does nothing where the set lacks the point."""
        if point not in self.points:
            return NoCanon()
        return Canon(width, kernel=self.kernel, residual=self.residual, activation=self.activation, frozen=self.frozen)


class NoCanon(nn.Module):
    """Stands where a Canon layer could: same interface, no parameters, no state, returns its input."""

    def forward(self, x: Tensor, segment_ids: Tensor | None = None, state: dict[str, Tensor] | None = None) -> Tensor:
        return x

    def init_state(self, batch: int, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
        return {}
