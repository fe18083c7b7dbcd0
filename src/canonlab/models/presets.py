"""From words to a decoder's configuration: presets, sizes, Canon sets, and a user's own mixer."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from canonlab.errors import InputError, unknown
from canonlab.models.canon_points import CanonConfig
from canonlab.models.decoder import DecoderConfig, MixerConfig
from canonlab.models.mixers.attention import Attention
from canonlab.models.positions import ROTATED_SHARES
from canonlab.plugins import is_plugin, load_plugin

PRESETS: dict[str, MixerConfig] = {
    f"llama-{position}": MixerConfig(Attention, {"position": position}) for position in ROTATED_SHARES
}
"""Name -> mixer, each in a Llama block."""

HEAD_WIDTH = 64


@dataclasses.dataclass(frozen=True)
class Size:
    """Layers, width and heads; written `8L512D`, or `1L32D2H` where the heads are not width / 64."""

    layers: int
    width: int
    heads: int

    @classmethod
    def parse(cls, text: str) -> "Size":
        """The size that `text` writes. InputError for anything else."""
        match = re.fullmatch(r"([1-9]\d*)L([1-9]\d*)D(?:([1-9]\d*)H)?", text)
        if match is None:
            raise InputError(
                f"size = {text!r}: must be <layers>L<width>D, or <layers>L<width>D<heads>H, such as 8L512D"
            )
        layers, width = int(match[1]), int(match[2])
        heads = int(match[3]) if match[3] else max(1, width // HEAD_WIDTH)
        if width % heads:
            raise InputError(
                f"size = {text!r}: {heads} heads don't divide the width {width}; name the heads, as in 1L32D2H"
            )
        return cls(layers, width, heads)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A model in a user's words.

    Attributes:
        model: A preset, or path.py:Class for a mixer of your own in a Llama block.
        size: <layers>L<width>D, with <heads>H after it where heads are not width / 64.
        canon: Canon points, e.g. ABCD or AC, or none.
        canon_kernel: Taps of each Canon layer, 2 to 8.
        canon_residual: Add the Canon layer's input to its output.
        canon_activation: SiLU inside the Canon layer.
        canon_frozen: Keep the random initial Canon weights.
        exact_intermediate: MLP of exactly floor(8/3 width), as the released code; else rounded up to a multiple of 32.
        mixer: Arguments of the mixer's Config, by name.
    """

    model: str = "llama-rope"
    size: str = "8L512D"
    canon: str = "none"
    canon_kernel: int = 4
    canon_residual: bool = True
    canon_activation: bool = False
    canon_frozen: bool = False
    exact_intermediate: bool = False
    mixer: dict[str, Any] = dataclasses.field(default_factory=dict)

    def decoder(self, vocabulary: int) -> DecoderConfig:
        """The decoder for a vocabulary of that many tokens. InputError for anything that does not fit together."""
        size = Size.parse(self.size)
        canon = CanonConfig(
            self.canon, self.canon_kernel, self.canon_residual, self.canon_activation, self.canon_frozen
        )
        floor = 8 * size.width // 3
        intermediate = floor if self.exact_intermediate else -(-floor // 32) * 32
        mixer = _mixer(self.model, self.mixer, size, "b" in canon.points)
        return DecoderConfig(vocabulary, size.layers, size.width, intermediate, mixer, canon)


def _fits(value: Any, declared: Any) -> bool:
    """Whether a value has the plain type that a field declares; other declarations are the mixer's own to check."""
    if declared not in (int, float, bool, str):
        return True
    if isinstance(value, bool):
        return declared is bool
    return isinstance(value, int | float if declared is float else declared)


def _mixer(model: str, arguments: Mapping[str, Any], size: Size, conv1d: bool) -> MixerConfig:
    """The mixer class of `model` and its arguments: preset, then the size's heads and point b, then the user's."""
    if is_plugin(model):
        preset = MixerConfig(load_plugin(model).cls)
    elif model in PRESETS:
        preset = PRESETS[model]
    elif model.endswith(".py"):
        raise InputError(f"model = {model!r}: name the class too, as {model}:MyMixer")
    else:
        raise unknown("model", model, [*PRESETS, "path.py:Class"])
    config = getattr(preset.cls, "Config", None)
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        raise InputError(
            f"model = {model!r}: the class {preset.cls.__name__} needs a dataclass `Config` with a field width"
        )
    allowed = [f.name for f in dataclasses.fields(config) if f.init and f.name != "width"]
    for key in arguments:
        if key not in allowed:
            raise unknown(f"mixer argument of {preset.cls.__name__}", key, allowed)
    for field in dataclasses.fields(config):
        if field.name in arguments and not _fits(arguments[field.name], field.type):
            wanted = getattr(field.type, "__name__", field.type)
            raise InputError(f"mixer argument {field.name} = {arguments[field.name]!r}: must be of type {wanted}")
    if conv1d and "conv1d" not in allowed:
        raise InputError(f"canon: the mixer {preset.cls.__name__} has no point b (no short convolution of its own)")
    facts = {"heads": size.heads, "conv1d": conv1d}
    given = {key: value for key, value in facts.items() if key in allowed}
    return MixerConfig(preset.cls, {**given, **preset.arguments, **arguments})
