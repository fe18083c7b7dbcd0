"""Commands that train: one run, what is left of one, many; and that evaluate a checkpoint anew."""

import dataclasses
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg

from canonlab.cli import console
from canonlab.cli.arguments import Json, Log, Mixer, RunPath, Set, option, parse_settings
from canonlab.cli.results import write_report
from canonlab.errors import InputError, require_integer
from canonlab.models.config import ModelConfig
from canonlab.sweeps.forecast import forecast, states
from canonlab.sweeps.recipe import Recipe, load_recipe
from canonlab.sweeps.serial import run_all
from canonlab.training.config import BackendConfig, RunConfig, TrainingConfig, as_parts, overlay, run_config
from canonlab.training.loop import Failed, Listener, evaluate_checkpoint, train
from canonlab.training.plan import plan_runs
from canonlab.training.published import MODEL, TRAINING
from canonlab.training.run import RunFolder, create_run, open_run, open_trained, require_apart
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
    if log:
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
    asked = run_config(overlay(_one_run(config), given) if config else given)
    _work(create_run(asked, out), log, as_json)


def _one_run(file: Path) -> dict[str, Any]:
    """The parts of a RunConfig that a YAML file has."""
    content = read_mapping(file)
    for key in ("grid", "variants"):
        if key in content:
            raise InputError(f"{file} has {key}, so many runs; use canonlab sweep, or take it out")
    return as_parts({key: value for key, value in content.items() if key not in ("name", "about")})


def resume(run: RunPath, log: Log = None, as_json: Json = False) -> None:
    """Go on with a run from its last checkpoint, to the same weights as if it had never stopped."""
    _work(open_run(run), log, as_json)


def evaluate(
    run: RunPath,
    checkpoint: Annotated[str, arg(help="last or best.")] = "last",
    windows: Annotated[int, arg(help="Evaluation windows; 0 for the task's default.")] = 0,
    seed: Annotated[int | None, arg(help="Of the evaluation stream; by default the run's.")] = None,
    as_json: Json = False,
) -> None:
    """Evaluate a checkpoint of a run anew."""
    require_integer("windows", windows, 0)
    if seed is not None:
        require_integer("seed", seed, 0)
    found, step = evaluate_checkpoint(open_trained(run), checkpoint, windows or None, seed)
    if as_json:
        console.print_json({"checkpoint": checkpoint, "step": step, **found.plain()})
    else:
        console.print_evaluation(found.plain(), f"{run}, {checkpoint} checkpoint, step {step}")


def sweep(
    recipe: Annotated[
        Positional[str], arg(metavar="RECIPE", help="A YAML file, or a shipped one such as laptop/depo.")
    ],
    settings: Annotated[
        tuple[str, ...],
        arg(
            name="set",
            metavar="FIELD=VALUE ...",
            help="Laid over the recipe: training.steps=100 training.seed=[0,1,2], where a list is an axis of the grid.",
        ),
    ] = (),
    device: Annotated[
        str | None, option("WORD", "Of all runs: auto, cpu, cuda, cuda:N or mps; by default the recipe's.")
    ] = None,
    out: Annotated[Path | None, option("PATH", "Folder of the runs; by default runs/<recipe's name>.")] = None,
    dry_run: Annotated[
        FlagCreatePairsOff[bool],
        arg(help="Only say what the runs take, how many are done, and what their seeds can decide."),
    ] = False,
    log: Log = None,
    as_json: Json = False,
) -> None:
    """Make all runs of a recipe, skipping what is done and resuming what was interrupted; then report."""
    on = {} if device is None else {"backend.device": device}
    loaded = load_recipe(recipe, parse_settings(settings) | on)
    parent = out or Path("runs") / loaded.name
    if dry_run:
        _forecast(loaded, parent, as_json)
    else:
        _sweep(loaded.runs, parent, log, as_json)


def _forecast(recipe: Recipe, parent: Path, as_json: bool) -> None:
    plans = plan_runs(recipe.runs)
    found = forecast(plans, states(plans, parent))
    if as_json:
        console.print_json({"recipe": recipe.name, "folder": str(parent), **found.plain()})
    else:
        console.print_forecast(found, recipe.name, parent)


def demo(
    out: Annotated[Path, arg(help="Folder of the runs.")] = Path("runs/demo"),
    steps: Annotated[int | None, arg(help="Fewer steps than the recipe's, for a quick look.")] = None,
    as_json: Json = False,
) -> None:
    """Can one layer copy? RoPE attention with and without Canon layers, three seeds, and the page."""
    runs = load_recipe("laptop/copy").runs
    if steps is not None:
        runs = [dataclasses.replace(run, training=dataclasses.replace(run.training, steps=steps)) for run in runs]
    _sweep(runs, out, None, as_json)


@contextmanager
def _listening(log: str | None) -> Iterator[Listener]:
    """Who watches training: the terminal, and a tracker where one is asked for."""
    with console.Progressing() as progress:
        if log is None:
            yield progress
        else:
            with Tracking(progress, log) as tracking:
                yield tracking


def _work(run: RunFolder, log: str | None, as_json: bool) -> None:
    with _listening(log) as listener:
        result = train(run, listener, shlex.join(["canonlab", *sys.argv[1:]]))
    if as_json:
        console.print_json(result)
    else:
        console.print_evaluation(result["evaluation"], str(run.folder))
        if result["coincidence"] is not None:
            console.say(
                f"   share of evaluation instances that may also occur in training: <= {result['coincidence']:.2g}"
            )


def _sweep(runs: list[RunConfig], parent: Path, log: str | None, as_json: bool) -> None:
    require_apart(parent, "out")
    with _listening(log) as listener:
        made, failures = run_all(runs, parent, listener, shlex.join(["canonlab", *sys.argv[1:]]))
    if made:
        write_report((parent,), parent / "report.html", as_json)
    if failures:
        raise Failed(f"{len(failures)} of {len(runs)} runs failed: {'; '.join(failures[:3])}; start it again to go on")
