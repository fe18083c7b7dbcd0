"""Published checkpoints, and exports, into decoders, and into a folder of canonlab's own:

model.json          the model in a user's words, its vocabulary, where it comes from, the hash of its weights
model.safetensors   the decoder's weights in single precision

model.json is written last. It isn't a run: there is no task that it was trained on, and nothing to go on with.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from canonlab.checks import first_line
from canonlab.errors import InputError
from canonlab.extras import optional
from canonlab.files import entry, exists, parse_json, read_bytes, read_json, write_json
from canonlab.hub.exported import described, is_export, read_export
from canonlab.hub.names import Family, Row, family_of, rows, symbols
from canonlab.hub.settings import Settings, read_settings
from canonlab.hub.weights import (
    Weights,
    build,
    has_weights,
    open_safetensors,
    open_weights,
    own_shapes,
    require_new,
    require_shapes,
    save_weights,
    stored,
)
from canonlab.models.config import ModelConfig
from canonlab.models.cost import parameters
from canonlab.models.decoder import Decoder, DecoderConfig
from canonlab.models.mixers.attention import Attention
from canonlab.models.positions import ROTATED_SHARES
from canonlab.models.sizes import require_memory
from canonlab.training.checkpoint import weights_hash
from canonlab.typed import user_path

MODEL, TENSORS = "model.json", "model.safetensors"

VARIANT = "default"
"""The folder of a published repository that has the files."""

FETCHED = [f"{VARIANT}/params.json", f"{VARIANT}/consolidated.pth"]


def load_published(source: str | Path) -> Decoder:
    """The decoder of a published checkpoint in single precision, on the CPU, for evaluation.

    `source` is a folder with a checkpoint as it was published, one that `canonlab import` or `canonlab export` wrote,
    or a name on the Hugging Face hub, which needs `huggingface_hub` and a network. InputErrors name the file and the
    tensor or the setting; nothing in a file is executed.
    """
    return read_model(source)[1]


def read_model(source: str | Path) -> tuple[ModelConfig, Decoder]:
    """The same with the model in a user's words."""
    folder = _folder(source)
    if exists(folder / MODEL):
        return _imported(folder)
    return read_export(folder) if is_export(folder) else _published(folder)


def import_published(source: str | Path, out: Path) -> dict[str, Any]:
    """Write a published checkpoint, or an export, to the new folder `out`; what model.json says of it."""
    folder = _folder(source)
    if exists(folder / MODEL):
        raise InputError(f"{folder} was imported before: load_published reads it as it is")
    require_new(out)
    model, decoder = read_model(folder)
    tensors = stored(decoder)
    save_weights(out / TENSORS, tensors)
    about = {
        "model": dataclasses.asdict(model),
        "pattern": decoder.config.plain()["pattern"],
        "vocabulary": decoder.config.vocabulary,
        "source": str(source),
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
        "weights_sha256": weights_hash(decoder),
    }
    write_json(out / MODEL, about)
    return about


def _folder(source: str | Path) -> Path:
    """The folder with the files of a checkpoint."""
    folder = user_path(source)
    if not exists(folder) and re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(source)):
        folder = _fetched(str(source))
    if not folder.is_dir():
        raise InputError(f"{source} is no folder, and no name on the Hugging Face hub such as owner/name")
    inner = folder / VARIANT
    return inner if not exists(folder / MODEL) and not has_weights(folder) and inner.is_dir() else folder


def _fetched(name: str) -> Path:
    """The folder that a repository of the hub is kept in here; fetched where it isn't yet."""
    hub = optional("huggingface_hub", "hub", f"{name} is no folder here; fetching it from the Hugging Face hub")
    try:
        return Path(hub.snapshot_download(name, allow_patterns=FETCHED))
    except Exception as error:  # a network, a server and a library fail in ways of their own
        raise InputError(
            f"{name} is no folder here and can't be fetched from the Hugging Face hub, which takes a network and, for "
            f"these models, a login ({first_line(error)})"
        ) from None


