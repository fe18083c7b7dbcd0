"""A run is a folder, named after what determines its result.

config.json          what was asked for and what it was resolved to: see `training.record`
environment.json     versions and machine of every session that worked on the run
metrics.jsonl        training and evaluation records
checkpoints/         last.safetensors, best.safetensors
diverged.json        where and why the last attempt at the run diverged, if it did
failed.json          why a sweep's last attempt at the run failed, if it did
output.log           what a worker of a sweep has said of the run
start.safetensors    the weights that the run begins with, where they are another run's: see `training.start`
.lock                who works on the run
sources/             copies of the user's own files, if any; a run goes on with these, whatever became of the originals
result.json          written last, only when the run is done

That of a quantized run (`training.quantized`) has neither a log nor sessions: its weights come from another run's.

Opening a run to go on with it, or to evaluate it, executes the Python files in sources/ after comparing them with the
hashes in config.json. Nothing else does: a stranger's run folders can be reported on, but resume and evaluate only what
you would execute.
"""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from canonlab import typed
from canonlab.errors import InputError, Unreadable
from canonlab.files import entry, exists, read_json, replacing, write_json
from canonlab.models.config import ModelConfig, pattern_names
from canonlab.models.decoder import DecoderConfig
from canonlab.quantization.config import QuantizationConfig
from canonlab.tasks.base import Task, copy_name
from canonlab.training.backend import Backend, usable
from canonlab.training.config import BackendConfig, RunConfig, StartConfig, TrainingConfig
from canonlab.training.copies import recorded_model, recorded_task
from canonlab.training.identity import MEASURING, identifying, introduced, told
from canonlab.training.parts import DIVERGED, OUTPUT, PARTS, START
from canonlab.training.plan import Plan, plan_run
from canonlab.training.record import Record, is_run, read_record, read_result
from canonlab.training.start import recorded_start
from canonlab.typed import user_path


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """A plan and the folder that it lives in.

    `identity` is the one that the folder's files carry. `notes` say where the folder has other settings of measuring
    and machine than were asked for now: it keeps those that it was begun with.
    """

    folder: Path
    plan: Plan
    identity: str
    notes: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        return exists(self.folder / "result.json")

    def result(self) -> dict[str, Any]:
        """The result of a run that is done. InputError when it is another run's."""
        return read_result(self.folder / "result.json", self.identity)

    @property
    def diverged(self) -> dict[str, Any] | None:
        """The `step` at which the last attempt was found to have diverged, and the `reason`; None if it did not."""
        path = self.folder / DIVERGED
        if not exists(path):
            return None
        found = read_json(path)
        return {"step": entry(found, "step", int, path, least=0), "reason": entry(found, "reason", str, path)}


def create_run(config: RunConfig, out: Path | None = None, parent: Path = Path("runs")) -> RunFolder:
    """The run folder for a configuration: `out`, or one below `parent`.

    An existing folder of the same identity is taken up as it is, below `parent` whatever it is called; one of another
    identity is an InputError.
    """
    plan = plan_run(config)
    return make_run(plan, out) if out is not None else find_run(plan, parent, known_runs(parent))


def find_run(plan: Plan, parent: Path, known: Mapping[str, Path]) -> RunFolder:
    """The run of a plan below `parent`, among those that are known (`known_runs`), or a new one."""
    there = as_known(plan, known)
    return make_run(there, known.get(there.identity, parent / there.name))


def as_known(plan: Plan, known: Mapping[str, Path]) -> Plan:
    """The plan in the precision in which its run was begun, if it is one of those that are known.

    Where the precision was left open, a run that another machine began in the other one is that run.
    """
    if plan.identity in known or plan.asked.backend.precision != "auto":
        return plan
    if plan.quantizes:
        return dataclasses.replace(plan, backend=as_known(plan.trained, known).backend)
    other = "fp32" if plan.backend.precision == "bf16" else "bf16"
    there = dataclasses.replace(plan, backend=dataclasses.replace(plan.backend, precision=other))
    return there if there.identity in known else plan


def known_runs(parent: Path) -> dict[str, Path]:
    """The folders of the runs directly below `parent` by identity; of several folders of one run, a finished one."""
    found: dict[str, Path] = {}
    for path in sorted(parent.glob("*/config.json")):
        try:
            identity = read_record(path.parent).identity
        except InputError:
            continue  # what is damaged is reported when somebody asks for it
        if identity not in found or not (found[identity] / "result.json").exists():
            found[identity] = path.parent
    return found


