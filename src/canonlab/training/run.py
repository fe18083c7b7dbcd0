"""A run is a folder, named after what determines its result.

config.json          what was asked for and what it was resolved to; its hash is the run's identity
environment.json     versions and machine of every session that worked on the run
metrics.jsonl        training and evaluation records
checkpoints/         last.safetensors, best.safetensors
diverged.json        where and why the last attempt at the run diverged, if it did
sources/             copies of the user's own files, if any
result.json          written last, only when the run is done
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from canonlab.checks import first_line
from canonlab.errors import InputError
from canonlab.models.check.sequence import looks_ahead
from canonlab.models.check.subject import Subject
from canonlab.models.cost import cost
from canonlab.models.decoder import DecoderConfig
from canonlab.models.presets import ModelConfig, pattern_names
from canonlab.plugins import Plugin, is_plugin, load_plugin
from canonlab.tasks.base import Task, check_settings
from canonlab.tasks.catalog import build_task
from canonlab.training.backend import Backend, resolve_backend
from canonlab.training.config import RunConfig, TaskConfig, TrainingConfig
from canonlab.training.files import read_json, write_json
from canonlab.training.presets import TRAINING

DIVERGED = "diverged.json"


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
    task, _ = load_task(config.task)
    if config.training.isolate and task.separator_id is None:
        raise InputError(f"isolate = true: the task {task.name} has no token that opens an instance")
    resolved = dataclasses.replace(config, training=_with_steps(config.training, task))
    decoder = config.model.decoder(len(task.vocabulary))
    decoder.check()
    notes: list[str] = []
    if backend is None:
        backend, notes = resolve_backend(config.backend, decoder.width)
    references = [config.task.name, *pattern_names(config.model.model)]
    plugins = {reference: load_plugin(reference) for reference in references if is_plugin(reference)}
    _try_mixers(config.model, decoder, backend)
    copies = _copies(plugins.values(), task.files.values())
    notes = [*task.warnings(), *_unused_exposures(config), *_endless_warmup(resolved.training), *notes]
    return Plan(config, resolved, task, decoder, backend, plugins, copies, notes)


def _try_mixers(model: ModelConfig, decoder: DecoderConfig, backend: Backend) -> None:
    """InputError when a user's own mixer fails on a few tokens, or sees later ones, before there is anything to lose.

    A mixer that sees the token it is to predict would win every comparison.
    """
    for name in filter(is_plugin, pattern_names(model.model)):
        try:
            with backend.autocast():
                cost(decoder, 8, backend.device)
                ahead = looks_ahead(Subject.of(dataclasses.replace(model, model=name)), backend.device)
        except InputError:
            raise
        except Exception as error:  # whatever a user's code does
            what = first_line(error)
            raise InputError(
                f"model = {model.model!r}: fails on its first tokens ({what}); see canonlab check {name}"
            ) from None
        if ahead:
            raise InputError(
                f"model = {model.model!r}: outputs of {name} depend on later tokens, those that are to be predicted; "
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


def _unused_exposures(config: RunConfig) -> list[str]:
    """Says that steps outrank exposures, unless these are only what the task publishes."""
    steps, exposures = config.training.steps, config.training.exposures
    published = TRAINING.get(config.task.name, {}).get("exposures", 0)
    if not steps or exposures in (0, published):
        return []
    return [f"steps = {steps} are set, so exposures = {exposures} are not used"]


def _with_steps(training: TrainingConfig, task: Task) -> TrainingConfig:
    """The settings with the steps that their exposures take, when they leave the steps open."""
    if training.steps:
        return dataclasses.replace(training, exposures=0)
    if task.windows_per_exposure is None:
        raise InputError(f"exposures = {training.exposures}: the task {task.name} never ends, so set steps")
    return dataclasses.replace(training, steps=-(-training.exposures * task.windows_per_exposure // training.batch))


def load_task(config: TaskConfig) -> tuple[Task, Plugin | None]:
    """The task that a preset's name or `path.py:Class` stands for, with its parameters."""
    if not is_plugin(config.name):
        return build_task(config.name, config.set), None
    plugin = load_plugin(config.name)
    if not issubclass(plugin.cls, Task):
        raise InputError(f"task = {config.name!r}: {plugin.class_name} must be a subclass of canonlab.tasks.base.Task")
    check_settings(plugin.cls, config.set)
    return plugin.cls(**config.set), plugin


@dataclasses.dataclass(frozen=True)
class Run:
    """A plan and the folder that it lives in."""

    folder: Path
    plan: Plan

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        return (self.folder / "result.json").exists()

    def result(self) -> dict[str, Any]:
        """The result of a run that is done."""
        return read_json(self.folder / "result.json")

    @property
    def diverged(self) -> dict[str, Any] | None:
        """The `step` at which the last attempt was found to have diverged, and the `reason`; None if it did not."""
        path = self.folder / DIVERGED
        return read_json(path) if path.exists() else None


