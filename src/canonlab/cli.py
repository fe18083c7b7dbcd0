"""The command line: parse, call, print. Exit status 0, 2 for bad input, 1 for a failure."""

import dataclasses
import json
import os
import shlex
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

from canonlab import __version__, benchmarks, console, datasets, reports
from canonlab import claims as published
from canonlab.arguments import Json, Log, Mixer, RunPath, Set, TaskName, as_pairs, parse_settings
from canonlab.errors import InputError, require_integer, unknown
from canonlab.models import table
from canonlab.models.check import check_mixer
from canonlab.models.check.costs import readable
from canonlab.models.presets import ModelConfig
from canonlab.pictures import picture, write_picture
from canonlab.sweeps.recipe import load_recipe, read_run_config, run_config
from canonlab.sweeps.serial import run_all
from canonlab.tasks.base import Task, require_split
from canonlab.tasks.catalog import TASKS
from canonlab.tasks.check import check_task
from canonlab.training.backend import environment, find_device
from canonlab.training.config import BackendConfig, RunConfig, TaskConfig, TrainingConfig
from canonlab.training.loop import Diverged, Interrupted, Listener, evaluate_checkpoint, train
from canonlab.training.plan import load_task
from canonlab.training.run import Run, create_run, open_run
from canonlab.training.trackers import Tracking, require_tracker


def main() -> NoReturn:
    """Entry point of the `canonlab` command."""
    if sys.argv[1:] == ["--version"]:
        print(f"canonlab {__version__}")
        sys.exit(0)
    try:
        commands = {
            "tasks": tasks,
            "models": models,
            "sample": sample,
            "show": show,
            "score": score,
            "check": check,
            "check-task": check_one_task,
            "export-data": export_data,
            "train": _train_command(sys.argv[1:]),
            "resume": resume,
            "eval": evaluate,
            "sweep": sweep,
            "report": report,
            "claims": claims,
            "demo": demo,
            "bench": bench,
        }
        about = "Which sequence architecture is better, and at what? (canonlab --version says which canonlab this is)"
        tyro.extras.subcommand_cli_from_dict(commands, prog="canonlab", description=about)
    except InputError as error:
        _stop(2, error)
    except Interrupted as stopped:
        _stop(0, stopped)
    except KeyboardInterrupt:
        _stop(130, "interrupted")
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (Diverged, OSError) as error:
        _stop(1, error)
    sys.exit(0)


def tasks(
    name: Annotated[Positional[str | None], arg(metavar="[NAME]", help="A task to describe.")] = None,
    settings: Set = (),
    as_json: Json = False,
) -> None:
    """List the tasks, or describe one: parameters, context and vocabulary."""
    if name is None:
        if settings:
            raise InputError(f"--set {' '.join(settings)}: name the task that it is for")
        rows = [{"name": key, "summary": preset.summary} for key, preset in TASKS.items()]
        console.print_json(rows) if as_json else console.print_rows(rows)
        return
    task = _task(name, settings)
    if as_json:
        vocabulary = [dataclasses.asdict(token) for token in task.vocabulary]
        described = {"parameters": task.parameters, "context": task.context, "facts": task.facts()}
        described["vocabulary"] = vocabulary
        console.print_json({"name": name, **described})
    else:
        console.print_task(name, task)


def models(
    name: Annotated[
        Positional[str | None], arg(metavar="[NAME]", help="A preset, several with commas, or path.py:Class.")
    ] = None,
    size: Annotated[str | None, arg(help="Such as 8L512D or 4-8; by default all four of a NAME.")] = None,
    canon: Annotated[str, arg(help="Canon points, original or none.")] = "original",
    mixer: Mixer = (),
    vocabulary: Annotated[int, arg(help="Tokens.")] = table.VOCABULARY,
    context: Annotated[int, arg(help="Tokens of a window, for FLOPs and state.")] = table.CONTEXT,
    as_json: Json = False,
) -> None:
    """List the architectures, or say what one costs: parameters, FLOPs, state, and against llama-rope."""
    if name is None:
        if mixer:
            raise InputError(f"--mixer {' '.join(mixer)}: name the model that it is for")
        rows = table.overview(size or table.SIZES[0], canon, vocabulary, context)
    else:
        model = ModelConfig(name, canon=canon, mixer=parse_settings(mixer))
        rows = table.model_rows(model, [size] if size else table.SIZES, vocabulary, context)
    if as_json:
        console.print_json(rows)
    else:
        console.print_models(rows, vocabulary, context)


