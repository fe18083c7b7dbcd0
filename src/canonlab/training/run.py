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
import os
from pathlib import Path
from typing import Any

from canonlab.errors import InputError
from canonlab.files import read_json, write_json
from canonlab.models.config import ModelConfig, pattern_names
from canonlab.plugins import is_plugin, load_plugin
from canonlab.training.backend import Backend
from canonlab.training.config import RunConfig, TaskConfig, TrainingConfig
from canonlab.training.plan import Plan, plan_run

DIVERGED = "diverged.json"


@dataclasses.dataclass(frozen=True)
class RunFolder:
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


def create_run(config: RunConfig, out: Path | None = None, parent: Path = Path("runs")) -> RunFolder:
    """The run folder for a configuration: `out`, or one below `parent` that is named after the run.

    An existing folder of the same identity is taken up as it is; one of another identity is an InputError.
    """
    return make_run(plan_run(config), out, parent)


def make_run(plan: Plan, out: Path | None = None, parent: Path = Path("runs")) -> RunFolder:
    """`create_run` for what is planned already."""
    folder = out if out is not None else parent / plan.name
    if (folder / "config.json").exists():
        identity = read_json(folder / "config.json")["identity"]
        if identity != plan.identity:
            raise InputError(
                f"{folder} holds a run of another configuration ({identity[:10]}, not {plan.identity[:10]})"
            )
        return RunFolder(folder, plan)
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
    return RunFolder(folder, plan)


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


def open_run(folder: Path, *, from_copies: bool = False) -> RunFolder:
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
    return RunFolder(folder, plan)


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
