"""The architectures by name. Source: Part 4.1, sections 3, 4, 6 and appendix C, and the papers of the mixers.

A preset says what a block is made of and how it is initialised. `models.config` makes a decoder of one or of several.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from canonlab.models.mixers.attention import Attention
from canonlab.models.mixers.base import Mixer
from canonlab.models.mixers.delta import low_rank_std
from canonlab.models.mixers.deltaproduct import DeltaProduct
from canonlab.models.mixers.gdn import GatedDeltaNet
from canonlab.models.mixers.gdn2 import GatedDeltaNet2
from canonlab.models.mixers.gla import DECAY_RANK, GLA
from canonlab.models.mixers.kda import KimiDeltaAttention
from canonlab.models.mixers.mamba2 import Mamba2
from canonlab.models.mixers.mamba3 import Mamba3
from canonlab.models.mixers.mla import MLA
from canonlab.models.mixers.rwkv7 import RWKV7
from canonlab.models.sizes import Size


@dataclass(frozen=True)
class Preset:
    """An architecture.

    Attributes:
        about: One line for people.
        mixer: The mixer's class.
        arguments: Of its `Config`, width and heads apart.
        heads: The mixer's heads at a size.
        mlp: A kind in `mlp.KINDS`, or "none".
        mlp_squares: Parameters of the MLP in units of width^2, which its inner width follows from.
        activation: Of the MLP.
        bias: Whether the MLP's projections have one (the mixer's are an argument of its own).
        blocks: Blocks for one layer of the size.
        norm, norm_eps, embedding_std: See `DecoderConfig`.
        std: Of the head's and the MLP's projections; None leaves them as PyTorch initialises them.
    """

    about: str
    mixer: type[Mixer]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    heads: Callable[[Size], int] = attrgetter("heads")
    mlp: str = "gated"
    mlp_squares: int = 8
    activation: str = "silu"
    bias: bool = False
    blocks: int = 1
    norm: str = "rms"
    norm_eps: float = 1e-6
    embedding_std: float = 0.02
    std: float | None = 0.02


def _llama(position: str, about: str, arguments: Mapping[str, Any] | None = None, **changes: Any) -> Preset:
    return Preset(about, Attention, {"position": position, **(arguments or {})}, **changes)


def _mamba(about: str, mixer: type[Mixer] = Mamba2, **changes: Any) -> Preset:
    """16 heads at every size; projections as PyTorch initialises them, and a wider embedding."""
    return Preset(about, mixer, heads=lambda _: 16, norm_eps=1e-5, embedding_std=0.1, std=None, **changes)


def _gdn_heads(size: Size) -> int:
    """As published: max(4, width / 128), but 12 at width 2048."""
    return _dividing(12 if size.width == 2048 else max(4, size.width // 128), size.width * 3 // 4)


def _delta_heads(size: Size) -> int:
    """max(4, width / 128): heads of width 128, as published, but never fewer than 4."""
    return _dividing(max(4, size.width // 128), size.width)


def _dividing(most: int, width: int) -> int:
    """The largest number of heads up to `most` that divides the keys' `width`."""
    return next(heads for heads in range(most, 0, -1) if width % heads == 0)


WIDE = {"key_share": 1.0, "value_share": 2.0, "gate_rank": 16, "norm_eps": 1e-5}
"""Keys as wide as the model and values twice, paid for by a low-rank output gate: gla5 and gdn-wide, as released."""

RELEASED_STD = low_rank_std(DECAY_RANK)
"""Of GLA's low-rank matrices in the released code, 0.0707: with it their product is N(0, 0.02)-like. The paper has 0.02
for gla."""

PRESETS: dict[str, Preset] = {
    "llama-rope": _llama("rope", "attention with rotary positions, gated MLP"),
    "llama-nope": _llama("nope", "llama-rope without positions"),
    "llama-rope-quarter": _llama("rope-quarter", "half of the heads rotate half of their dimensions"),
    "llama-rope-quarter-fullheads": _llama("rope-quarter-fullheads", "a quarter of the heads rotate"),
    "llama-rope-quarter-allheads": _llama("rope-quarter-allheads", "all heads rotate a quarter of their dimensions"),
    "llama-alibi": _llama("alibi", "no rotation; the further back a token, the less it is attended to"),
    "llama-halibi": _llama("halibi", "half of the heads see 1, 2, 3, ... tokens, the others all; no rotation"),
    "llama-relu2": _llama("rope", "llama-rope with ReLU^2 in its gated MLP", activation="relu2"),
    "llama-moe": _llama("rope", "llama-rope with 32 standard MLPs, of which each token uses one", mlp="moe"),
    "llama-gated": _llama("rope", "llama-rope with gated attention and a smaller MLP", {"gate": True}, mlp_squares=7),
    "swa": _llama("rope", "llama-rope that sees 64 tokens and the first 4", {"window": 64, "sinks": 4}),
    "mla": Preset("multi-head latent attention: keys and values of one narrow latent; gated MLP", MLA),
    "gpt2-rope": _llama("rope", "llama-rope with a standard MLP", mlp="standard"),
    "gpt2-relu2": _llama("rope", "gpt2-rope with ReLU^2", mlp="standard", activation="relu2"),
    "gpt2-original": Preset(
        "gpt2-rope with LayerNorm, GELU and biases",
        Attention,
        {"position": "rope", "bias": True},
        mlp="standard",
        activation="gelu",
        bias=True,
        norm="layer",
    ),
    "gla": Preset("gated linear attention, gated MLP", GLA, {"low_rank_std": RELEASED_STD}, heads=lambda _: 4),
    "gla5": Preset(
        "gla with wider keys and values, a convolution and a smaller MLP",
        GLA,
        {**WIDE, "conv1d": True, "low_rank_std": RELEASED_STD},
        heads=lambda size: _dividing(max(1, size.width // 128), size.width),
        mlp_squares=6,
    ),
    "mamba2": _mamba("Mamba2 without MLPs, two blocks for one layer", mlp="none", blocks=2),
    "mamba2-mlp": _mamba("Mamba2, gated MLP", mlp_squares=6),
    "mamba3": _mamba("Mamba3 (trapezoidal steps, turning state, no convolution), gated MLP", Mamba3, mlp_squares=6),
    "gdn": Preset("gated DeltaNet, gated MLP", GatedDeltaNet, heads=_gdn_heads, mlp_squares=6),
    "gdn-wide": Preset(
        "gdn with wider keys and values: the gdn2 of PhysicsLM4",
        GatedDeltaNet,
        WIDE,
        heads=_delta_heads,
        mlp_squares=6,
    ),
    "gdn2": Preset(
        "Gated DeltaNet-2: gates of erasing and writing for each channel, gated MLP",
        GatedDeltaNet2,
        heads=_delta_heads,
        mlp_squares=5,
    ),
    "kda": Preset(
        "Kimi delta attention: gdn with decays of channels, gated MLP",
        KimiDeltaAttention,
        heads=_delta_heads,
        mlp_squares=7,
    ),
    "deltaproduct": Preset(
        "gated DeltaProduct: gdn with two writes a token, which may reflect, gated MLP",
        DeltaProduct,
        heads=lambda size: _dividing(max(4, size.width // 128), size.width // 4),
        mlp_squares=6,
    ),
    "rwkv7": Preset(
        "RWKV-7's time mixing: a delta rule with rates of channels, gated MLP",
        RWKV7,
        mlp_squares=7,
    ),
}
"""By name; the first one is what others are measured against."""

MIXERS = {preset.mixer.__name__: preset.mixer for preset in PRESETS.values()}
"""Their mixers by the name that run folders and exports have for each."""
