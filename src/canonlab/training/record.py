"""What config.json says of a run: written in one format, read in all that there have been.

format          of the file
identity        the hash of `identified_by`, which is `config` without what need not be told (see `training.identity`)
name            for people
asked           the configuration in the user's words, without what is at its default
files           the user's files that parameters name, as they are called in sources/
config          what determines the weights, everything resolved: task, model, training, precision
difficulty      the task's parameter that makes it harder, if it names one
measuring       what is logged, evaluated and saved, and how often
machine         what the run began on: device, threads, kernels, microbatch

Format 1, of canonlab 0.1, had measuring and machine inside config, and a hash of all of it as the identity.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from canonlab import typed
from canonlab.errors import InputError, shown
from canonlab.files import entry, exists, maybe, parse_json, read_bytes, read_json, sha256
from canonlab.models.config import ModelConfig, as_made, todays_names
from canonlab.tasks.base import Evaluation
from canonlab.tasks.catalog import TASKS
from canonlab.tasks.metrics import Metric, problem
from canonlab.training.config import TrainingConfig
from canonlab.training.identity import FIELDS, MEASURING, ORIGINS, completed, identifying, introduced, split_training

REQUIRED: dict[str, type] = {
    "identity": str,
    "name": str,
    "asked.task.name": str,
    "asked.task.set": dict,
    "asked.model": dict,
    "asked.training": dict,
    "config.task.name": str,
    "config.task.parameters": dict,
    "config.task.context": int,
    "config.model.layers": int,
    "config.model.width": int,
    "config.model.canon.points": str,
    "config.model.pattern": list,
    "config.model.sources": list,
    "config.training": dict,
}
"""What a record is unreadable without, and of which kind it is."""

NUMBERS: dict[str, type[float]] = {"steps": int, "seed": int, "lr": float}
"""The same of `training`, whatever else is in it."""

BLOCK: dict[str, type] = {"mixer.class": str, "mixer.arguments": dict}
"""The same of each block of the pattern."""

PROVENANCE: dict[str, type] = {
    **dict.fromkeys(("command", "data_sha256", "weights_sha256"), str),
    **dict.fromkeys(("best", "log", "versions"), dict),
}
"""What a result may say besides, and of which kind it is."""


@dataclass(frozen=True)
class Record:
    """A run's config.json, in today's terms.

    `identity` is that of this version of canonlab, by which runs are told apart; `written_identity` is the one that the
    folder's other files carry. They differ in a folder of format 1. Of `asked`, model and training hold their defaults
    too.
    """

    identity: str
    written_identity: str
    name: str
    asked: dict[str, Any]
    files: dict[str, str]
    config: dict[str, Any]
    measuring: dict[str, Any]
    machine: dict[str, Any]
    difficulty: str | None

    @cached_property
    def identified_by(self) -> dict[str, Any]:
        """What the identity is the hash of."""
        return identifying(self.config)


def is_run(folder: Path) -> bool:
    """Whether the config.json in a folder is a run's, or can't be read: reading it as one will say what is wrong.

    Other tools' folders have one too, an exported model for one.
    """
    path = folder / "config.json"
    try:
        content = parse_json(read_bytes(path), path)
    except InputError:
        return True
    return isinstance(content, dict) and "identity" in content


def read_record(folder: Path) -> Record:
    """The record of a run folder. InputError when there is none, or it is damaged or of a newer format."""
    path = folder / "config.json"
    if not exists(path):
        raise InputError(f"{folder} is not a run folder: it has no config.json")
    file = read_json(path)
    for key, kind in REQUIRED.items():
        entry(file, key, kind, path, least=0)
    for place, block in enumerate(file["config"]["model"]["pattern"]):
        for key, kind in BLOCK.items():
            entry(block, key, kind, f"{path}: config.model.pattern[{place}]")
    config, asked = dict(file["config"]), file["asked"]
    for origin in config.keys() & set(ORIGINS):
        entry(config, origin, dict, f"{path}: config")
    if file["format"] == 1:
        measuring, machine = _from_format_1(config, path)
    else:
        measuring, machine = entry(file, "measuring", dict, path), entry(file, "machine", dict, path)
    for key, number in NUMBERS.items():
        if math.isnan(entry({"config": config}, f"config.training.{key}", number, path, least=0)):
            raise InputError(f"{path}: config.training.{key} = {config['training'][key]}: must be a finite number")
    apart = {*MEASURING, "microbatch"}
    kept = {name: value for name, value in introduced(TrainingConfig).items() if name not in apart}
    config["training"] = {**kept, **config["training"]}
    asked = {
        **asked,
        "model": {**introduced(ModelConfig), **asked["model"]},
        "training": {**introduced(TrainingConfig), **asked["training"]},
    }
    try:
        identified_by = identifying(config)
        identity = sha256(identified_by if file["format"] == 1 else file["identified_by"])
        config["model"] = completed(config["model"])
        mixers = [block["mixer"]["class"] for block in config["model"]["pattern"]]
        asked["model"]["model"] = todays_names(asked["model"]["model"], mixers)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged: {type(error).__name__} {error}") from None
    asked["model"] = _as_made(asked["model"], config["model"]["pattern"])
    if file["format"] > 1 and identity != file["identity"]:
        raise InputError(f"{path} is damaged: its identity is not the hash of what it is identified by")
    if file["format"] > 1 and not _agree(file["identified_by"], identified_by):
        raise InputError(f"{path} is damaged: its config is not what it is identified by")
    files = maybe(file, "files", dict, path) or {}
    for parameter in files:
        entry(files, parameter, str, f"{path}: files")
    difficulty = maybe(file, "difficulty", str, path) if "difficulty" in file else _difficulty(config["task"])
    return Record(identity, file["identity"], file["name"], asked, files, config, measuring, machine, difficulty)


def _as_made(words: dict[str, Any], pattern: list[dict[str, Any]]) -> dict[str, Any]:
    """The words for the model of a folder, with what its presets had otherwise then."""
    try:
        made = as_made(typed.build(ModelConfig, words, "model"), pattern)
    except InputError:  # of another version, which is said where the model is needed
        return words
    return {**words, "mixer": made.mixer}


def _agree(written: Any, computed: Any) -> bool:
    """Whether `computed` from a record's config is what it is identified by, as `written`.

    A field that this version doesn't know and that isn't told is at its default in a later version.
    """
    if isinstance(written, dict) and isinstance(computed, dict):
        names = written.keys() | (computed.keys() & FIELDS)
        return all(key in written and key in computed and _agree(written[key], computed[key]) for key in names)
    if isinstance(written, list) and isinstance(computed, list):
        return len(written) == len(computed) and all(map(_agree, written, computed))
    return bool(written == computed)


def _difficulty(task: dict[str, Any]) -> str | None:
    """That of a built-in task: folders of format 1 don't say."""
    named = (named.task for named in TASKS.values() if named.task.name == task["name"] and not task.get("source"))
    return next((task.difficulty_parameter for task in named), None)