def require_apart(path: Path, field: str) -> None:
    """InputError when a `path` to write to is a part of a run folder; a report.html in one is none."""
    place = path.parent.resolve() / path.name
    for folder in place.parents:
        part = place.relative_to(folder).parts[0]
        if part.lower() in PARTS and exists(folder / "config.json") and is_run(folder):
            raise InputError(f"{field} = {str(path)!r}: {part} belongs to the run in {folder}; name another place")


def make_run(plan: Plan, folder: Path) -> RunFolder:
    """The run of a plan in `folder`, which is made where it does not exist. InputErrors as for `create_run`."""
    require_apart(folder, "out")
    if exists(folder / "config.json"):
        return _taken_up(plan, folder)
    if exists(folder) and (not folder.is_dir() or _holds_other_things(folder)):
        if exists(folder / "config.json"):  # another process has been faster
            return _taken_up(plan, folder)
        raise InputError(f"{folder} exists and is not a run folder; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the run folder {folder}: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write to the run folder {folder}")
    for name, content in plan.copies.items():
        place = folder / "sources" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as temporary:
            temporary.write_bytes(content)
    if plan.start and not plan.quantizes:  # where nothing begins with them
        plan.start.keep(folder)
    try:
        write_json(folder / "config.json", _config_file(plan), new=True)
    except FileExistsError:
        return _taken_up(plan, folder)
    return RunFolder(folder, plan, plan.identity)


def _holds_other_things(folder: Path) -> bool:
    """Whether a folder without config.json holds more than what a kill just before writing that leaves behind."""
    ours, unfinished = ("sources", OUTPUT, START), (".config.json.", f".{START}.")
    return any(path.name not in ours and not path.name.startswith(unfinished) for path in folder.iterdir())


def _taken_up(plan: Plan, folder: Path) -> RunFolder:
    """The run in an existing folder, for a plan of the same identity."""
    record = read_record(folder)
    if record.identity != plan.identity:
        where = _differences(record.identified_by, identifying(plan.content))
        raise InputError(f"{folder} holds a run of another configuration ({'; '.join(where)})")
    with _recorded(folder, record):
        begun = _as_begun(plan, record)
    return RunFolder(folder, begun, record.written_identity, tuple(_otherwise(plan.asked, begun)))


def _as_begun(plan: Plan, record: Record) -> Plan:
    """A plan with the measuring and the machine that its run was begun with, as far as this machine has it."""
    microbatch = record.machine.get("microbatch", plan.config.training.microbatch)
    training = dataclasses.replace(plan.config.training, **_known(record.measuring), microbatch=microbatch)
    backend, notes = usable(_backend(record))
    config = dataclasses.replace(plan.config, training=training)
    return dataclasses.replace(plan, config=config, backend=backend, notes=[*plan.notes, *notes])


def _known(measuring: Mapping[str, Any]) -> dict[str, Any]:
    """Those settings of measuring that this version of canonlab has; what a later one adds changes no weight either."""
    return {name: value for name, value in measuring.items() if name in MEASURING}


def _backend(record: Record) -> Backend:
    fields = {field.name for field in dataclasses.fields(Backend)} - {"precision"}
    machine = {name: value for name, value in record.machine.items() if name in fields}
    return typed.build(Backend, {"precision": record.config["precision"], **machine}, "machine")


def _otherwise(asked: RunConfig, begun: Plan) -> Iterator[str]:
    """What was asked for and is otherwise in a run that was begun already, a line each."""
    wishes = {**dataclasses.asdict(asked.training), **dataclasses.asdict(asked.backend)}
    wishes["compile"] = {"on": True, "off": False}.get(asked.backend.compile, "auto")
    wishes["threads"] = asked.backend.threads or "auto"
    for name, value in {**begun.measuring, **begun.machine}.items():
        if (wanted := wishes.get(name, value)) not in (value, "auto"):
            yield f"the run was begun with {name} = {value} and keeps it (asked for: {wanted})"


def _config_file(plan: Plan) -> dict[str, Any]:
    placed = {reference: f"{plugin.path}:{plugin.class_name}" for reference, plugin in plan.plugins.items()}
    asked = dataclasses.asdict(plan.asked)
    asked["task"]["name"] = placed.get(plan.config.task.name, plan.config.task.name)
    asked["task"]["set"] |= {parameter: str(path.absolute()) for parameter, path in plan.task.files.items()}
    asked["model"]["model"] = ",".join(placed.get(name, name) for name in pattern_names(plan.config.model.model))
    parts = {"model": ModelConfig, "training": TrainingConfig, "backend": BackendConfig}
    told_parts = {"task": asked["task"], **{part: told(asked[part], cls) for part, cls in parts.items()}}
    if plan.asked.start:
        run = str(user_path(plan.asked.start.run).absolute())
        told_parts["start"] = told({**asked["start"], "run": run}, StartConfig)
    return {
        "identity": plan.identity,
        "name": plan.name,
        "asked": told_parts,
        "files": {parameter: copy_name(path) for parameter, path in plan.task.files.items()},
        "identified_by": identifying(plan.content),
        "config": plan.content,
        "difficulty": plan.task.difficulty_parameter,
        "measuring": plan.measuring,
        "machine": plan.machine,
    }


