"""What makes two runs the same run, and what doesn't. Three lists, each with a question of its own:

- **identity**: what the weights depend on, mathematically. A run is named after its hash.
- **measuring**: what is logged, evaluated and saved, and how often. It changes no weight.
- **machine**: device, threads, kernels and the like: the same mathematics, other last bits. It is recorded, and a
  resume says when it differs, but two machines don't make two runs of one.

What runs must share to be *compared* is a fourth question: `results.comparability`.

Configurations grow. So that a new field voids no finished run, a field that has the value it was introduced with is no
part of the identity: `told` leaves it out. That value is the field's default. Should the default ever change, the field
keeps its first one as `metadata={"introduced": value}`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from canonlab.files import sha256
from canonlab.models.canon_points import CanonConfig
from canonlab.models.decoder import BlockConfig, DecoderConfig
from canonlab.models.mlp import MLPConfig
from canonlab.models.presets import MIXERS
from canonlab.training.config import TrainingConfig

MEASURING = ("metric", "eval_every", "eval_windows", "final_windows", "checkpoint_every", "log_every")
"""The fields of TrainingConfig that change no weight."""

ORIGINS = ("start", "quantization")
"""What the configuration of a run that is made of another one has besides: what that one was, what was done to it."""

FIELDS = {
    field.name
    for cls in (
        TrainingConfig,
        DecoderConfig,
        CanonConfig,
        BlockConfig,
        MLPConfig,
        *(m.Config for m in MIXERS.values()),
    )
    for field in dataclasses.fields(cls)
}
"""The names of all fields that identify a run and may be left out."""


def introduced(cls: type) -> dict[str, Any]:
    """The values that a dataclass's fields were introduced with, by name, as plain data; none for a required field."""
    found = {}
    for field in dataclasses.fields(cls):
        if "introduced" in field.metadata:
            found[field.name] = field.metadata["introduced"]
        elif field.default is not dataclasses.MISSING:
            found[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
    return {name: dataclasses.asdict(value) if _is_instance(value) else value for name, value in found.items()}


def _is_instance(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def told(content: Mapping[str, Any], cls: type) -> dict[str, Any]:
    """The fields of a dataclass, as plain data, that differ from what they were introduced with."""
    defaults = introduced(cls)
    return {name: value for name, value in content.items() if name not in defaults or value != defaults[name]}


def identifying(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` (task, model, training, precision and origin of a run, everything resolved) without what need not be
    told."""
    return {
        "task": config["task"],  # whose parameters are the data's key, so a task itself leaves out what is new in it
        "model": _told_model(config["model"]),
        "training": told(config["training"], TrainingConfig),
        "precision": config["precision"],
        **{origin: config[origin] for origin in ORIGINS if origin in config},
    }


def _told_model(model: Mapping[str, Any]) -> dict[str, Any]:
    own = {source["class"] for source in model["sources"]}
    return {
        **told(model, DecoderConfig),
        "canon": told(model["canon"], CanonConfig),
        "pattern": [_told_block(block, own) for block in model["pattern"]],
    }


def _told_block(block: Mapping[str, Any], own: set[str]) -> dict[str, Any]:
    """A user's own mixer keeps all of its arguments: a field that is new in it makes another source anyway."""
    mixer, mlp = block["mixer"], block["mlp"]
    built_in = None if mixer["class"] in own else MIXERS.get(mixer["class"])
    arguments = told(mixer["arguments"], built_in.Config) if built_in else mixer["arguments"]
    return {
        **told(block, BlockConfig),
        "mixer": {**mixer, "arguments": arguments},
        "mlp": told(mlp, MLPConfig) if mlp else mlp,
    }


def completed(model: Mapping[str, Any]) -> dict[str, Any]:
    """A model as a run folder has it, with the fields that are newer than the folder at the values they came with."""
    own = {source["class"] for source in model["sources"]}
    return {
        **introduced(DecoderConfig),
        **model,
        "canon": {**introduced(CanonConfig), **model["canon"]},
        "pattern": [_completed_block(block, own) for block in model["pattern"]],
    }


def _completed_block(block: Mapping[str, Any], own: set[str]) -> dict[str, Any]:
    mixer, mlp = block["mixer"], block["mlp"]
    built_in = None if mixer["class"] in own else MIXERS.get(mixer["class"])
    arguments = {**introduced(built_in.Config), **mixer["arguments"]} if built_in else mixer["arguments"]
    return {
        **introduced(BlockConfig),
        **block,
        "mixer": {**mixer, "arguments": arguments},
        "mlp": {**introduced(MLPConfig), **mlp} if mlp else mlp,
    }


def identity(config: Mapping[str, Any]) -> str:
    """SHA-256 of what identifies a run."""
    return sha256(identifying(config))


def split_training(training: Mapping[str, Any], model: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], int]:
    """The fields of TrainingConfig that the weights depend on, those of measuring, and the microbatch.

    In how many parts a batch is computed is a matter of the machine, unless experts are balanced within each of them.
    """
    measuring = {name: training[name] for name in MEASURING if name in training}
    balances = any(block["mlp"] and block["mlp"]["kind"] == "moe" for block in model["pattern"])
    apart = {*MEASURING} if balances else {*MEASURING, "microbatch"}
    return {name: value for name, value in training.items() if name not in apart}, measuring, training["microbatch"]
