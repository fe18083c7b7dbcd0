"""What a run goes on from: the weights of another run, its parent.

`config.start` of a run's record is what its weights depend on besides its own settings: what identifies the parent, and
beside that

checkpoint       last or best
step             of the checkpoint
lora             rank of the updates that alone were trained; 0 where all weights were
lora_embedding   rank of the embedding's

The run's folder has a copy of the parent's weights, start.safetensors, a checkpoint as the parent's own, so that it
needs the parent no longer once it exists.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from canonlab import typed
from canonlab.errors import InputError, shown
from canonlab.files import entry, exists, sha256
from canonlab.models.config import ModelConfig
from canonlab.plugins import is_plugin, load_plugin
from canonlab.tasks.base import Task, Vocabulary
from canonlab.tasks.catalog import TASKS
from canonlab.training.checkpoint import Checkpoint, SafetensorsStore
from canonlab.training.config import StartConfig, as_parts
from canonlab.training.copies import load_task, recorded_model, recorded_task
from canonlab.training.parts import START
from canonlab.training.record import Record, read_record, read_result
from canonlab.typed import user_path

OWN = ("checkpoint", "step", "lora", "lora_embedding")
"""What a start says besides what identifies the parent."""

REMEDY = "put a copy in its place, or start anew"
"""What helps where the copy of the parent's weights isn't what it was: nothing else has them."""


@dataclass(frozen=True)
class Start:
    """What a run goes on from: `config.start` of its record, as above. `parent` is that folder, until there is a copy
    of its weights in the run's own."""

    content: dict[str, Any]
    parent: Path | None = None

    @property
    def lora(self) -> tuple[int, int]:
        """The ranks of the updates to the mixers' matrices and to the embedding; 0 for none."""
        return self.content["lora"], self.content["lora_embedding"]

    def keep(self, folder: Path) -> None:
        """Copy the parent's weights to a run's folder. InputError where they are not those that the run is to have."""
        if self.parent is not None:
            store = SafetensorsStore(self.parent / "checkpoints")
            name = self.content["checkpoint"]
            checkpoint = self._checked(store.load(name, read_record(self.parent).written_identity), store.path(name))
            SafetensorsStore(folder).save(Path(START).stem, Checkpoint(checkpoint.weights, self._facts(checkpoint)))

    def load(self, folder: Path) -> Checkpoint:
        """The parent's weights out of a run's own folder. InputError where they are not there, damaged, or others."""
        store = SafetensorsStore(folder, REMEDY)
        return self._checked(store.load(Path(START).stem, self._identity), folder / START)

    def _checked(self, checkpoint: Checkpoint | None, path: Path) -> Checkpoint:
        if checkpoint is None:
            raise InputError(f"{path} is missing, which the run begins with; {REMEDY}")
        if (step := checkpoint.facts["step"]) != self.content["step"]:
            raise InputError(f"{path} is of step {step}: the run begins with step {self.content['step']} of its parent")
        return checkpoint

    @property
    def _identity(self) -> str:
        return sha256({key: value for key, value in self.content.items() if key not in OWN})

    def _facts(self, checkpoint: Checkpoint) -> dict[str, Any]:
        kept = {key: checkpoint.facts[key] for key in ("step", "seconds", "data_sha256")}
        return {"identity": self._identity, **kept}


def recorded_start(record: Record) -> Start | None:
    """What an existing run goes on from; None for one that began with an initialisation."""
    return Start(record.config["start"]) if "start" in record.config else None


def begun(config: StartConfig) -> Start:
    """What a new run goes on from. InputError unless the parent is done and has that checkpoint."""
    folder = user_path(config.run)
    record = read_record(folder)
    if not exists(folder / "result.json"):
        raise InputError(f"start.run = {shown(config.run)}: is not done; canonlab resume goes on with it")
    best = read_result(folder / "result.json", record.written_identity).get("best")
    step = record.config["training"]["steps"]
    if config.checkpoint == "best":
        step = None if best is None else entry(best, "step", int, folder / "result.json")
    if not exists(SafetensorsStore(folder / "checkpoints").path(config.checkpoint)) or step is None:
        raise InputError(f"start.checkpoint = {shown(config.checkpoint)}: {folder} has no such checkpoint")
    own = {**asdict(config), "step": step}
    return Start({**record.identified_by, **{key: own[key] for key in OWN}}, folder)


def require_vocabulary(config: StartConfig, task: Task) -> None:
    """InputError unless the parent's tokens are those of the task, name by name: its embedding knows no others."""
    folder = user_path(config.run)
    theirs, ours = (_names(each.vocabulary) for each in (_task(folder, read_record(folder)), task))
    if theirs != ours:
        pairs = enumerate(zip([*theirs, "none"], [*ours, "none"], strict=False))
        token, (one, other) = next((i, pair) for i, pair in pairs if pair[0] != pair[1])
        raise InputError(
            f"start.run = {shown(config.run)}: has another vocabulary than {task.name}: token {token} is {one}, "
            f"not {other}"
        )


def _names(vocabulary: Vocabulary) -> list[str]:
    return [repr(token.name) for token in vocabulary]


def _task(folder: Path, record: Record) -> Task:
    return load_task(recorded_task(folder, record))


def with_parent(content: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a configuration, with what one that has a `start` has of its parent.

    That is the model, the seed (as a seed is whose data it was trained on) unless another one is named, and the
    parameters of the parent's task where its own task is made of that (a subclass of its class): questions are about
    the same people. InputError for another model.
    """
    parts = as_parts(content)
    if "start" not in parts:
        return dict(parts)
    folder = user_path(typed.build(StartConfig, parts["start"], "start").run)
    record = read_record(folder)
    model = asdict(recorded_model(folder, record))
    for name, value in typed.arguments(ModelConfig, parts.get("model", {}), "model").items():
        if value != model[name]:
            raise InputError(
                f"model.{name} = {shown(value)}: a run has the model of the one that it goes on from, here "
                f"{shown(model[name])}; leave it out"
            )
    training = {"seed": record.config["training"]["seed"], **parts.get("training", {})}
    task = parts.get("task", {})
    below = _task(folder, record)
    made_of = type(below)
    if (cls := _class(task.get("name"))) and issubclass(cls, made_of) and cls is not made_of:
        theirs = {**below.parameters, "context": below.context}
        task = {**task, "set": {**theirs, **(task.get("set") or {})}}
    return {**parts, "task": task, "model": model, "training": training}


def _class(name: Any) -> type | None:
    """The class of a task; None for a name that is none."""
    if isinstance(name, str) and is_plugin(name):
        return load_plugin(name).cls
    return TASKS[name].task if name in TASKS else None