def sample(
    task: TaskName,
    settings: Set = (),
    seed: Annotated[int, arg(help="Of the stream.")] = 0,
    split: Annotated[str, arg(help="train or eval.")] = "train",
    start: Annotated[int, arg(help="Index of the first window.")] = 0,
    count: Annotated[int, arg(help="How many windows.")] = 1,
    as_json: Json = False,
) -> None:
    """Show windows of a task: coloured, the scored targets underlined; or as JSON lines."""
    built = _task(task, settings)
    for field, value, least in (("seed", seed, 0), ("start", start, 0), ("count", count, 1)):
        require_integer(field, value, least)
    part = require_split(split)
    for index in range(start, start + count):
        tokens, mask = built.windows(seed, index, 1, part)
        ids, marks = tokens[0].tolist(), mask[0].tolist()
        if as_json:
            console.print_json({"index": index, "tokens": ids, "mask": marks})
        else:
            console.print_window(built, index, ids, marks)


def show(
    task: TaskName,
    settings: Set = (),
    seed: Annotated[int, arg(help="Of the stream.")] = 0,
    split: Annotated[str, arg(help="train or eval.")] = "train",
    index: Annotated[int, arg(help="Index of the window.")] = 0,
    query: Annotated[int, arg(help="Which of the window's questions, from 0 on.")] = 0,
    out: Annotated[Path | None, arg(help="An .svg file; by default <task>.svg here.")] = None,
    as_json: Json = False,
) -> None:
    """Draw one question of a task with its answer, as an SVG picture."""
    built = _task(task, settings)
    path = out or Path(f"{built.name}.svg")
    write_picture(picture(built, seed, index, require_split(split), query), path)
    console.print_json({"picture": str(path)}) if as_json else print(f"picture: {path.resolve()}")


def score(task: TaskName, settings: Set = (), as_json: Json = False) -> None:
    """Judge answers, one JSON object a line on standard input: {"prompt": [ids], "answer": [ids]}."""
    built = _task(task, settings)
    pairs = [_answer(number, line) for number, line in enumerate(sys.stdin, start=1) if line.strip()]
    if not pairs:
        raise InputError("standard input holds no answers")
    right = 0
    for number, prompt, answer in pairs:
        try:
            verdict = built.score(prompt, answer)
        except InputError as error:
            raise InputError(f"line {number}: {error}") from None
        right += verdict.right
        if as_json:
            console.print_json({"right": verdict.right, "why": verdict.why})
        else:
            print(f"{'right' if verdict.right else 'wrong'}: {verdict.why}")
    summary = {"right": right, "count": len(pairs), "share": right / len(pairs)}
    console.print_json(summary) if as_json else print(f"{right} of {len(pairs)} right")


def _answer(number: int, line: str) -> tuple[int, list[Any], list[Any]]:
    """The number of a line with the prompt and the answer that it holds as JSON. InputError for anything else."""
    try:
        pair = json.loads(line)
        prompt, answer = pair["prompt"], pair["answer"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f'line {number} is not {{"prompt": [ids], "answer": [ids]}}: {line.strip()[:60]!r}') from None
    if not isinstance(prompt, list) or not isinstance(answer, list):
        raise InputError(f"line {number}: prompt and answer must be lists of token ids")
    return number, prompt, answer


def check(
    model: Annotated[Positional[str], arg(metavar="MIXER", help="path.py:Class, or a preset.")],
    size: Annotated[str, arg(help="The model whose width the mixer has, and whose costs are shown.")] = "2L64D",
    mixer: Mixer = (),
    device: Annotated[str, arg(help="Where: auto, cpu, cuda, cuda:N or mps.")] = "cpu",
    as_json: Json = False,
) -> None:
    """Whether a mixer keeps its promises, from causality to decoding, and what it costs. Status 1 if not."""
    config = ModelConfig(model, size, mixer=parse_settings(mixer))
    findings = check_mixer(config, device=str(find_device(device)))
    if as_json:
        checks = [found._asdict() for found in findings.checks]
        console.print_json({"passed": not findings.failed, "checks": checks, "costs": findings.costs})
    else:
        console.print_checks(findings.checks)
        if findings.costs:
            print()
            console.print_rows(readable(findings.costs))
    if findings.failed:
        sys.exit(1)


def check_one_task(
    task: TaskName,
    settings: Set = (),
    seed: Annotated[int, arg(help="Of the stream.")] = 0,
    windows: Annotated[int, arg(help="Evaluation windows.")] = 8,
    as_json: Json = False,
) -> None:
    """Whether a task keeps its promises: data by index, mask, vocabulary, scorer, evaluation. Status 1 if not."""
    checks = check_task(_task(task, settings), seed, windows)
    failed = any(found.passed is False for found in checks)
    if as_json:
        console.print_json({"passed": not failed, "checks": [found._asdict() for found in checks]})
    else:
        console.print_checks(checks)
    if failed:
        sys.exit(1)


