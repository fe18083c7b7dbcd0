"""The mixer under test: how it is built, what it is fed, and when two outputs are the same."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from canonlab.checks import Broken, of_the_user
from canonlab.errors import InputError, shown
from canonlab.models.canon_points import CanonConfig, parts_of
from canonlab.models.config import ModelConfig, pattern_names
from canonlab.models.cost import parameters
from canonlab.models.decoder import BlockConfig, DecoderConfig, MixerConfig, construct
from canonlab.models.mixers.base import CanonFactory, InsideCanon, Mixer, MixerState, Place, Shared, asks
from canonlab.models.mlp import MLPConfig
from canonlab.models.positions import CountedPositions
from canonlab.models.sizes import require_memory

VOCABULARY = 31
DOUBLE_BYTES = 8

WITH = {"": "", "B": "with Canon point B, ", "KV": "with Canon points K and V, ", "b": "with its convolution (b), "}
"""The forms in which a mixer is checked, and the words for them."""

PACKED = (40, 1, 3, 62, 22)
"""Lengths of the segments packed into one row: some shorter than a convolution, some longer than a chunk."""

TIME = sum(PACKED)
"""Tokens of most checks: 128, so that a mixer for certain lengths only fails where lengths are checked."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """A mixer at the width of a model, with its arguments there, and the device on which it is checked.

    Weights and inputs are drawn on the CPU and then moved, so that they are the same on every device.
    """

    config: MixerConfig
    width: int
    device: str = "cpu"

    @classmethod
    def of(cls, model: ModelConfig, device: str = "cpu") -> "Subject":
        """InputError where the arguments are wrong or `model` is a hybrid."""
        if len(pattern_names(model.model)) > 1:
            raise InputError(f"model = {shown(model.model)}: check one mixer at a time, not a hybrid")
        decoder = model.decoder(VOCABULARY)
        needed = 0
        with suppress(Exception):  # what a user's own raises is what the checks are to say
            needed = DOUBLE_BYTES * parameters(decoder)
        require_memory("size", model.size, needed, "its parameters alone")
        config = decoder.pattern[0].mixer
        with of_the_user(f"model = {shown(model.model)}: its Config can't be made"):
            config.cls.Config(width=decoder.width, **config.arguments)
        return cls(config, decoder.width, device)

    def arguments(self, point: str) -> dict[str, object]:
        """Those of the mixer's Config, with its own convolution on or off."""
        own = {"conv1d": point == "b"} if "conv1d" in self.config.arguments else {}
        return {**self.config.arguments, **own}

    def build(self, point: str = "", asked: list[int] | None = None, dtype: torch.dtype | None = None) -> Mixer:
        """The mixer in evaluation mode, with weights from seed 0; the widths asked for at point B go to `asked`.

        One that asks for more than its input is `InBlocks`, so that it is called as any other.
        """
        cls = self.config.cls

        def inside(width: int, asked: list[int] | None) -> InsideCanon:
            if asked is not None:
                asked.append(width)
            return CanonConfig(point.replace("b", "")).build_inside(width, parts_of(config))

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            config = cls.Config(width=self.width, **self.arguments(point))
            first, second = (partial(inside, asked=each) for each in (asked, None))
            mixer = InBlocks(cls, config, first, second) if _asks_for_more(cls) else cls(config, first)
            draw_zeros(mixer)
        mixer.eval()
        if (dtype or self.dtype) == torch.float64:
            mixer.double()
            for parameter in mixer.parameters():
                if parameter.is_complex():  # which `double` leaves as they are
                    parameter.data = parameter.data.to(torch.complex128)
        return mixer.to(self.device)

    def variants(self) -> Iterator[tuple[str, Mixer]]:
        """The mixer in every form that it has, and words to begin a sentence with."""
        for point in self.points:
            yield WITH[point], self.build(point)

    @cached_property
    def points(self) -> tuple[str, ...]:
        """Alone; with Canon point B, and K and V, where the mixer has them; with a convolution of its own, likewise."""
        asked: list[int] = []
        self.build("", asked)
        parts = parts_of(self.config.cls.Config(width=self.width, **self.arguments("")))
        # Of a mixer that asks more than once, it is point B that is to be repaired.
        has = {"": True, "B": asked, "KV": parts and len(asked) == 1, "b": "conv1d" in self.config.arguments}
        return tuple(point for point in WITH if has[point])

    @cached_property
    def dtype(self) -> torch.dtype:
        """Double precision, in which mistakes stand out, unless the mixer can't."""
        try:
            x = torch.zeros(1, TIME, self.width, dtype=torch.float64)
            outputs(self.build(dtype=torch.float64), x.to(self.device))
        except Exception:  # the mixer may raise anything; `dtypes` says what
            return torch.float32
        return torch.float64

    @property
    def tolerance(self) -> float:
        """Allowed difference as a share of the largest output: room for parts in single precision."""
        return 1e-5 if self.dtype == torch.float64 else 1e-3

    def tokens(self, batch: int = 2, time: int = TIME, seed: int = 0) -> Tensor:
        """Normal hidden states (batch, time, width), as they come from a norm."""
        draw = torch.Generator().manual_seed(seed)
        x = torch.randn(batch, time, self.width, generator=draw, dtype=torch.float64)
        return x.to(self.dtype).to(self.device)

    def packed_segments(self) -> Tensor:
        """(2, TIME) int64: segments of the lengths `PACKED`, in the other order in the second row."""
        rows = [
            torch.repeat_interleave(torch.arange(len(row)) + 3, torch.tensor(row)) for row in (PACKED, PACKED[::-1])
        ]
        return torch.stack(rows).to(self.device)

    def padded_segments(self, padding: Sequence[int], time: int = TIME) -> Tensor:
        """(len(padding), time) int64: that many tokens of padding, -1, in each row, then segment 0."""
        return ((torch.arange(time) >= torch.tensor(padding)[:, None]).long() - 1).to(self.device)

    def state(self, mixer: Mixer, batch: int, max_len: int) -> MixerState:
        """A state from `init_state`; Broken, as not checked, where the class has none."""
        own = getattr(self.config.cls, "init_state", None)
        if own is None or own is Mixer.init_state:
            raise Broken("no init_state; trains, cannot decode with a cache", "", passed=None)
        return mixer.init_state(batch, max_len, self.dtype, torch.device(self.device))

    def agree(self, expected: Tensor, found: Tensor, what: str, advice: str) -> float:
        """How much they differ, as a share of the largest expected output; Broken when that is too much."""
        gap = difference(expected, found)
        if not gap <= self.tolerance:
            raise Broken(f"{what}: differs by {gap:.1g} of the largest output", advice)
        return gap

    def in_decoder(
        self, points: str = "", mlp: MLPConfig | None = None, mixer: type[Mixer] | None = None
    ) -> DecoderConfig:
        """Two blocks with the mixer, or with `mixer` in its place."""
        arguments = self.arguments("b" if "b" in points else "")
        kind = BlockConfig(MixerConfig(mixer or self.config.cls, arguments), mlp)
        return DecoderConfig(VOCABULARY, 2, self.width, (kind,), CanonConfig(points))