def create_run(config: RunConfig, out: Path | None = None, parent: Path = Path("runs")) -> Run:
    """The run folder for a configuration: `out`, or one below `parent` that is named after the run.

    An existing folder of the same identity is taken up as it is; one of another identity is an InputError.
    """
    return make_run(plan_run(config), out, parent)


def make_run(plan: Plan, out: Path | None = None, parent: Path = Path("runs")) -> Run:
    """`create_run` for what is planned already."""
    folder = out if out is not None else parent / plan.name
    if (folder / "config.json").exists():
        identity = read_json(folder / "config.json")["identity"]
        if identity != plan.identity:
            raise InputError(
                f"{folder} holds a run of another configuration ({identity[:10]}, not {plan.identity[:10]})"
            )
        return Run(folder, plan)
    if folder.exists() and (not folder.is_dir() or _holds_other_things(folder)):
        raise InputError(f"{folder} exists and is not a run folder; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the run folder {folder}: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write to the run folder {folder}")
    for name, content in plan.copies.items():
        (folder / "sources").mkdir(exist_ok=True)
        (folder / "sources" / name).write_bytes(content)
    write_json(folder / "config.json", _config_file(plan))
    return Run(folder, plan)


def _holds_other_things(folder: Path) -> bool:
    """Whether a folder without config.json holds more than what a kill just before writing that leaves behind."""
    return any(path.name != "sources" and not path.name.startswith(".config.json.") for path in folder.iterdir())


def _config_file(plan: Plan) -> dict[str, Any]:
    asked = dataclasses.asdict(plan.asked)
    placed = {reference: f"{plugin.path}:{plugin.class_name}" for reference, plugin in plan.plugins.items()}
    asked["task"]["name"] = placed.get(plan.config.task.name, plan.config.task.name)
    asked["task"]["set"] |= {parameter: str(path.absolute()) for parameter, path in plan.task.files.items()}
    asked["model"]["model"] = ",".join(placed.get(name, name) for name in pattern_names(plan.config.model.model))
    files = {parameter: path.name for parameter, path in plan.task.files.items()}
    return {"identity": plan.identity, "name": plan.name, "asked": asked, "files": files, "config": plan.content}


def open_run(folder: Path, *, from_copies: bool = False) -> Run:
    """The run in an existing folder. InputError when its configuration, or a user's source, is not what it was.

    `from_copies` loads a user's sources from the folder's copies: to look at a run whose sources were edited since.
    Files that the task's parameters name are always read from there: a run goes on with what it began with.
    """
    if not (folder / "config.json").exists():
        raise InputError(f"{folder} is not a run folder: it has no config.json")
    file = read_json(folder / "config.json")
    try:
        asked = file["asked"]
        source = file["config"]["task"]["source"]
        asked["task"]["name"] = _source_path(folder, asked["task"]["name"], source, from_copies)
        files = file.get("files", {})  # early runs have none
        asked["task"]["set"] |= {parameter: str(folder / "sources" / name) for parameter, name in files.items()}
        sources = iter(file["config"]["model"]["sources"])
        asked["model"]["model"] = ",".join(
            _source_path(folder, name, next(sources) if is_plugin(name) else None, from_copies)
            for name in pattern_names(asked["model"]["model"])
        )
        config = RunConfig(
            TaskConfig(**asked["task"]), ModelConfig(**asked["model"]), TrainingConfig(**asked["training"])
        )
        plan = plan_run(config, Backend(**file["config"]["backend"]))
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        raise InputError(f"{folder / 'config.json'} is damaged: {error}") from None
    if plan.identity != file["identity"]:
        changed = [part for part in plan.content if plan.content[part] != file["config"].get(part)]
        raise InputError(
            f"{folder}: this canonlab makes another run of its configuration "
            f"(changed: {', '.join(changed) or 'identity'}); resume it with the version that began it, or start anew"
        )
    return Run(folder, plan)


def _source_path(folder: Path, reference: str, source: dict[str, str] | None, from_copies: bool) -> str:
    """Where to load a user's file from: where it was, or the folder's copy if it is gone; never one that changed."""
    if source is None:
        return reference
    file, _, class_name = reference.rpartition(":")
    copy = folder / "sources" / Path(file).name
    path = copy if from_copies or not Path(file).exists() else Path(file)
    reference = f"{path}:{class_name}"
    if load_plugin(reference).sha256 != source["sha256"]:
        raise InputError(
            f"{path} is not the source that this run began with; a copy of that is in {folder / 'sources'}"
        )
    return reference