def open_run(folder: Path) -> RunFolder:
    """The run in an existing folder, to go on with it.

    A user's sources, and files that the task's parameters name, are the folder's copies: a run goes on with what it
    began with. InputError when a copy was changed, or this version of canonlab makes another run of the configuration.
    """
    record = read_record(folder)
    with _recorded(folder, record):
        training = typed.build(TrainingConfig, {**record.asked["training"], **_known(record.measuring)}, "training")
        quantization = typed.build(QuantizationConfig, record.config.get("quantization", {}), "quantization")
        start = recorded_start(record)
        asked = typed.build(StartConfig, record.asked["start"], "start") if start else None
        task, model = recorded_task(folder, record), recorded_model(folder, record)
        config = RunConfig(task, model, training, quantization=quantization, start=asked)
        plan = plan_run(config, usable(_backend(record))[0], start=start)
        begun = _as_begun(plan, record)
    if plan.identity != record.identity:
        raise _changed(folder, record.identified_by, identifying(plan.content))
    return RunFolder(folder, begun, record.written_identity)


@dataclasses.dataclass(frozen=True)
class Trained:
    """What it takes to evaluate a run's checkpoints: its task and model, whatever it was trained with."""

    folder: Path
    identity: str
    task: Task
    decoder: DecoderConfig
    backend: Backend
    seed: int
    separator: int | None
    """The token that opens each instance, where instances didn't see each other in training."""


def open_trained(folder: Path) -> Trained:
    """The task and the model of an existing folder. InputErrors as for `open_run`, but that training doesn't matter."""
    record = read_record(folder)
    with _recorded(folder, record):
        config = RunConfig(recorded_task(folder, record), recorded_model(folder, record), TrainingConfig())
        plan = plan_run(config, usable(_backend(record))[0])
    before, now = record.identified_by, identifying(plan.content)
    for part in ("task", "model"):
        if before[part] != now[part]:
            raise _changed(folder, {part: before[part]}, {part: now[part]})
    trained = record.config["training"]
    separator = plan.task.separator_id if trained["isolate"] else None
    return Trained(folder, record.written_identity, plan.task, plan.decoder, plan.backend, trained["seed"], separator)


@contextmanager
def _recorded(folder: Path, record: Record) -> Iterator[None]:
    """The context in which a run is made of its record: errors in that name the file."""
    try:
        yield
    except Unreadable:
        raise
    except (InputError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise _unmakeable(folder, record, error) from None


def _unmakeable(folder: Path, record: Record, error: Exception) -> InputError:
    """What is wrong with a configuration that no run can be made of: a later version's fields, or damage."""
    parts = {"model": ModelConfig, "training": TrainingConfig}
    newer = [f"{part}.{name}" for part, cls in parts.items() for name in record.asked[part].keys() - introduced(cls)]
    if newer:
        return InputError(f"{folder} is a run of a newer canonlab: this one has no {', '.join(newer)}")
    if isinstance(error, InputError):
        return InputError(f"{folder / 'config.json'}: {error}")
    return InputError(f"{folder / 'config.json'} is damaged: {type(error).__name__}: {error}")


def _changed(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> InputError:
    where = "; ".join(_differences(before, now))
    return InputError(
        f"{folder}: this canonlab makes another run of its configuration ({where}); resume it with the version that "
        "began it, or start anew"
    )


def _differences(before: Any, now: Any, where: str = "") -> list[str]:
    """Where two trees of plain data differ, a few words for each of the first three places."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        pairs = [(f"{where}.{key}" if where else key, before.get(key), now.get(key)) for key in {**before, **now}]
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = [(f"{where}[{index}]", *pair) for index, pair in enumerate(zip(before, now, strict=True))]
    else:
        words = [("default" if value is None else json.dumps(value))[:60] for value in (before, now)]
        return [] if before == now else [f"{where} {words[0]}, not {words[1]}"]
    return [difference for key, one, other in pairs for difference in _differences(one, other, key)][:3]
