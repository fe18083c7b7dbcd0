"""What a model's architecture is called: its preset, its Canon set and whatever else is not as usual, but not its size.

Settings are those of a row: by dotted key, as the user gave them, "model.canon_kernel" for one.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from canonlab.errors import visible
from canonlab.models.config import ModelConfig
from canonlab.quantization.config import QuantizationConfig

NAMES = ("model", "size", "canon")
"""The fields of a model that say which one it is: nothing about them is usual or not."""

ANY = {
    "exact_intermediate": "how the inner width of an MLP is rounded: a few parameters, worth no name of their own",
    "tied": "whether head and embedding are one: a matter of the task, as Capo's are",
}
"""Fields that make no other architecture, and why."""

WORDS = {
    "canon_frozen": "frozen",
    "canon_residual": "no residual",
    "canon_activation": "SiLU",
    "canon_scale": "scaled",
    "mixer.qkv_activation": "SiLU on q, k, v",
    "mixer.canon_after": "Canon after SiLU",
    "canon_dynamic": "dynamic taps",
    "canon_gate": "gated",
    "canon_across": "across layers",
}
"""What a setting that is not the usual one makes of an architecture, for people."""


def usual_settings(config: type[ModelConfig] = ModelConfig) -> dict[str, Any]:
    """What an architecture has unless it says otherwise: the defaults of a model's fields, of new ones too."""
    fields = [field for field in dataclasses.fields(config) if field.default is not dataclasses.MISSING]
    return {field.name: field.default for field in fields if field.name not in (*NAMES, *ANY)}


USUAL = usual_settings() | {"quantization.windows": QuantizationConfig.windows}


FORMS = {
    "quantization.bits": "{} bits",
    "quantization.method": "by {}",
    "quantization.windows": "from {} windows",
}
"""What the value of a setting makes of it, where its name says little."""

SCALES = ("init_scale", "embedding_std", "state_share")
"""Settings that fit any architecture to a small task, and are no part of what one is called."""


def unusual(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a model that are not as usual, by field: {"canon_kernel": 3, "mixer.init": "mimetic"}.

    What `ModelConfig` does not have is never usual: arguments of a mixer, or a field of another version.
    """
    given = {key.removeprefix("model."): value for key, value in settings.items() if key.startswith("model.")}
    apart = {key: value for key, value in given.items() if key not in (*NAMES, *ANY)}
    return {key: value for key, value in apart.items() if key not in USUAL or value != USUAL[key]}


def in_words(settings: Iterable[tuple[str, Any]]) -> list[str]:
    """Unusual settings for people: ["frozen", "mlp ratio 4.0", "init mimetic"]."""

    def name(key: str) -> str:
        return key.removeprefix("mixer.") if key.startswith("mixer.") else key.replace("_", " ")

    return [WORDS.get(key) or FORMS.get(key, f"{name(key)} {{}}").format(value) for key, value in settings]


def with_canon(model: str, canon: str) -> str:
    """A model and its Canon set, such as "llama-rope + Canon-ABCD"; b alone is "gdn + conv1d", none "gdn"."""
    added = "conv1d" if canon == "b" else f"Canon-{canon}"
    return visible(f"{model} + {added}" if canon else model)
