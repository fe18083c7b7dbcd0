"""A run before there is anything to lose: its configuration with everything resolved and checked."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from canonlab.checks import of_the_user
from canonlab.errors import InputError
from canonlab.models.check.sequence import looks_ahead
from canonlab.models.check.subject import Subject
from canonlab.models.config import pattern_names
from canonlab.models.cost import cost
from canonlab.models.decoder import DecoderConfig
from canonlab.plugins import Plugin, is_plugin, load_plugin
from canonlab.tasks.base import MAX_WINDOWS, Task, typed_settings
from canonlab.tasks.catalog import build_task
from canonlab.training.backend import Backend, resolve_backend
from canonlab.training.config import RunConfig, TaskConfig, TrainingConfig
from canonlab.training.published import TRAINING

TOKEN_BYTES = 5
"""Of a token in a batch: an int32 and its mark."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """A configuration with everything resolved and checked, before anything is written.

    `copies` are the user's own files by name, as the run folder keeps them; `notes` are lines for people.
    """

    asked: RunConfig
    config: RunConfig
    task: Task
    decoder: DecoderConfig
    backend: Backend
    plugins: dict[str, Plugin]
    copies: dict[str, bytes]
    notes: list[str]

    @property
    def content(self) -> dict[str, Any]:
        """All that determines the result, as plain data."""
        config = self.config
        return {
            "task": {**self.task.identity, "source": next(iter(self._sources([config.task.name])), None)},
            "model": {**self.decoder.plain(), "sources": self._sources(pattern_names(config.model.model))},
            "training": dataclasses.asdict(config.training),
            "backend": dataclasses.asdict(self.backend),
        }

    @property
    def identity(self) -> str:
        """SHA-256 of the content as canonical JSON."""
        text = json.dumps(self.content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def name(self) -> str:
        """For people first: task, model, Canon set, size, learning rate, seed; then the start of the identity."""
        model, training = self.config.model, self.config.training
        task = _short(self.config.task.name)
        mixers = ",".join(map(_short, pattern_names(model.model)))
        words = [task, mixers, self.decoder.canon.points or "none", model.size]
        return "-".join([*words, f"lr{training.lr:g}", f"s{training.seed}", self.identity[:10]])

    def _sources(self, references: list[str]) -> list[dict[str, str]]:
        return [self.plugins[reference].identity for reference in references if reference in self.plugins]


def _short(reference: str) -> str:
    return reference.rpartition(":")[2] if is_plugin(reference) else reference


def plan_run(config: RunConfig, backend: Backend | None = None) -> Plan:
    """Resolve and check a configuration. `backend` is given when an existing run's is to be kept."""
    task = load_task(config.task)
    if is_plugin(config.task.name):
        _try_task(config.task.name, task)
    if config.training.isolate and task.separator_id is None:
        raise InputError(f"isolate = true: the task {task.name} has no token that opens an instance")
    resolved = dataclasses.replace(config, training=_with_steps(config.training, task))
    _require_room(resolved.training, task)
    decoder = config.model.decoder(len(task.vocabulary))
    decoder.check()
    notes: list[str] = []
    if backend is None:
        backend, notes = resolve_backend(config.backend, decoder.width)
    references = [config.task.name, *pattern_names(config.model.model)]
    plugins = {reference: load_plugin(reference) for reference in references if is_plugin(reference)}
    for name in dict.fromkeys(filter(is_plugin, pattern_names(config.model.model))):
        _try_mixer(name, plugins[name], decoder, backend)
    copies = _copies(plugins.values(), task.files.values())
    notes = [*task.warnings(), *_unused_exposures(config, task), *_endless_warmup(resolved.training), *notes]
    return Plan(config, resolved, task, decoder, backend, plugins, copies, notes)


def _try_task(name: str, task: Task) -> None:
    """InputError when a user's own task fails on its first window."""
    with of_the_user(f"task = {name!r}: fails on its first window", f"; see canonlab check-task {name}"):
        len(task.vocabulary)
        task.windows(0, 0, 1)