def export_data(
    task: TaskName,
    out: Annotated[Path, arg(help="The file.")],
    count: Annotated[int, arg(help="How many windows.")],
    settings: Set = (),
    format: Annotated[str, arg(help="parquet or jsonl.")] = "parquet",
    seed: Annotated[int, arg(help="Of the stream.")] = 0,
    split: Annotated[str, arg(help="train or eval.")] = "train",
    start: Annotated[int, arg(help="Index of the first window.")] = 0,
    as_json: Json = False,
) -> None:
    """Write windows of a task to a file for other programs."""
    built, part = _task(task, settings), require_split(split)
    described = datasets.export(built, out, format, count=count, seed=seed, split=part, start=start)
    if as_json:
        console.print_json({"out": str(out), "format": format, **described})
    else:
        print(f"{count} windows of {built.context} tokens: {out}")


def _train_command(argv: Sequence[str]) -> Any:
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
    found, step = evaluate_checkpoint(open_run(run, from_copies=True), checkpoint, windows or None, seed)
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


def report(
    runs: Annotated[
        Positional[tuple[Path, ...]],
        arg(metavar="RUNS...", help="Run folders, or folders that hold some.", help_behavior_hint="(required)"),
    ],
    out: Annotated[Path | None, arg(help="The page; by default report.html in the first folder named.")] = None,
    csv: Annotated[Path | None, arg(help="Also a CSV file, a line for each metric of each run.")] = None,
    latex: Annotated[Path | None, arg(help="Also LaTeX tables (booktabs), one a task.")] = None,
    figures: Annotated[Path | None, arg(help="Also figures as PDF and PNG, into this folder.")] = None,
    as_json: Json = False,
) -> None:
    """Compare runs: a table here, and one self-contained HTML page."""
    if not runs:
        raise InputError("name the run folders to report on, or a folder that holds some")
    loaded = _report(runs, out or runs[0] / "report.html", as_json)
    if csv:
        reports.write_csv(loaded, csv)
    if latex:
        reports.write_latex(loaded, latex)
    if figures:
        reports.write_figures(loaded, figures)


def claims(
    runs: Annotated[
        Positional[tuple[Path, ...]], arg(metavar="[RUNS...]", help="Run folders, or folders that hold some.")
    ] = (),
    as_json: Json = False,
) -> None:
    """The published findings: which recipes test them and, given runs, whether each holds, fails or is not decided."""
    found = published.judge(published.CLAIMS, reports.load_runs(runs) if runs else [])
    if as_json:
        console.print_json(published.plain(found))
    else:
        console.print_tables(published.terminal(found, ran=bool(runs)))


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


def bench(
    what: Annotated[Positional[str], arg(metavar="|".join(benchmarks.BENCHMARKS), help="What to measure.")],
    as_json: Json = False,
) -> None:
    """Measure speed on this machine: from the generators to the report; or simulate how often verdicts are right."""
    if what not in benchmarks.BENCHMARKS:
        raise unknown("benchmark", what, benchmarks.BENCHMARKS)
    tables = benchmarks.BENCHMARKS[what]()
    if as_json:
        console.print_json({"environment": environment("cpu"), "tables": tables})
        return
    for title, rows in tables.items():
        print(f"\n{title}")
        console.print_rows(rows)


def _stop(status: int, reason: object) -> NoReturn:
    text = " ".join(str(reason).split())
    print(f"canonlab: error: {text}" if status in (1, 2) else f"canonlab: {text}", file=sys.stderr)
    sys.exit(status)


@contextmanager
def _listening(log: str | None) -> Iterator[Listener]:
    """Who watches training: the terminal, and a tracker where one is asked for."""
    with console.Progressing() as progress:
        if log is None:
            yield progress
        else:
            with Tracking(progress, log) as tracking:
                yield tracking


def _work(run: Run, log: str | None, as_json: bool) -> None:
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
        run_all(runs, parent, listener, shlex.join(["canonlab", *sys.argv[1:]]))
    _report((parent,), parent / "report.html", as_json)


def _report(paths: Sequence[Path], page: Path, as_json: bool) -> list[reports.Run]:
    runs = reports.load_runs(paths)
    reports.write_page(runs, page)
    if as_json:
        console.print_json({"page": str(page), **reports.summary(runs)})
    else:
        console.print_tables(reports.terminal_tables(runs))
        print(f"page: {page.resolve()}")
    return runs


def _task(name: str, settings: Sequence[str]) -> Task:
    task = load_task(TaskConfig(name, parse_settings(settings)))
    for warning in task.warnings():
        print(f"canonlab: warning: {warning}", file=sys.stderr)
    return task
