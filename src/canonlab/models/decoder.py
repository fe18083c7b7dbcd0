"""The decoder: token embedding, pre-norm residual blocks, final norm, output head.

What is fixed: no dropout, no rescaling of residual projections. What varies: the kinds of block, which repeat over the
layers, the norm and the Canon set. Source: Part 4.1, section 3 and appendix C.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from canonlab import typed
from canonlab.errors import InputError, require_integer, unknown
from canonlab.models.canon_points import CanonConfig, parts_of
from canonlab.models.layers import NORMS, linear, scale_fixed
from canonlab.models.mixers.base import CanonFactory, InsideCanon, Mixer, Place, Shared, asks
from canonlab.models.mlp import MLP, MLPConfig
from canonlab.models.moe import MoE
from canonlab.models.positions import CountedPositions

MOST = 10**9
"""Tokens of a vocabulary, layers and width: beyond any memory, and within what counts of parameters can hold."""


@dataclass(frozen=True)
class MixerConfig:
    """A mixer class and the arguments of its `Config`, `width` apart."""

    cls: type[Mixer]
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BlockConfig:
    """One kind of block. Without an MLP it is the mixer alone, without Canon points C, D and M."""

    mixer: MixerConfig
    mlp: MLPConfig | None


@dataclass(frozen=True)
class DecoderConfig:
    """Everything that determines a decoder.

    Attributes:
        pattern: The kinds of block: block i is of kind pattern[i % len(pattern)].
        canon: Canon points; b is in the arguments of the mixers that have a convolution of their own.
        tied: The head is the embedding.
        norm: A name in `layers.NORMS`.
        embedding_std: The embedding is initialised N(0, embedding_std), the head too where it is tied.
        head_std: An untied head is initialised N(0, head_std); None: as PyTorch initialises it.
        init_scale: A factor on all initial matrices whose standard deviation is fixed, so the same at any width.
    """

    vocabulary: int
    layers: int
    width: int
    pattern: tuple[BlockConfig, ...]
    canon: CanonConfig = CanonConfig()
    tied: bool = False
    norm: str = "rms"
    norm_eps: float = 1e-6
    embedding_std: float = 0.02
    head_std: float | None = 0.02
    init_scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("vocabulary", "layers", "width"):
            require_integer(name, getattr(self, name), 1, MOST)
        if not self.pattern:
            raise InputError("pattern = (): name at least one kind of block")
        if self.norm not in NORMS:
            raise unknown("norm", self.norm, NORMS)
        self.canon.within(self.layers)

    def plain(self) -> dict[str, Any]:
        """The same as plain data: what a run's identity is made of. A mixer is its class's name and its arguments."""
        content = dataclasses.asdict(self)
        for block in content["pattern"]:
            block["mixer"] = {
                "class": block["mixer"]["cls"].__name__,
                "arguments": typed.plain(block["mixer"]["arguments"]),
            }
        return {**content, "pattern": list(content["pattern"])}

    def build(self, seed: int = 0) -> "Decoder":
        """The decoder with weights drawn from `seed` alone; the global random state is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Decoder(self)


class DecoderState:
    """What decoding remembers: a fixed-size state per block, updated in place, and the number of tokens seen."""

    def __init__(self, blocks: list[dict[str, Any]], max_len: int) -> None:
        self.blocks = blocks
        self.max_len = max_len
        self.position = 0

    def advance(self, tokens: int) -> None:
        """Count `tokens` more; an error before anything is written when they don't fit."""
        if self.position + tokens > self.max_len:
            raise InputError(f"{self.position} + {tokens} tokens don't fit a state made for max_len = {self.max_len}")
        self.position += tokens

    def repeat(self, times: int) -> "DecoderState":
        """A new state in which each row stands `times` times, one after another: many continuations of one prefix."""
        blocks = [_map_tensors(block, lambda tensor: tensor.repeat_interleave(times, dim=0)) for block in self.blocks]
        repeated = DecoderState(blocks, self.max_len)
        repeated.position = self.position
        return repeated

    def reorder(self, index: Tensor) -> None:
        """Make row i continue what row index[i] was, for beam search: index (batch,) int64."""
        for tensor in tensors_of(self.blocks):
            tensor.copy_(tensor.index_select(0, index))


