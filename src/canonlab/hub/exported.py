"""The settings of an export, config.json for transformers, and exports back into decoders."""

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from canonlab import __version__, typed
from canonlab.errors import InputError, shown, unknown
from canonlab.files import entry, exists, parse_json, read_bytes
from canonlab.hub.weights import build, open_weights, own_shapes, require_shapes
from canonlab.models.config import ModelConfig, as_made, pattern_names, todays_names
from canonlab.models.cost import parameters
from canonlab.models.decoder import Decoder, DecoderConfig
from canonlab.models.presets import PRESETS
from canonlab.models.sizes import require_memory
from canonlab.training.identity import completed

CONFIG = "config.json"

PREFIX = "model."
"""Of the names of an export's tensors, before a decoder's own."""

SIZES = {
    "vocabulary": "vocab_size",
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "tied": "tie_word_embeddings",
}
"""Fields of `DecoderConfig` -> their names in transformers; the others have their own."""

DEFAULTS = {SIZES.get(field.name, field.name): field.default for field in dataclasses.fields(DecoderConfig)}
"""What transformers doesn't write when it saves a model anew."""

NOT_OF_GDN2 = "blocks.{}.mixer.beta_and_decay.weight"
"""A tensor of Gated DeltaNet, and so of what gdn2 was, in a layer."""

CODE = "modeling_canonlab"

FIXED: dict[str, Any] = {
    "model_type": "canonlab",
    "architectures": ["CanonlabForCausalLM"],
    "auto_map": {
        "AutoConfig": f"{CODE}.CanonlabConfig",
        "AutoModelForCausalLM": f"{CODE}.CanonlabForCausalLM",
    },
    "dtype": "float32",
}


def settings(config: DecoderConfig, model: ModelConfig | None = None) -> dict[str, Any]:
    """What config.json says of a decoder, and of the model in canonlab's words."""
    fields = {SIZES.get(name, name): value for name, value in config.plain().items()}
    words = {"model": dataclasses.asdict(model)} if model is not None else {}
    plain: dict[str, Any] = json.loads(json.dumps({**FIXED, **fields, "canonlab": {"version": __version__, **words}}))
    return plain


def described(
    words: Mapping[str, Any],
    vocabulary: int,
    path: Path,
    tensors: Collection[str],
    pattern: Sequence[Mapping[str, Any]] = (),
) -> tuple[ModelConfig, DecoderConfig]:
    """The model that the words in a file say, and its decoder. InputError where there is none.

    `tensors` are the names of its weights as a decoder has them, and `pattern` its blocks as plain data: they tell what
    an older canonlab meant by the words.
    """
    mixers = ["GatedDeltaNet" if NOT_OF_GDN2.format(layer) in tensors else "" for layer in range(len(tensors))]
    try:
        model = typed.build(ModelConfig, words, "model")
        model = dataclasses.replace(model, model=todays_names(model.model, mixers))
        for name in pattern_names(model.model):
            if name not in PRESETS:  # a file of somebody's, which would be executed
                raise unknown("model", name, PRESETS)
        model = as_made(model, pattern)
        config = model.decoder(vocabulary)
        size = 4 * parameters(config)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged: {type(error).__name__} {error}") from None
    require_memory("size", model.size, size, "its parameters alone")
    return model, config


def is_export(folder: Path) -> bool:
    """Whether a folder has the settings of an export."""
    path = folder / CONFIG
    content = parse_json(read_bytes(path), path) if exists(path) else None
    return isinstance(content, dict) and content.get("model_type") == FIXED["model_type"]


def read_export(folder: Path) -> tuple[ModelConfig, Decoder]:
    """The model in an export, by its settings and weights alone. InputErrors name the file and what is wrong."""
    path = folder / CONFIG
    content = parse_json(read_bytes(path), path)
    words, vocabulary = entry(content, "canonlab.model", dict, path), entry(content, "vocab_size", int, path)
    try:
        written = completed({**content, "sources": []})
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged: {type(error).__name__} {error}") from None
    weights = open_weights(folder, pickled=False)
    names = [name.removeprefix(PREFIX) for name in weights.shapes]
    model, config = described(words, vocabulary, path, names, written["pattern"])
    for key, value in settings(config).items():
        if key not in FIXED and key != "canonlab" and written.get(key, DEFAULTS.get(key)) != value:
            raise InputError(
                f"{path}: {key} = {shown(content.get(key))}: must be {shown(value)}, as this canonlab makes it of the "
                "words in canonlab.model"
            )
    require_shapes(own_shapes(config, PREFIX), weights)
    tensors = {name.removeprefix(PREFIX): weights.read(name).to(torch.float32) for name in weights.shapes}
    return model, build(config, tensors)
