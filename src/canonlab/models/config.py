"""From words to a decoder's configuration: presets and hybrids of them, sizes, Canon sets, and a user's own mixer."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from canonlab import typed
from canonlab.errors import InputError, shown, unknown
from canonlab.models.canon_points import CanonConfig, spans, written
from canonlab.models.decoder import BlockConfig, DecoderConfig, MixerConfig
from canonlab.models.mlp import ACTIVATIONS, KINDS, MLPConfig
from canonlab.models.presets import PRESETS, Preset
from canonlab.models.sizes import MOST_LAYERS, Size
from canonlab.plugins import is_plugin, load_plugin
from canonlab.typed import user_path


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A model in a user's words.

    Attributes:
        model: A preset, or path.py:Class for a mixer of your own in a Llama block. Several, separated by commas, make a
            hybrid: they take turns over the layers, and norms, embedding and head are the first one's.
        size: <layers>L<width>D, with <heads>H after it where heads are not width / 64; or <layers>-<heads>.
        canon: Canon points, e.g. ABCD or AC; original for the mixer's own convolution where its authors have one (b);
            none for neither.
        canon_kernel: Taps of each Canon layer, 2 to 8.
        canon_residual: Add the Canon layer's input to its output.
        canon_activation: SiLU inside the Canon layer.
        canon_frozen: Keep the random initial Canon taps.
        canon_scale: Canon layers times 1/sqrt(canon_kernel + 1).
        canon_dynamic: Add to Canon's taps what a low-rank projection of each token's input says, 0 at first.
        canon_gate: A learned factor of each channel on what a Canon layer adds to its input, 1 at first.
        canon_layers: The layers of the size that have Canon layers, from 0, such as 0-3,8; or all. The mixer's own
            convolution is in all either way.
        canon_across: At A and C, taps beyond the current token read that point's input in the block below.
        mlp: gated, standard, moe, none, or the preset's.
        mlp_ratio: Inner width of the MLP over the model's width; 0 for the preset's.
        activation: Of the MLP: silu, gelu, relu2, or the preset's.
        exact_intermediate: Round the inner width of a gated MLP, 8/3 width (2 width beside a larger mixer), down, as in
            the released code; else up to a multiple of 32.
        tied: The head is the embedding.
        init_scale: A factor on initial matrices that have the same standard deviation at any width, 0.02 in most; small
            models learn some tasks only from larger ones. Those of PyTorch's law, which knows the width, stay.
        embedding_std: Of the initial embedding; 0 for the preset's.
        state_share: The width of linear mixers' keys (or state), or attention's window, as a share of what the
            published model of width 512 has, whatever this model's width: a small task needs a small state. 0 for the
            mixer's own rule.
        norm_eps: Added to the mean square in every norm, those inside mixers too; 0 for the preset's.
        rope_base: Of the frequencies of attention that rotates, rope_base^(-2i / dimensions); 0 for 10000.
        mixer: Arguments of the mixer's Config, by name.
    """

    model: str = "llama-rope"
    size: str = "8L512D"
    canon: str = "original"
    canon_kernel: int = 4
    canon_residual: bool = True
    canon_activation: bool = False
    canon_frozen: bool = False
    canon_scale: bool = False
    canon_dynamic: bool = False
    canon_gate: bool = False
    canon_layers: str = "all"
    canon_across: bool = False
    mlp: str = "preset"
    mlp_ratio: float = 0.0
    activation: str = "preset"
    exact_intermediate: bool = False
    tied: bool = False
    init_scale: float = 1.0
    embedding_std: float = 0.0
    state_share: float = 0.0
    norm_eps: float = 0.0
    rope_base: float = 0.0
    mixer: dict[str, Any] = dataclasses.field(default_factory=dict)

    def decoder(self, vocabulary: int) -> DecoderConfig:
        """The decoder for a vocabulary of that many tokens. InputError for anything that does not fit together."""
        for name, most in MOST.items():
            if not 0 <= (value := getattr(self, name)) <= most or (name == "init_scale" and not value):
                raise InputError(f"{name} = {shown(value)}: must be a number from 0 to {most}, init_scale above 0")
        size = Size.parse(self.size)
        presets = [_preset(name) for name in pattern_names(self.model)]
        self._check_arguments(presets)
        mlps = [self._mlp(preset, size.width) for preset in presets]
        canon, convolutions = self._canon(presets, any(mlps), size.layers)
        pattern: list[BlockConfig] = []
        for preset, mlp, convolution in zip(presets, mlps, convolutions, strict=True):
            pattern += [BlockConfig(self._mixer(preset, size, convolution), mlp)] * preset.blocks
        layers = sum(presets[layer % len(presets)].blocks for layer in range(size.layers))
        first = presets[0]
        return DecoderConfig(
            vocabulary,
            layers,
            size.width,
            tuple(pattern),
            canon,
            tied=self.tied,
            norm=first.norm,
            norm_eps=self.norm_eps or first.norm_eps,
            embedding_std=self.embedding_std or first.embedding_std,
            head_std=first.std,
            init_scale=self.init_scale,
        )

    def _check_arguments(self, presets: Sequence[Preset]) -> None:
        """Each argument is one of some mixer's."""
        allowed = {field.name for preset in presets for field in _fields(preset)} - {"conv1d"}
        for key in self.mixer:
            if key == "conv1d":
                raise InputError("mixer argument conv1d: canon says it instead (b has it on, B and none off)")
            if key not in allowed:
                raise unknown(f"mixer argument of {_names(presets)}", key, allowed)

    def _canon(self, presets: Sequence[Preset], mlp: bool, layers: int) -> tuple[CanonConfig, list[bool]]:
        """The Canon layers, and for each preset whether its mixer's own convolution is on.

        Points C, D and M fall away where no block has an MLP, so that one set suits a comparison of families.
        """
        own = [_own_convolution(preset) for preset in presets]
        original = self.canon.lower() == "original"
        if original and dataclasses.MISSING in own:
            unsaid = _names([preset for preset, has in zip(presets, own, strict=True) if has is dataclasses.MISSING])
            raise InputError(
                f"canon = 'original': the Config of {unsaid} has a field conv1d without a default, so that nobody "
                "knows what the original is: give it one, or name the set, b for on, none for off"
            )
        words = ("b" if any(own) else "") if original else self.canon
        canon = CanonConfig(
            words,
            self.canon_kernel,
            self.canon_residual,
            self.canon_activation,
            self.canon_frozen,
            self.canon_scale,
            self.canon_dynamic,
            self.canon_gate,
            self._canon_blocks(presets, layers),
            self.canon_across,
        )
        if "b" in canon.points and all(has is None for has in own):
            raise InputError(f"canon: the mixer {_names(presets)} has no point b (no short convolution of its own)")
        if not mlp:
            points = canon.points.translate({ord(point): None for point in "CDM"})
            if canon.points and not points:
                raise InputError(
                    f"canon = {shown(self.canon)}: points C, D and M are at the MLP, and {self.model} has none"
                )
            canon = dataclasses.replace(canon, points=points)
        return canon, [bool(has) if original else has is not None and "b" in canon.points for has in own]

    def _canon_blocks(self, presets: Sequence[Preset], layers: int) -> str:
        """The blocks of the layers that have Canon layers; "" for all of them, in whatever words."""
        starts = list(accumulate((presets[i % len(presets)].blocks for i in range(layers)), initial=0))
        chosen = [] if self.canon_layers == "all" else spans("canon_layers", self.canon_layers, layers)
        blocks = written([(starts[first], starts[last + 1] - 1) for first, last in chosen])
        return "" if blocks == written([(0, starts[-1] - 1)]) else blocks

    def _mlp(self, preset: Preset, width: int) -> MLPConfig | None:
        kind = preset.mlp if self.mlp == "preset" else self.mlp
        if kind == "none":
            return None
        if kind not in KINDS:
            raise unknown("mlp", kind, [*KINDS, "none", "preset"])
        activation = preset.activation if self.activation == "preset" else self.activation
        if activation not in ACTIVATIONS:
            raise unknown("activation", activation, [*ACTIVATIONS, "preset"])
        return MLPConfig(kind, self._intermediate(preset, kind, width), activation, preset.bias, preset.std)

    def _intermediate(self, preset: Preset, kind: str, width: int) -> int:
        if not 0 <= self.mlp_ratio <= 64:
            raise InputError(f"mlp_ratio = {shown(self.mlp_ratio)}: must be a number from 0 to 64")
        if self.mlp_ratio:
            return round(self.mlp_ratio * width)
        if kind == "moe":
            return width
        floor = preset.mlp_squares * width // (3 if kind == "gated" else 2)
        return floor if self.exact_intermediate or kind == "standard" else -(-floor // 32) * 32

    def _mixer(self, preset: Preset, size: Size, convolution: bool) -> MixerConfig:
        """The mixer and all of its arguments: defaults, the preset's, those of size and Canon set, the user's."""
        defaults = {field.name: field.default for field in _fields(preset) if _plain(field.default)}
        own = {**defaults, **preset.arguments, "heads": preset.heads(size), "conv1d": convolution}
        own |= {name: value for name in ("norm_eps", "rope_base") if name in own and (value := getattr(self, name))}
        if self.state_share and (field := getattr(preset.mixer, "state_field", None)):
            declared = typed.fields(preset.mixer.Config).get(field)
            own[field] = self._state(preset, field, declared, own.get(field), size.width)
        arguments = {}
        for name, declared in typed.fields(preset.mixer.Config).items():
            if name in self.mixer:
                value = arguments[name] = typed.coerce(self.mixer[name], declared, f"mixer.{name}")
                if name == "norm_eps" and not 0 <= value <= MOST[name]:
                    raise InputError(f"mixer.{name} = {shown(value)}: must be a number from 0 to {MOST[name]}")
            elif name in own:
                arguments[name] = _as_declared(own[name], declared)
        return MixerConfig(preset.mixer, arguments)

    def _state(self, preset: Preset, field: str, declared: Any, published: Any, width: int) -> int | float:
        """A mixer's argument that says how wide its keys or state are, for `state_share`."""
        if declared not in (int, float) or not isinstance(published, int | float):
            raise InputError(
                f"state_share: {_names([preset])} has state_field = {shown(field)}, which must be an int or a float of "
                "its Config, with a default"
            )
        if declared is int:  # whatever the model's width; 0 is for what has no such state
            return max(1, round(published * self.state_share)) if published else 0
        return published * self.state_share * PUBLISHED_WIDTH / width  # a share of the model's width


MOST = {"init_scale": 1000, "embedding_std": 1000, "state_share": 1000, "norm_eps": 1, "rope_base": 10**12}
"""Numbers that may be anything from 0 to here."""

PUBLISHED_WIDTH = 512
"""Of the published models that `state_share` refers to: 8L512D."""


def pattern_names(model: str) -> list[str]:
    """The presets and plugins that `model` names: one, or several of a hybrid, separated by commas.

    A comma may also be part of a file's path, where that is a file and what stands before the comma is none.
    """
    pieces, names = model.split(","), []
    if len(pieces) > MOST_LAYERS:
        raise InputError(f"model = {shown(model)}: {len(pieces)} names, must be at most {MOST_LAYERS}")
    while pieces:
        ends = (n for n in range(2, len(pieces) + 1) if _is_file(",".join(pieces[:n])))
        many = 1 if pieces[0].strip() in PRESETS or _is_file(pieces[0]) else next(ends, 1)
        names.append(",".join(pieces[:many]).strip())
        pieces = pieces[many:]
    return names


def as_made(model: ModelConfig, pattern: Sequence[Mapping[str, Any]]) -> ModelConfig:
    """The words for a model that was made of these blocks, as plain data, by a canonlab of other presets.

    Arguments of mixers that the preset of that name had otherwise are named: a run or an export stays what it is.
    """
    if any(name not in PRESETS for name in pattern_names(model.model)):  # a user's own has no preset
        return model
    changed = {}
    for block, made in zip(model.decoder(1).pattern, pattern, strict=False):
        arguments = made["mixer"]["arguments"] if made["mixer"]["class"] == block.mixer.cls.__name__ else {}
        for name, value in arguments.items():
            if name != "conv1d" and block.mixer.arguments.get(name, value) != value:
                changed[name] = value
    return dataclasses.replace(model, mixer={**model.mixer, **changed})


def todays_names(model: str, mixers: Sequence[str]) -> str:
    """`model` as it was written once, in today's words; `mixers` are the classes of the blocks that it stood for.

    What gdn2 was is gdn-wide, and gdn2 is Gated DeltaNet-2. Nobody's file is looked for.
    """
    pieces, block = model.split(","), 0
    for place, piece in enumerate(pieces):
        name = piece.strip()
        if name == "gdn2" and mixers[block : block + 1] == ["GatedDeltaNet"]:
            pieces[place] = "gdn-wide"
        block += PRESETS[name].blocks if name in PRESETS else is_plugin(name)  # else it is a part of a path
    return ",".join(pieces)


def _is_file(reference: str) -> bool:
    return is_plugin(reference) and os.path.isfile(user_path(reference.strip().rpartition(":")[0]))


def _preset(name: str) -> Preset:
    """The preset of that name, or a Llama block around the mixer that path.py:Class names."""
    if name in PRESETS:
        return PRESETS[name]
    if name.endswith(".py"):
        raise InputError(f"model = {shown(name)}: name the class too, as {name}:MyMixer")
    if not is_plugin(name):
        raise unknown("model", name, [*PRESETS, "path.py:Class"])
    mixer = load_plugin(name).cls
    config = getattr(mixer, "Config", None)
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        raise InputError(
            f"model = {shown(name)}: the class {mixer.__name__} needs a dataclass `Config` with a field width"
        )
    return Preset("", mixer)


def _fields(preset: Preset) -> list[dataclasses.Field[Any]]:
    """The arguments that a preset's mixer takes, width apart."""
    return [field for field in dataclasses.fields(preset.mixer.Config) if field.init and field.name != "width"]


def _names(presets: Sequence[Preset]) -> str:
    return ", ".join(dict.fromkeys(preset.mixer.__name__ for preset in presets))


def _own_convolution(preset: Preset) -> Any:
    """Whether the authors of the mixer have its own convolution on; None where it has none, MISSING where they don't
    say."""
    own = {field.name: field.default for field in _fields(preset) if field.name == "conv1d"}
    if not own:
        return None
    default = {**own, **preset.arguments}["conv1d"]
    return default if default is dataclasses.MISSING else default is True


def _as_declared(default: Any, declared: Any) -> Any:
    """A default as it would be if it were given, for that is the same run; as it stands where it isn't of its type."""
    try:
        return typed.coerce(default, declared, "")
    except InputError:
        return default


def _plain(value: Any) -> bool:
    """Whether a default can stand in a run's identity; others are as the source has them."""
    return isinstance(value, bool | int | float | str)