class InBlocks(Mixer):
    """Mixers that ask for more than their input, as two blocks have them, where one gets what the other leaves.

    Both have one x, and y is the sum of theirs: it keeps each promise that both of them keep.
    """

    def __init__(self, cls: type[Mixer], config: Any, *canons: CanonFactory) -> None:
        super().__init__()
        places = [Place(layer, len(canons), layer) for layer in range(len(canons))]
        self.mixers = nn.ModuleList(construct(cls, config, *pair) for pair in zip(canons, places, strict=True))
        self.shares, self.counts = (asks(cls.forward, name) for name in ("shared", "positions"))
        self.positions = CountedPositions()

    def forward(
        self, x: Tensor, segment_ids: Tensor | None, state: MixerState | None
    ) -> tuple[Tensor, MixerState | None]:
        part = state.get if state else lambda _: None
        shared: Shared = {}
        more: dict[str, Any] = {"shared": shared} if self.shares else {}
        if self.counts:
            more["positions"] = self.positions(x, segment_ids, part("positions"))
        results: list[tuple[Tensor, MixerState | None]]
        results = [mixer(x, segment_ids, part(str(n)), **more) for n, mixer in enumerate(self.mixers)]
        (y, _), (more_y, _) = results
        kept = all(returned is part(str(n)) for n, (_, returned) in enumerate(results))
        return y + more_y, state if kept else None

    def init_state(self, batch: int, max_len: int, dtype: torch.dtype, device: torch.device) -> MixerState:
        mixers: Iterator[Any] = iter(self.mixers)
        states = {str(n): mixer.init_state(batch, max_len, dtype, device) for n, mixer in enumerate(mixers)}
        return states | ({"positions": self.positions.init_state(batch, device)} if self.counts else {})


def _asks_for_more(cls: type[Mixer]) -> bool:
    return asks(cls.__init__, "place") or any(asks(cls.forward, name) for name in ("shared", "positions"))


def one_of(mixer: Mixer) -> Mixer:
    """The mixer itself, or the first where there are two."""
    return mixer.mixers[0] if isinstance(mixer, InBlocks) else mixer  # type: ignore[return-value]


def draw_zeros(module: nn.Module) -> None:
    """Draw parameters that are 0 at first N(0, 0.02): an output that is 0 would hide everything."""
    for parameter in module.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)


@torch.no_grad()
def outputs(mixer: Mixer, x: Tensor, segment_ids: Tensor | None = None, state: MixerState | None = None) -> Tensor:
    """What the mixer makes of x, without gradients."""
    y, _ = mixer(x, segment_ids, state)
    return y


def difference(expected: Tensor, found: Tensor) -> float:
    """The largest difference over the largest expected magnitude; infinite where a number isn't one."""
    gap = (expected.double() - found.double()).abs().max()
    share = gap / expected.double().abs().max() if gap else gap
    return share.item() if share.isfinite() else float("inf")


def seen(gaps: list[float], words: str) -> str:
    """What comparisons saw."""
    return f"{words}: {f'equal to {max(gaps):.0e}' if any(gaps) else 'exactly equal'}"