def _published(folder: Path) -> tuple[ModelConfig, Decoder]:
    weights = open_weights(folder)
    family = family_of(weights.shapes, weights.path)
    path = folder / family.settings
    if not exists(path):
        raise InputError(f"{folder}: {path.name} is missing, the settings of {family.about}")
    settings = read_settings(family, parse_json(read_bytes(path), path), path)
    config = decoder_config(settings, weights, family, path)
    require_memory("size", settings.model.size, 4 * parameters(config), "its parameters alone")
    return settings.model, build(config, mapped(config, family, weights, settings.interleaved))


def decoder_config(settings: Settings, weights: Weights, family: Family, path: Path) -> DecoderConfig:
    """The decoder that the settings in `path` describe, its vocabulary where they don't say that by the embedding."""
    vocabulary = settings.vocabulary or (*weights.shapes[family.embedding], 0)[0]
    try:
        config = settings.model.decoder(vocabulary)
        parameters(config)  # where its parts don't fit together
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return config


def mapped(config: DecoderConfig, family: Family, weights: Weights, interleaved: bool) -> dict[str, Tensor]:
    """The tensors of a decoder by name, in single precision, from the weights of a checkpoint.

    InputError, before any of them is read, where the file lacks one, has one more or one of another shape.
    """
    with torch.device("meta"):
        own = list(Decoder(config).state_dict())
    found = list(rows(family, own, weights.shapes))
    require_shapes(_wanted(found, symbols(config)), weights)
    turn = _turning(config) if interleaved else None
    return {row.name: _tensor(row, weights, turn).to(torch.float32) for row in found}


def _wanted(found: list[Row], sizes: Mapping[str, int]) -> dict[str, tuple[tuple[int, ...], str]]:
    return {
        part: (tuple(sizes[symbol] for symbol in symbolic.split(",")), f" ({symbolic.replace(',', ' x ')})")
        for row in found
        for part, symbolic in zip(row.parts, row.shapes, strict=True)
    }


def _tensor(row: Row, weights: Weights, turn: Callable[[Tensor, str], Tensor] | None) -> Tensor:
    tensor = torch.cat([weights.read(part) for part in row.parts])  # a copy, which needs the file no longer
    if turn and row.turned:
        tensor = turn(tensor, row.turned)
    return tensor[:, 0].flip(-1).T.contiguous() if tensor.ndim == 3 else tensor


def _turning(config: DecoderConfig) -> Callable[[Tensor, str], Tensor]:
    """Brings rows of heads that pair dimensions 2j and 2j + 1 to rotate them to where j is paired with j + r / 2."""
    (kind,) = config.pattern
    attention = kind.mixer.cls.Config(width=config.width, **kind.mixer.arguments)
    assert isinstance(attention, Attention.Config)
    head, rotated = attention.head_width, round(ROTATED_SHARES[attention.position][1] * attention.head_width)
    heads = {"q": attention.heads, "k": attention.key_heads, "qkv": attention.heads + attention.key_heads}

    def turn(rows: Tensor, which: str) -> Tensor:
        turned, rest = rows.split([heads[which] * head, len(rows) - heads[which] * head])
        by_head = turned.unflatten(0, (-1, head))
        pairs = by_head[:, :rotated].unflatten(1, (-1, 2)).transpose(1, 2).flatten(1, 2)
        return torch.cat([torch.cat([pairs, by_head[:, rotated:]], dim=1).flatten(0, 1), rest])

    return turn


def _imported(folder: Path) -> tuple[ModelConfig, Decoder]:
    """The model in a folder that `import_published` wrote."""
    path = folder / MODEL
    about = read_json(path)
    words, vocabulary = entry(about, "model", dict, path), entry(about, "vocabulary", int, path)
    weights = open_safetensors(folder / TENSORS)
    model, config = described(words, vocabulary, path, weights.shapes, about.get("pattern") or ())
    require_shapes(own_shapes(config), weights)
    decoder = build(config, {name: weights.read(name) for name in weights.shapes})
    if weights_hash(decoder) != entry(about, "weights_sha256", str, path):
        raise InputError(f"{weights.path} is damaged: its weights are not those that were imported")
    return model, decoder