def _from_format_1(config: dict[str, Any], path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measuring and machine, which are taken out of `config`."""
    machine = dict(entry(config, "backend", dict, path))
    del config["backend"]
    entry(config, "training.microbatch", int, path)
    config["precision"] = entry(machine, "precision", str, path)
    del machine["precision"]
    config["training"], measuring, microbatch = split_training(config["training"], config["model"])
    return measuring, {**machine, "microbatch": microbatch}


def read_result(path: Path, identity: str) -> dict[str, Any]:
    """A run's result.json, checked. InputError where it is damaged, newer, or not of the run of that identity."""
    result = read_json(path)
    if entry(result, "identity", str, path) != identity:
        raise InputError(f"{path}: identity = {result['identity']!r}: is another run's than config.json beside it")
    read_evaluation(entry(result, "evaluation", dict, path), path)
    cost = entry(result, "cost", dict, path)
    for key in ("parameters", "flops_per_token", "tokens"):
        entry(cost, key, float, path, least=0)
    if entry(cost, "seconds", float, path) < 0:  # null where nobody took the time
        raise InputError(f"{path}: seconds = {cost['seconds']}: must be a number of at least 0")
    for key, kind in PROVENANCE.items():
        maybe(result, key, kind, path)
    if (share := maybe(result, "coincidence", float, path)) is not None and not 0 <= share <= 1:
        raise InputError(f"{path}: coincidence = {share}: must be a share, from 0 to 1")
    return result


def read_evaluation(record: dict[str, Any], where: object) -> Evaluation:
    """The evaluation in a result or a line of the log. InputError where it can't be one."""
    entries = entry(record, "metrics", dict, where).items()
    metrics = {name: _metric(written, f"{where}: metric {name!r}") for name, written in entries}
    headline = entry(record, "headline", list, where)
    if not headline or not all(isinstance(name, str) and name in metrics for name in headline):
        raise InputError(f"{where}: headline = {shown(headline)}: must name some of the metrics")
    notes = maybe(record, "notes", dict, where) or {}
    return Evaluation(metrics, tuple(headline), {name: entry(notes, name, float, where) for name in notes})


def _metric(written: dict[str, Any], where: str) -> Metric:
    value = entry(written, "value", float, where)
    low, high = (entry(written, key, float, where) if key in written else math.nan for key in ("low", "high"))
    count, clusters = (0 if written.get(key) is None else written[key] for key in ("count", "clusters"))
    metric = Metric(value, written.get("right"), count, low, high, clusters)
    if wrong := problem(vars(metric)):
        raise InputError(f"{where}: {wrong}")
    return metric
