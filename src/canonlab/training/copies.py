"""A run's task and model, of the copies in its folder in place of the user's own files."""

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from canonlab import typed
from canonlab.checks import of_the_user
from canonlab.errors import InputError, require_integer, shown
from canonlab.files import read_bytes
from canonlab.models.config import ModelConfig, pattern_names
from canonlab.plugins import is_plugin, load_plugin
from canonlab.tasks.base import MAX_CONTEXT, Task, typed_settings
from canonlab.tasks.catalog import build_task
from canonlab.training.config import TaskConfig
from canonlab.training.record import Record


def load_task(config: TaskConfig) -> Task:
    """The task that a preset's name or `path.py:Class` stands for, with its parameters; InputError if there is none."""
    task = _own_task(config) if is_plugin(config.name) else build_task(config.name, config.set)
    require_integer("context", task.context, 1, MAX_CONTEXT)
    return task


def _own_task(config: TaskConfig) -> Task:
    cls = load_plugin(config.name).cls
    if not issubclass(cls, Task):
        raise InputError(f"task = {shown(config.name)}: {cls.__name__} must be a subclass of canonlab.tasks.base.Task")
    if not dataclasses.is_dataclass(cls):
        raise InputError(f"task = {shown(config.name)}: {cls.__name__} must be a @dataclass(frozen=True)")
    settings = typed_settings(cls, config.set)
    with of_the_user(f"task = {shown(config.name)}: {cls.__name__} can't be made"):
        return cls(**settings)


def recorded_task(folder: Path, record: Record) -> TaskConfig:
    """The task of a run, made of the folder's copies of a user's files. InputError where they were changed."""
    name = _copy(folder, record.asked["task"]["name"], record.config["task"].get("source"))
    copies = {parameter: str(_in_sources(folder, file)) for parameter, file in record.files.items()}
    return TaskConfig(name, {**record.asked["task"]["set"], **copies})


def recorded_model(folder: Path, record: Record) -> ModelConfig:
    """The model of a run, as `recorded_task`."""
    asked = record.asked["model"]
    sources = iter(record.config["model"]["sources"])
    names = [
        _copy(folder, name, next(sources, None) if is_plugin(name) else None) for name in pattern_names(asked["model"])
    ]
    return typed.build(ModelConfig, {**asked, "model": ",".join(names)}, "model")


def _copy(folder: Path, reference: str, source: Mapping[str, str] | None) -> str:
    """The reference to the folder's copy of a user's file; InputError when that isn't what the run began with.

    Where the file once was says nothing: a folder may come from another machine, or from a stranger.
    """
    if not is_plugin(reference):
        return reference
    file, _, class_name = reference.rpartition(":")
    path = _in_sources(folder, file)
    content = read_bytes(path)
    if source is None or source != {"class": class_name, "sha256": hashlib.sha256(content).hexdigest()}:
        raise InputError(f"{path} is not the source that this run began with")
    return f"{path}:{class_name}"


def _in_sources(folder: Path, file: str) -> Path:
    """Where a run folder keeps its copy of a file, which may have been on another system."""
    return folder.resolve() / "sources" / re.split(r"[\\/]", file)[-1]
