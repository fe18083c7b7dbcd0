"""Commands about one run: train it, go on with it, evaluate a checkpoint of it anew."""

import dataclasses
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

from tyro.conf import OmitArgPrefixes, Positional, arg

from canonlab.cli import console, terminal
from canonlab.cli.arguments import Json, Log, Mixer, RunPath, Set, TaskName, option, parse_settings
from canonlab.errors import InputError, require_integer, require_seed
from canonlab.models.config import ModelConfig
from canonlab.tasks.base import MAX_COUNT
from canonlab.training.config import BackendConfig, TrainingConfig, as_parts, overlay, run_config
from canonlab.training.loop import Listener, evaluate_checkpoint
from canonlab.training.published import MODEL, TRAINING
from canonlab.training.quantized import produce
from canonlab.training.run import RunFolder, create_run, open_run, open_trained
from canonlab.training.start import with_parent
from canonlab.training.trackers import Tracking, require_tracker
from canonlab.yaml_text import read_mapping


def _flags(part: type) -> Any:
    """The fields of a part of a RunConfig as flags that are text, for `run_config` to read, and only there when given.

    What tyro makes of a TypedDict, with the help that stands in the part's docstring.
    """
    by_task = {name for settings in (*MODEL.values(), *TRAINING.values()) for name in settings}
    flags = {}
    for field in dataclasses.fields(part):
        hint = f"(default: {'by task, else ' if field.name in by_task else ''}{field.default})"
        if field.type is bool:
            flags[field.name] = Annotated[bool, arg(help_behavior_hint=hint)]
        elif field.type in (int, float, str):
            metavar = {int: "INT", float: "FLOAT", str: "WORD"}[field.type]
            flags[field.name] = Annotated[str, arg(metavar=metavar, help_behavior_hint=hint)]
    given: Any = TypedDict(part.__name__, flags, total=False)  # type: ignore[misc]
    given.__doc__ = part.__doc__
    return given


def train_command(
    model: Annotated[dict[str, Any], OmitArgPrefixes, arg(constructor=_flags(ModelConfig))],
    training: Annotated[dict[str, Any], OmitArgPrefixes, arg(constructor=_flags(TrainingConfig))],
    backend: Annotated[dict[str, Any], OmitArgPrefixes, arg(constructor=_flags(BackendConfig))],
    task: Annotated[
        Positional[str | None],
        option("[TASK]", "A preset (see `canonlab tasks`), or path.py:Class; by default the --config file's."),
    ] = None,
    settings: Set = (),
    config: Annotated[
        Path | None, option("PATH", "YAML of one run, as a recipe without a grid; flags override it.")
    ] = None,
    out: Annotated[
        Path | None, option("PATH", "The run folder; by default one below runs/, named after the run.")
    ] = None,
    mixer: Mixer = (),
    log: Log = None,
    as_json: Json = False,
) -> None:
    """Train one model on one task. A run that exists already is resumed, or shown when it is done.

    What neither flags nor --config say is as the task publishes it (see `canonlab tasks TASK`), or the default.
    """
    if log is not None:
        require_tracker(log)  # before there is a folder
    sets, arguments = list(settings), list(mixer)
    if task is None:  # --set and --mixer take all words behind them, so TASK as well
        task = next((words.pop() for words in (sets, arguments) if words and "=" not in words[-1]), None)
    given = {"task": {}, "model": model, "training": training, "backend": backend}
    if task is not None:
        given["task"]["name"] = task
    if sets:
        given["task"]["set"] = parse_settings(sets)
    if arguments:
        given["model"]["mixer"] = parse_settings(arguments)
    asked = overlay(_one_run(config), given) if config else given
    _work(create_run(run_config(with_parent(asked)), out), log, as_json)


def finetune(
    run: RunPath,
    training: Annotated[dict[str, Any], OmitArgPrefixes, arg(constructor=_flags(TrainingConfig))],
    backend: Annotated[dict[str, Any], OmitArgPrefixes, arg(constructor=_flags(BackendConfig))],
    task: TaskName,
    settings: Set = (),
    checkpoint: Annotated[str, arg(help="Of RUN: last or best.")] = "last",
    lora: Annotated[int, arg(help="Rank of updates to the mixers' matrices, all that is trained; 0 for all.")] = 0,
    lora_embedding: Annotated[int, arg(help="Rank of the update to the embedding beside them.")] = 0,
    out: Annotated[
        Path | None, option("PATH", "The run folder; by default one below runs/, named after the run.")
    ] = None,
    log: Log = None,
    as_json: Json = False,
) -> None:
    """Go on from the weights of a run that is done, on another task: a new run of the same model.

    The seed, and so whose data it is, is that of RUN unless --seed names one; so are the parameters of a task that is
    made of RUN's, as capo-questions is of capo. The new folder has a copy of the weights, and needs RUN no more.
    """
    if log is not None:
        require_tracker(log)
    start = {"run": str(run), "checkpoint": checkpoint, "lora": lora, "lora_embedding": lora_embedding}
    given = {"task": {"name": task, "set": parse_settings(settings)}, "training": training, "backend": backend}
    _work(create_run(run_config(with_parent({**given, "start": start})), out), log, as_json)


def _one_run(file: Path) -> dict[str, Any]:
    """The parts of a RunConfig that a YAML file has."""
    content = read_mapping(file)
    for key in ("grid", "variants"):
        if key in content:
            raise InputError(f"{file} has {key}, so many runs; use canonlab sweep, or take it out")
    return as_parts({key: value for key, value in content.items() if key not in ("name", "about")})


def resume(run: RunPath, log: Log = None, as_json: Json = False) -> None:
    """Go on with a run from its last checkpoint, to the same weights as if it had never stopped."""
    found = open_run(run)
    if found.plan.quantizes:
        raise InputError(f"{run}: is a quantized run, in which nothing is trained; canonlab quantize makes those")
    _work(found, log, as_json)


def evaluate(
    run: RunPath,
    checkpoint: Annotated[str, arg(help="last or best.")] = "last",
    windows: Annotated[int, arg(help="Evaluation windows; 0 for the task's default.")] = 0,
    seed: Annotated[int | None, arg(help="Of the evaluation stream; by default the run's.")] = None,
    as_json: Json = False,
) -> None:
    """Evaluate a checkpoint of a run anew."""
    require_integer("windows", windows, 0, MAX_COUNT)
    if seed is not None:
        require_seed(seed)
    found, step = evaluate_checkpoint(open_trained(run), checkpoint, windows or None, seed)
    if as_json:
        terminal.print_json({"checkpoint": checkpoint, "step": step, **found.plain()})
    else:
        console.print_evaluation(found.plain(), f"{run}, {checkpoint} checkpoint, step {step}")


@contextmanager
def listening(log: str | None) -> Iterator[Listener]:
    """Who watches training: the terminal, and a tracker where one is asked for."""
    with console.Progressing() as progress:
        if log is None:
            yield progress
        else:
            with Tracking(progress, log) as tracking:
                yield tracking


def _work(run: RunFolder, log: str | None, as_json: bool) -> None:
    with listening(log) as listener:
        result = produce(run, listener, shlex.join(["canonlab", *sys.argv[1:]]))
    if as_json:
        terminal.print_json(result)
    else:
        console.print_evaluation(result["evaluation"], str(run.folder))
        if result["coincidence"] is not None:
            terminal.say(
                f"   share of evaluation instances that may also occur in training: <= {result['coincidence']:.2g}"
            )
