"""The settings that published models come with, params.json or config.json, in canonlab's words."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from canonlab.errors import InputError, shown
from canonlab.files import entry, maybe
from canonlab.hub.names import GDN2, GLA5, HUGGING_FACE, LLAMA, MAMBA2, Family
from canonlab.models.config import ModelConfig

FIXED: dict[str, Any] = {
    "canon_kernel": 4,
    "canon_residual": True,
    "canon_activation": False,
    "canon_bias": False,
    "weight_tying": False,
    "sliding_window": None,
}
"""What every published model has, said or not. With another value the mapping isn't the one that was checked."""

HUGGING_FACE_FIXED: dict[str, Any] = {
    "canon_kernel": 4,
    "canon_residual": True,
    "canon_activation": False,
    "canon_bias": False,
    "model_type": "LlamaCanon",
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "rope_scaling": None,
    "attention_bias": False,
    "mlp_bias": False,
    "rope_parameters": None,
}

LINEAR_CANON = {"AbbCD": "AbCD", "bb": "b"}
"""The sets of the linear models. What a single b would be there, no published model says."""

LINEAR_MODELS = {GLA5: "gla5", GDN2: "gdn-wide", MAMBA2: "mamba2-mlp"}

SMALLEST = 1e-30
"""Of numbers that may not be 0."""


@dataclass(frozen=True)
class Settings:
    """A model, the size of its vocabulary where it is said, and how its heads' dimensions are paired."""

    model: ModelConfig
    vocabulary: int | None
    interleaved: bool = False


def read_settings(family: Family, content: object, path: Path) -> Settings:
    """What a settings file of the family says, parsed. InputErrors name the file, the field and what is allowed."""
    if family is HUGGING_FACE:
        return _hugging_face(content, path)
    model, where = entry(content, "model", dict, path), f"{path}: model"
    _require(FIXED, model, where)
    found = _lingua(model, where) if family is LLAMA else _linear(family, model, where)
    vocabulary = maybe(model, "vocab_size", int, where) or -1  # Lingua's -1 leaves it to the tokenizer
    return Settings(found, None if vocabulary < 0 else vocabulary, family.interleaved)


def _require(fixed: Mapping[str, Any], content: Mapping[str, Any], where: object) -> None:
    for key, value in fixed.items():
        if content.get(key, value) != value:
            raise InputError(f"{where}: {key} = {shown(content[key])}: must be {value!r}, as in all published models")


def _count(content: object, key: str, where: object) -> int:
    return entry(content, key, int, where, least=1)


def _number(content: dict[str, Any], key: str, default: float, where: object) -> float:
    return default if content.get(key) is None else entry(content, key, float, where, least=SMALLEST)


def _size(layers: int, width: int, heads: int) -> str:
    return f"{layers}L{width}D{heads}H"


def _lingua(model: dict[str, Any], where: str) -> ModelConfig:
    layers, width, heads = (_count(model, key, where) for key in ("n_layers", "dim", "n_heads"))
    inner = _inner(model, 256 * -(-width // 96), where)  # 8/3 width, up to a multiple of 256
    return ModelConfig(
        _rotation(maybe(model, "rope_dim", int, where), width // heads, where),
        _size(layers, width, heads),
        maybe(model, "canon_set", str, where) or "none",
        mlp_ratio=inner / width,
        norm_eps=_number(model, "norm_eps", 1e-5, where),
        rope_base=_number(model, "rope_theta", 1e4, where),
        mixer={"kv_heads": maybe(model, "n_kv_heads", int, where) or 0, "qk_norm": _flag(model, "qk_norm", where)},
    )


def _hugging_face(content: object, path: Path) -> Settings:
    if not isinstance(content, dict):
        raise InputError(f"{path}: must be a JSON object")
    _require(HUGGING_FACE_FIXED, {"model_type": None, **content}, path)
    keys = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size")
    layers, width, heads, inner, vocabulary = (_count(content, key, path) for key in keys)
    kv_heads, qk_norm = maybe(content, "num_key_value_heads", int, path) or 0, _flag(content, "qk_norm", path)
    model = ModelConfig(
        _rotation(maybe(content, "rope_dim", int, path), width // heads, path),
        _size(layers, width, heads),
        maybe(content, "canon_set", str, path) or "none",
        mlp_ratio=inner / width,
        norm_eps=entry(content, "rms_norm_eps", float, path, least=SMALLEST),
        rope_base=_number(content, "rope_theta", 1e4, path),
        mixer={"kv_heads": kv_heads, "qk_norm": qk_norm},
    )
    version = content.get("rope_version", "huggingface")
    if version not in ("huggingface", "lingua"):
        raise InputError(f"{path}: rope_version = {shown(version)}: must be 'huggingface' or 'lingua'")
    return Settings(model, vocabulary, version == "lingua")


def _flag(content: dict[str, Any], key: str, where: object) -> bool:
    if not isinstance(found := content.get(key) or False, bool):
        raise InputError(f"{where}: {key} = {shown(found)}: must be true or false")
    return found


def _rotation(dimensions: int | None, head: int, where: object) -> str:
    """The architecture in which all heads rotate so many of their `head` dimensions."""
    models = {None: "llama-rope", head: "llama-rope", head / 4: "llama-rope-quarter-allheads"}
    if dimensions not in models:
        raise InputError(f"{where}: rope_dim = {dimensions}: must be null, {head:g} or a quarter of that, {head / 4:g}")
    return models[dimensions]


def _inner(model: dict[str, Any], default: int, where: str) -> int:
    return default if model.get("hidden_dim") is None else _count(model, "hidden_dim", where)


def _linear(family: Family, model: dict[str, Any], where: str) -> ModelConfig:
    layers, width, heads = (_count(model, key, where) for key in ("n_layers", "dim", "n_heads"))
    points = entry(model, "canon_set", str, where)
    if points not in LINEAR_CANON:
        raise InputError(f"{where}: canon_set = {shown(points)}: must be {' or '.join(map(repr, LINEAR_CANON))}")
    mamba = family is MAMBA2
    return ModelConfig(
        LINEAR_MODELS[family],
        _size(layers, width, heads),
        LINEAR_CANON[points],
        mlp_ratio=_inner(model, 2 * width, where) / width,
        norm_eps=_number(model, "layer_norm_epsilon" if mamba else "norm_eps", 1e-5, where),  # what its code reads
        mixer={"heads": heads, **({"state": _count(model, "mamba_ssm", where)} if mamba else {})},
    )
