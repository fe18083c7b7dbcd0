"""Commands about tasks: what there is, windows and questions to look at, answers to judge, data for other programs."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from canonlab import datasets
from canonlab.cli import console, terminal
from canonlab.cli.arguments import Json, Set, TaskName, parse_settings, require_outputs
from canonlab.errors import InputError, require_integer
from canonlab.files import parse_json, safe_name
from canonlab.pictures import picture, write_picture
from canonlab.tasks.base import MAX_COUNT, Task, require_split
from canonlab.tasks.catalog import TASKS
from canonlab.tasks.check import check_task
from canonlab.training.config import TaskConfig
from canonlab.training.plan import load_task
from canonlab.training.published import MODEL, TRAINING

LONGEST_LINE = 1 << 24
"""Characters of an answer, whose prompt may be a long window."""


def tasks(
    name: Annotated[Positional[str | None], arg(metavar="[NAME]", help="A task to describe.")] = None,
    settings: Set = (),
    as_json: Json = False,
) -> None:
    """List the tasks, or describe one: parameters, context, vocabulary and what it publishes for training."""
    if name is None:
        if settings:
            raise InputError(f"--set {' '.join(settings)}: name the task that it is for")
        rows = [{"name": key, "summary": preset.summary} for key, preset in TASKS.items()]
        terminal.print_json(rows) if as_json else console.print_rows(rows)
        return
    task = _task(name, settings)
    published = {**MODEL.get(name, {}), **TRAINING.get(name, {})}
    if as_json:
        vocabulary = [dataclasses.asdict(token) for token in task.vocabulary]
        described = {"parameters": task.parameters, "context": task.context, "facts": task.facts()}
        terminal.print_json({"name": name, **described, "published": published, "vocabulary": vocabulary})
    else:
        console.print_task(name, task)
        if published:
            settings_ = ", ".join(f"{field} = {value}" for field, value in published.items())
            terminal.say(f"published training: {settings_}")


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
    require_integer("count", count, 1, MAX_COUNT)
    part = require_split(split)
    for index in range(start, start + count):
        tokens, mask = built.windows(seed, index, 1, part)
        ids, marks = tokens[0].tolist(), mask[0].tolist()
        if as_json:
            terminal.print_json({"index": index, "tokens": ids, "mask": marks})
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
    path = out or Path(f"{safe_name(built.name)}.svg")
    require_outputs({"out": path})
    write_picture(picture(built, seed, index, require_split(split), query), path)
    terminal.print_json({"picture": str(path)}) if as_json else terminal.say(f"picture: {path.resolve()}")


def score(task: TaskName, settings: Set = (), as_json: Json = False) -> None:
    """Judge answers, one JSON object a line on standard input: {"prompt": [ids], "answer": [ids]}."""
    built = _task(task, settings)
    lines = iter(lambda: sys.stdin.readline(LONGEST_LINE), "")
    pairs = [_answer(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
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
            terminal.print_json({"right": verdict.right, "why": verdict.why})
        else:
            terminal.say(f"{'right' if verdict.right else 'wrong'}: {verdict.why}")
    summary = {"right": right, "count": len(pairs), "share": right / len(pairs)}
    terminal.print_json(summary) if as_json else terminal.say(f"{right} of {len(pairs)} right")


def _answer(number: int, line: str) -> tuple[int, list[Any], list[Any]]:
    """The number of a line with the prompt and the answer that it holds as JSON. InputError for anything else."""
    try:
        pair = parse_json(line, "it")
        prompt, answer = pair["prompt"], pair["answer"]
    except (InputError, KeyError, TypeError):
        raise InputError(f'line {number} is not {{"prompt": [ids], "answer": [ids]}}: {line.strip()[:60]!r}') from None
    if not isinstance(prompt, list) or not isinstance(answer, list):
        raise InputError(f"line {number}: prompt and answer must be lists of token ids")
    return number, prompt, answer


def check(
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
        terminal.print_json({"passed": not failed, "checks": [found._asdict() for found in checks]})
    else:
        console.print_checks(checks)
    if failed:
        sys.exit(1)


def export(
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
    require_outputs({"out": out})
    built, part = _task(task, settings), require_split(split)
    described = datasets.export(built, out, format, count=count, seed=seed, split=part, start=start)
    if as_json:
        terminal.print_json({"out": str(out), "format": format, **described})
    else:
        terminal.say(f"{count} windows of {built.context} tokens: {out}")


def _task(name: str, settings: Sequence[str]) -> Task:
    task = load_task(TaskConfig(name, parse_settings(settings)))
    for warning in task.warnings():
        terminal.warn(warning)
    return task
