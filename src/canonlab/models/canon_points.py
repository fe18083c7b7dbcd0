"""Where Canon layers sit in a block, and which kind they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from canonlab.canon import Canon
from canonlab.errors import InputError, require_integer, shown

POINTS = "ABbCDKVOM"
"""A: before the mixer. B: inside it, on its projections. b: the mixer's own short convolution. C: before the MLP.
D: inside the MLP, before the non-linearity. K, V: B on keys or values alone. O: after the mixer. M: after the MLP."""


@dataclass(frozen=True)
class CanonConfig:
    """The set of points, e.g. "ABCD" ("" for none), and the variant that sits at every one of them but b.

    `scale`: times 1/sqrt(kernel + 1).

    Source: Physics of Language Models Part 4.1, section 4.
    """

    points: str = ""
    kernel: int = 4
    residual: bool = True
    activation: bool = False
    frozen: bool = False
    scale: bool = False

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
        if "B" in letters and {"K", "V"} & set(letters):
            raise InputError(f"canon = {shown(self.points)}: B is on keys and values too; leave K and V out, or B")
        object.__setattr__(self, "points", "".join(sorted(letters, key=POINTS.index)))
        require_integer("canon_kernel", self.kernel, 2, 8)

    def build(self, point: str, width: int) -> "Canon | NoCanon":
        """The layer for `point` on hidden states of `width`; one that does nothing where the set lacks the point."""
        if point not in self.points:
            return NoCanon()
        return Canon(
            width,
            kernel=self.kernel,
            residual=self.residual,
            activation=self.activation,
            frozen=self.frozen,
            scale=self.scale,
        )

    def build_inside(self, width: int, parts: Mapping[str, tuple[int, int]]) -> "Canon | PartsCanon | NoCanon":
        """The layer inside a mixer: for B on all of its projections, for K and V on `parts` of them."""
        chosen = {point: parts[point] for point in "KV" if point in self.points}
        if not chosen:
            return self.build("B", width)
        ends = [0, *(end for part in sorted(chosen.values()) for end in part), width]
        if ends != sorted(ends):
            raise InputError(f"parts = {shown(dict(parts))}: must be parts of {width} channels that don't overlap")
        return PartsCanon({point: self.build(point, stop - start) for point, (start, stop) in chosen.items()}, chosen)


def parts_of(config: Any) -> Mapping[str, tuple[int, int]]:
    """Which channels of a mixer's projections are its keys (K) and values (V), as its `Config` says; else none."""
    parts = getattr(config, "parts", None)
    return parts if isinstance(parts, Mapping) else {}


class PartsCanon(nn.Module):
    """Canon layers on some of the channels: `parts` has the first and the end of each layer's, and none overlap."""

    def __init__(self, layers: Mapping[str, nn.Module], parts: Mapping[str, tuple[int, int]]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.parts = sorted(parts.items(), key=lambda part: part[1])

    def forward(self, x: Tensor, segment_ids: Tensor | None = None, state: dict[str, Any] | None = None) -> Tensor:
        pieces, done = [], 0
        for point, (start, stop) in self.parts:
            mixed = self.layers[point](x[..., start:stop], segment_ids, state and state[point])
            pieces += [x[..., done:start], mixed]
            done = stop
        return torch.cat([*pieces, x[..., done:]], dim=-1)

    def init_state(self, batch: int, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
        return {point: layer.init_state(batch, dtype, device) for point, layer in self.layers.items()}  # type: ignore[operator]


class NoCanon(nn.Module):
    """Stands where a Canon layer could: same interface, no parameters, no state, returns its input."""

    def forward(self, x: Tensor, segment_ids: Tensor | None = None, state: dict[str, Tensor] | None = None) -> Tensor:
        return x

    def init_state(self, batch: int, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
        return {}
