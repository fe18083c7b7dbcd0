"""Where Canon layers sit in a block, and which kind they are."""

import dataclasses
import re
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

    The options are those of `Canon`, and two of the decoder's. `blocks`, such as "0-3,8", has the blocks with Canon
    layers, "" all of them; b is in all either way. `across`: at A and C, the taps beyond the current token read the
    input of the same point in the block below (where there is one): y_t = x_t + w_0 x_t + sum over j >= 1 of w_j
    z_{t-j}.

    Source: Physics of Language Models Part 4.1, section 4.
    """

    points: str = ""
    kernel: int = 4
    residual: bool = True
    activation: bool = False
    frozen: bool = False
    scale: bool = False
    dynamic: bool = False
    gate: bool = False
    blocks: str = ""
    across: bool = False

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
        object.__setattr__(self, "blocks", written(spans("canon.blocks", self.blocks)))
        if self.across and self.points.strip("b") and not {"A", "C"} & set(self.points):
            raise InputError(f"canon_across: it is at points A and C, and canon = {shown(self.points)} has neither")

    def within(self, blocks: int) -> None:
        """InputError where `blocks` has one that a decoder of that many lacks."""
        if self.blocks:
            spans("canon.blocks", self.blocks, blocks)

    def of_block(self, block: int) -> "CanonConfig":
        """The Canon layers in one block of a decoder, from 0."""
        here = not self.blocks or any(first <= block <= last for first, last in spans("canon.blocks", self.blocks))
        return dataclasses.replace(self, points=self.points if here else "", blocks="")

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
            dynamic=self.dynamic,
            gate=self.gate,
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


Spans = list[tuple[int, int]]
"""Numbers from the first to the last one of each, in order and apart."""


def spans(field: str, words: str, count: int = 10**9) -> Spans:
    """What words such as "0-3,8" name, of `count` from 0. InputError, which names `field`, for anything else."""
    found: Spans = []
    for part in words.split(",") if words else []:
        if not (match := re.fullmatch(r"\s*([0-9]{1,9})(?:-([0-9]{1,9}))?\s*", part)):
            raise InputError(f"{field} = {shown(words)}: {shown(part)} must be numbers from 0, such as 0-3,8")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise InputError(f"{field} = {shown(words)}: {part.strip()} is backwards, must be {last}-{first}")
        if last >= count:
            raise InputError(f"{field} = {shown(words)}: there is no {last} (allowed: 0 to {count - 1})")
        found.append((first, last))
    return found


def written(found: Spans) -> str:
    """The words for spans, one way for one set: "0-3,8"."""
    merged: Spans = []
    for first, last in sorted(found):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in merged)


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

    def forward(
        self,
        x: Tensor,
        segment_ids: Tensor | None = None,
        state: dict[str, Tensor] | None = None,
        past: Tensor | None = None,
    ) -> Tensor:
        return x

    def init_state(self, batch: int, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
        return {}