def tensors_of(tree: Any) -> list[Tensor]:
    """All tensors of a state, or of a part of one."""
    if isinstance(tree, Tensor):
        return [tree]
    children = tree.values() if isinstance(tree, dict) else tree
    return [tensor for child in children for tensor in tensors_of(child)]


def _map_tensors(tree: dict[str, Any], change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """The same nested dict with every tensor changed."""
    return {
        key: change(value) if isinstance(value, Tensor) else _map_tensors(value, change) for key, value in tree.items()
    }


class Output(NamedTuple):
    """`logits`: (batch, time, vocabulary), or (selected, vocabulary) with `select`.

    `auxiliary` is the sum of what the MLPs ask to be added to the loss, None when none does.
    """

    logits: Tensor
    state: DecoderState | None
    auxiliary: Tensor | None


class Block(nn.Module):
    """x + canon_o(mixer(canon_a(norm(x)))), then, where there is an MLP, x + canon_m(mlp(canon_c(norm(x))))."""

    def __init__(self, config: DecoderConfig, kind: BlockConfig, place: Place) -> None:
        super().__init__()
        canon, width, norm = config.canon.of_block(place.layer), config.width, NORMS[config.norm]
        self.across = canon.across
        self.mixer_norm = norm(width, config.norm_eps)
        self.canon_a = canon.build("A", width)
        self.mixer = _build_mixer(kind.mixer, width, canon, place)
        self.shares = asks(type(self.mixer).forward, "shared")
        self.positions = CountedPositions() if asks(type(self.mixer).forward, "positions") else None
        self.canon_o = canon.build("O", width)
        self.mlp: MLP | MoE | None = None
        if kind.mlp is not None:
            self.mlp_norm = norm(width, config.norm_eps)
            self.canon_c = canon.build("C", width)
            self.mlp = (MoE if kind.mlp.kind == "moe" else MLP)(kind.mlp, width, canon)
            self.canon_m = canon.build("M", width)

    def forward(
        self, x: Tensor, segment_ids: Tensor | None, state: dict[str, Any] | None, shared: Shared
    ) -> tuple[Tensor, Tensor | None, Shared]:
        part = state.get if state else lambda _: None
        h = self.mixer_norm(x)
        h = self.canon_a(h, segment_ids, part("a"), self._below("A", h, shared))
        more: dict[str, Any] = {"shared": shared} if self.shares else {}
        if self.positions is not None:
            more["positions"] = self.positions(h, segment_ids, part("positions"))
        h, _ = self.mixer(h, segment_ids, part("mixer"), **more)
        x = x + self.canon_o(h, segment_ids, part("o"))
        if self.mlp is None:
            return x, None, shared
        h = self.mlp_norm(x)
        h = self.canon_c(h, segment_ids, part("c"), self._below("C", h, shared))
        h, auxiliary = self.mlp(h, segment_ids, part("mlp"))
        return x + self.canon_m(h, segment_ids, part("m")), auxiliary, shared

    def _below(self, point: str, h: Tensor, shared: Shared) -> Tensor | None:
        """Canon across layers: the input of a point in the last block before that has it; h is left for the next."""
        if not self.across:
            return None
        below = shared.get(name := f"canon input {point}")
        shared[name] = h
        return below

    def init_state(self, batch: int, max_len: int, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
        if not hasattr(self.mixer, "init_state"):  # a subclass of Mixer has one, which says the same
            raise InputError(f"the mixer {type(self.mixer).__name__} has no init_state: it cannot decode with a cache")
        state: dict[str, Any] = {
            "a": self.canon_a.init_state(batch, dtype, device),
            "mixer": self.mixer.init_state(batch, max_len, dtype, device),
            "o": self.canon_o.init_state(batch, dtype, device),
        }
        if self.positions is not None:
            state["positions"] = self.positions.init_state(batch, device)
        if self.mlp is not None:
            state["c"] = self.canon_c.init_state(batch, dtype, device)
            state["mlp"] = self.mlp.init_state(batch, dtype, device)
            state["m"] = self.canon_m.init_state(batch, dtype, device)
        return state


class Decoder(nn.Module):
    """Token ids to next-token logits."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        nn.init.normal_(self.embedding.weight, std=config.embedding_std)
        kinds = [config.pattern[layer % len(config.pattern)] for layer in range(config.layers)]
        classes = [kind.mixer.cls for kind in kinds]
        self.blocks = nn.ModuleList(
            Block(config, kind, Place(layer, config.layers, classes[:layer].count(kind.mixer.cls)))
            for layer, kind in enumerate(kinds)
        )
        self.norm = NORMS[config.norm](config.width, config.norm_eps)
        self.head = linear(config.width, config.vocabulary, std=config.head_std)
        if config.tied:
            self.head.weight = self.embedding.weight
        if config.init_scale != 1:
            scale_fixed(self, config.init_scale)

    def forward(
        self,
        ids: Tensor,
        segment_ids: Tensor | None = None,
        state: DecoderState | None = None,
        select: Tensor | None = None,
    ) -> Output:
        """Logits for the token after each of `ids` (batch, time) int64.

        segment_ids (batch, time): documents packed into one row don't see each other; padding is -1. state: continue
        what it has seen, and remember `ids`. select (batch, time) bool: logits only there, flattened.
        """
        if state is not None:
            state.advance(ids.shape[1])
        x = self.embedding(ids)
        auxiliary: Tensor | None = None
        shared: Shared = {}
        for layer, block in enumerate(self.blocks):
            x, loss, shared = block(x, segment_ids, state.blocks[layer] if state is not None else None, shared)
            if loss is not None:
                auxiliary = loss if auxiliary is None else auxiliary + loss
        if select is not None:
            x = x[select]
        return Output(self.head(self.norm(x)), state, auxiliary)

    def init_state(
        self, batch: int, max_len: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> DecoderState:
        """The state before the first token of `batch` rows of at most `max_len` tokens, padding included."""
        weight = self.embedding.weight
        dtype, device = dtype or weight.dtype, torch.device(device or weight.device)
        return DecoderState([block.init_state(batch, max_len, dtype, device) for block in self.blocks], max_len)  # type: ignore[operator]

    def compile_blocks(self) -> None:
        """Compile each block by itself: those of one kind share a graph, which whole-model compilation would unroll."""
        for block in self.blocks:
            block.compile(dynamic=False)


def construct(cls: type[Mixer], config: Any, canon: CanonFactory, place: Place) -> Mixer:
    """A mixer, with its place where its constructor asks for it."""
    return cls(config, canon, **({"place": place} if asks(cls.__init__, "place") else {}))


def _build_mixer(config: MixerConfig, width: int, canon: CanonConfig, place: Place) -> Mixer:
    """The mixer with its config and Canon factory; an error when the Canon set asks for a point that it lacks."""
    asked: list[int] = []
    arguments = config.cls.Config(width=width, **config.arguments)
    name, parts = config.cls.__name__, parts_of(arguments)
    for point in "KV":
        if point in canon.points and point not in parts:
            raise InputError(
                f"canon = {canon.points!r}: the mixer {name} has no point {point} (its Config has no parts)"
            )

    def inside(width: int) -> InsideCanon:
        asked.append(width)
        return canon.build_inside(width, parts)

    mixer = construct(config.cls, arguments, inside, place)
    if missing := [point for point in "BKV" if point in canon.points and not asked]:
        raise InputError(
            f"canon = {canon.points!r}: the mixer {name} has no point {missing[0]} (it never calls canon(width))"
        )
    return mixer