def _try_mixer(name: str, plugin: Plugin, decoder: DecoderConfig, backend: Backend) -> None:
    """InputError when a user's own mixer fails on a few tokens, or sees later ones, before there is anything to lose.

    It is tried with the arguments that it has in this decoder, which may be a hybrid. A mixer that sees the token it is
    to predict would win every comparison.
    """
    mixer = next(block.mixer for block in decoder.pattern if block.mixer.cls is plugin.cls)
    failing = of_the_user(f"model = {name!r}: fails on its first tokens", f"; see canonlab check {name}")
    with failing, backend.autocast():
        cost(decoder, 8, backend.device)
        ahead = looks_ahead(Subject(mixer, decoder.width, backend.device))
    if ahead:
        raise InputError(
            f"model = {name!r}: outputs depend on later tokens, those that are to be predicted; "
            f"see canonlab check {name}"
        )


def _endless_warmup(training: TrainingConfig) -> list[str]:
    if training.warmup < training.steps:
        return []
    return [f"the warm-up of {training.warmup} steps does not end in {training.steps} steps: the rate never reaches lr"]


def _copies(plugins: Iterable[Plugin], files: Iterable[Path]) -> dict[str, bytes]:
    """The content of the user's files by name."""
    copies: dict[str, bytes] = {}
    contents = [*((plugin.path, plugin.source) for plugin in plugins), *((path, path.read_bytes()) for path in files)]
    for path, content in contents:
        if copies.setdefault(path.name, content) != content:
            raise InputError(f"{path.name}: two different files have one name; rename one")
    return copies


def _require_room(training: TrainingConfig, task: Task) -> None:
    """InputError where a batch does not fit into this machine's memory, or the run would take more windows than are."""
    if training.steps > MAX_WINDOWS // training.batch:
        raise InputError(
            f"steps = {training.steps}: times the batch {training.batch} is more than {MAX_WINDOWS} windows"
        )
    if not hasattr(os, "sysconf"):  # Windows
        return
    needed = training.batch * task.context * TOKEN_BYTES
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise InputError(
            f"batch = {training.batch}: its tokens alone take {needed / 2**30:,.0f} GiB, this machine has "
            f"{there / 2**30:,.0f}"
        )


def _unused_exposures(config: RunConfig, task: Task) -> list[str]:
    """Says that steps outrank exposures, unless these are only what the task publishes.

    InputError for a task that has no use for exposures.
    """
    steps, exposures = config.training.steps, config.training.exposures
    published = TRAINING.get(config.task.name, {}).get("exposures", 0)
    if exposures and task.windows_per_exposure is None:
        raise InputError(f"exposures = {exposures}: the task {task.name} never ends, so set steps alone")
    if not steps or exposures in (0, published):
        return []
    return [f"steps = {steps} are set, so exposures = {exposures} are not used"]


def _with_steps(training: TrainingConfig, task: Task) -> TrainingConfig:
    """The settings with the steps that their exposures take, when they leave the steps open."""
    if training.steps:
        return dataclasses.replace(training, exposures=0)
    if task.windows_per_exposure is None:
        raise InputError(f"exposures = {training.exposures}: the task {task.name} never ends, so set steps alone")
    return dataclasses.replace(training, steps=-(-training.exposures * task.windows_per_exposure // training.batch))


def load_task(config: TaskConfig) -> Task:
    """The task that a preset's name or `path.py:Class` stands for, with its parameters; InputError if there is none."""
    if not is_plugin(config.name):
        return build_task(config.name, config.set)
    cls = load_plugin(config.name).cls
    if not issubclass(cls, Task):
        raise InputError(f"task = {config.name!r}: {cls.__name__} must be a subclass of canonlab.tasks.base.Task")
    if not dataclasses.is_dataclass(cls):
        raise InputError(f"task = {config.name!r}: {cls.__name__} must be a @dataclass(frozen=True)")
    settings = typed_settings(cls, config.set)
    with of_the_user(f"task = {config.name!r}: {cls.__name__} can't be made"):
        return cls(**settings)
