"""Commands that train: one run, what is left of one, many; and that evaluate a checkpoint anew."""

import dataclasses
import shlex
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

from canonlab.cli import console
from canonlab.cli.arguments import Json, Log, Mixer, RunPath, Set, TaskName, as_pairs, parse_settings
from canonlab.cli.results import write_report
from canonlab.errors import InputError, require_integer
from canonlab.models.config import ModelConfig
from canonlab.sweeps.recipe import load_recipe, read_run_config, run_config
from canonlab.sweeps.serial import run_all
from canonlab.training.config import BackendConfig, RunConfig, TaskConfig, TrainingConfig
from canonlab.training.loop import Failed, Listener, evaluate_checkpoint, train
from canonlab.training.run import RunFolder, create_run, open_run, open_trained
from canonlab.training.trackers import Tracking, require_tracker


def train_command(argv: Sequence[str]) -> Any:
    """The `train` command, whose flags default to what its task publishes and its --config file says."""
    named, flags = _look(argv[1:]) if argv[:1] == ["train"] else (None, {})
    defaults = _train_defaults(named, flags.get("--config"))
    default_task = defaults.task.name if defaults.task.name and named is None else tyro.MISSING
    sets, mixers = (as_pairs(mapping) for mapping in (defaults.task.set, defaults.model.mixer))

    def train_one(
        task: TaskName = default_task,
        settings: Set = sets,
        config: Annotated[
            Path | None, arg(help="YAML of one run, as a recipe without a grid; flags override it.")
        ] = None,
        out: Annotated[
            Path | None, arg(help="The run folder; by default one below runs/, named after the run.")
        ] = None,
        mixer: Mixer = mixers,
        model: OmitArgPrefixes[ModelConfig] = defaults.model,
        training: OmitArgPrefixes[TrainingConfig] = defaults.training,
        backend: OmitArgPrefixes[BackendConfig] = defaults.backend,
        log: Log = None,
        as_json: Json = False,
    ) -> None:
        """Train one model on one task. A run that exists already is resumed, or shown when it is done."""
        if task != defaults.task.name:  # silent defaults of another task would be worse
            raise InputError(f"task = {task!r}: name it first, before all flags")
        if log:
            require_tracker(log)  # before there is a folder
        with_mixer = dataclasses.replace(model, mixer=parse_settings(mixer))
        asked = RunConfig(TaskConfig(task, parse_settings(settings)), with_mixer, training, backend)
        _work(create_run(asked, out), log, as_json)

    return train_one


def _train_defaults(task: str | None, file: str | None) -> RunConfig:
    """What `train`'s flags default to, for a TASK and a --config file that are named, or not."""
    content = read_run_config(Path(file)) if file else {}
    if task is not None:
        content = {**content, "task": {**content.get("task", {}), "name": task}}
    return run_config(content)


def _look(words: Sequence[str]) -> tuple[str | None, dict[str, str]]:
    """A first look at `train`'s words: TASK, wherever it stands among the flags, and the flags that have one value."""
    settings = [field for part in (ModelConfig, TrainingConfig, BackendConfig) for field in dataclasses.fields(part)]
    switches = {field.name for field in settings if isinstance(field.default, bool)}
    switches |= {f"no_{name}" for name in switches} | {"json", "help"}
    task, flags, rest = None, {}, deque(words)
    while rest:
        name, equals, value = rest.popleft().partition("=")
        if not name.startswith("-"):
            task = task or name + equals + value
        elif name in ("--set", "--mixer"):
            while rest and "=" in rest[0] and not rest[0].startswith("-"):
                rest.popleft()
        elif name != "-h" and name[2:].replace("-", "_") not in switches:
            flags[name] = value if equals or not rest else rest.popleft()
    return task, flags


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
    out: Annotated[Path | None, arg(help="Folder of the runs; by default runs/<recipe's name>.")] = None,
    log: Log = None,
    as_json: Json = False,
) -> None:
    """Make all runs of a recipe, skipping what is done and resuming what was interrupted; then report."""
    loaded = load_recipe(recipe)
    _sweep(loaded.runs, out or Path("runs") / loaded.name, log, as_json)


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
            print(f"   share of evaluation instances that may also occur in training: <= {result['coincidence']:.2g}")


def _sweep(runs: list[RunConfig], parent: Path, log: str | None, as_json: bool) -> None:
    with _listening(log) as listener:
        made, failures = run_all(runs, parent, listener, shlex.join(["canonlab", *sys.argv[1:]]))
    if made:
        write_report((parent,), parent / "report.html", as_json)
    if failures:
        raise Failed(f"{len(failures)} of {len(runs)} runs failed: {'; '.join(failures[:3])}; start it again to go on")
