"""Runs and imported checkpoints into a folder that transformers loads:

config.json              the decoder, and the model in canonlab's words: see `hub.exported`
model.safetensors        its weights in single precision
generation_config.json   the tokens that begin, end and pad
tokenizer.json, ...      the task's vocabulary, of a run
modeling_canonlab.py,... canonlab's code: see `hub.bundle`
README.md                a model card

Nothing of a run folder is executed, and nothing here needs transformers. config.json is written last.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch

from canonlab import __version__, typed
from canonlab.errors import InputError, unknown
from canonlab.extras import optional
from canonlab.files import entry, exists, read_json, write_text
from canonlab.hub.bundle import bundle
from canonlab.hub.card import Origin, model_card
from canonlab.hub.exported import CONFIG, PREFIX, is_export, settings
from canonlab.hub.published import MODEL, TENSORS, read_model
from canonlab.hub.tokenizer import end_name, pad_name, tokenizer_files
from canonlab.hub.weights import require_new, save_weights, stored
from canonlab.models.config import ModelConfig, pattern_names
from canonlab.models.decoder import Decoder
from canonlab.plugins import is_plugin
from canonlab.tasks.base import Task
from canonlab.training.checkpoint import SafetensorsStore, restore_model, weights_hash
from canonlab.training.lora import merged
from canonlab.training.parts import CHECKPOINTS
from canonlab.training.record import Record, is_run, read_record, read_result
from canonlab.training.run import open_trained

OTHERS = "The tokenizer is not in this folder: copy it here. It and the weights are under their authors' license."
"""What the card of a published checkpoint says."""


class Source(NamedTuple):
    """A model, the task that it was trained on where its vocabulary is known, and where it comes from."""

    model: ModelConfig
    decoder: Decoder
    task: Task | None
    origin: Origin


def read_source(folder: Path, checkpoint: str = "last") -> Source:
    """The model in a run folder, or in one that `load_published` reads. InputErrors name the file; executes nothing."""
    if checkpoint not in CHECKPOINTS:
        raise unknown("checkpoint", checkpoint, CHECKPOINTS)
    if exists(folder / CONFIG) and not is_export(folder) and is_run(folder):
        return _of_run(folder, checkpoint)
    model, decoder = read_model(folder)
    path = folder / MODEL
    name = Path(entry(read_json(path), "source", str, path)).name if exists(path) else folder.absolute().name
    return Source(model, decoder, None, Origin(name, notes=(OTHERS,)))


def export(folder: Path, out: Path, checkpoint: str = "last") -> dict[str, Any]:
    """Write the model in a folder (see `read_source`) to the new folder `out`; what was written, in a few words."""
    require_new(out)
    source = read_source(folder, checkpoint)
    tensors = stored(source.decoder)
    config, parameters = source.decoder.config, sum(tensor.numel() for tensor in tensors.values())
    save_weights(out / TENSORS, {PREFIX + name: tensor for name, tensor in tensors.items()})
    special = special_ids(source.task)
    files: dict[str, Any] = {**bundle(__version__), "generation_config.json": special}
    if source.task is not None:
        files |= tokenizer_files(source.task)
    files["README.md"] = model_card(source.model, config, parameters, source.origin)
    files[CONFIG] = {**settings(config, source.model), **special}
    for name, content in files.items():
        write_text(out / name, content if isinstance(content, str) else json.dumps(content, indent=2) + "\n", "out")
    return {
        "model": source.model.model,
        "size": source.model.size,
        "canon": config.canon.points or "none",
        "parameters": parameters,
        "tokenizer": source.task is not None,
        "files": sorted([TENSORS, *files]),
    }


def to_transformers(decoder: Decoder, task: Task | None = None) -> Any:
    """The decoder as a `PreTrainedModel` (`canonlab.hub.modeling`), whose weights these are. Needs transformers."""
    optional("transformers", "transformers", "a model of transformers")
    from canonlab.hub.modeling import CanonlabConfig, CanonlabForCausalLM

    config = CanonlabConfig(**{**settings(decoder.config), **special_ids(task)})
    with torch.device("meta"):
        model = CanonlabForCausalLM(config)
    model.model = decoder
    return model.train(decoder.training)


def special_ids(task: Task | None) -> dict[str, int]:
    """The ids of the tokens that begin, end and pad, as transformers calls them; of those that there are."""
    if task is None:
        return {}
    names = {"bos_token_id": task.separator, "eos_token_id": end_name(task), "pad_token_id": pad_name(task)}
    ids = {token.name: token.id for token in task.vocabulary}
    return {key: ids[name] for key, name in names.items() if name in ids}


def _of_run(folder: Path, checkpoint: str) -> Source:
    record = read_record(folder)
    path = folder / CONFIG
    try:
        model = typed.build(ModelConfig, record.asked["model"], "model")
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    for name in filter(is_plugin, [*pattern_names(model.model), record.asked["task"]["name"]]):
        raise InputError(f"{folder}: {name} is a file of the user's own, which an export can't carry along")
    trained = open_trained(folder)
    kept = SafetensorsStore(folder / "checkpoints").load(checkpoint, record.written_identity)
    if kept is None:
        raise InputError(f"{folder} has no checkpoint {checkpoint!r} yet")
    decoder = trained.decoder.build().eval()
    restore_model(merged(kept.weights, decoder.config.tied), decoder)
    return Source(model, decoder, trained.task, _origin(folder, record, trained.task, decoder, checkpoint, kept.facts))


def _origin(
    folder: Path, record: Record, task: Task, decoder: Decoder, checkpoint: str, facts: dict[str, Any]
) -> Origin:
    evaluation = None
    if exists(folder / "result.json"):
        result = read_result(folder / "result.json", record.written_identity)
        if result.get("weights_sha256") == weights_hash(decoder):
            evaluation = result["evaluation"]
    notes: tuple[str, ...] = ()
    if record.config["training"]["isolate"]:
        notes = (f"It was trained on one instance at a time, each opened by `{task.separator}`: give it one.",)
    window = task.windows(0, 0, 1, "eval").tokens[0].tolist()
    prompt = next((example.prompt for example in task.examples(window)), window[:1])
    return Origin(
        f"canonlab {__version__}, run {record.name}, {checkpoint} checkpoint, step {facts['step']}",
        record.asked["task"]["name"],
        {**task.parameters, "context": task.context},
        task.vocabulary.decode(prompt),
        record.config["training"],
        evaluation,
        notes,
    )
