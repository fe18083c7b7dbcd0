"""The commands by name, and how their words become arguments."""

import functools
import importlib
import io
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from canonlab.cli import terminal
from canonlab.errors import InputError
from canonlab.typed import user_path

COMMANDS = {
    "tasks": "data.tasks",
    "models": "architectures.models",
    "sample": "data.sample",
    "show": "data.show",
    "score": "data.score",
    "check": "architectures.check",
    "import": "hub.import_command",
    "export": "hub.export_command",
    "lm-eval": "hub.lm_eval_command",
    "check-task": "data.check",
    "export-data": "data.export",
    "train": "training.train_command",
    "finetune": "training.finetune",
    "resume": "training.resume",
    "eval": "training.evaluate",
    "quantize": "quantization.quantize",
    "plan": "plan.plan",
    "recipe": "recipes.recipe",
    "sweep": "sweeps.sweep",
    "compare": "compare.compare",
    "status": "status.status",
    "work": "sweeps.work_command",
    "report": "results.report",
    "claims": "results.claims",
    "agreement": "results.agreement",
    "signal": "design.signal",
    "null": "design.null",
    "demo": "compare.demo",
    "bench": "results.bench",
}
"""What each command is: a module of this package, and a function there."""

ABOUT = "Which sequence architecture is better, and at what? (canonlab --version says which canonlab this is)"

PATHS = ConstructorRegistry()


@PATHS.primitive_rule
def _path(declared: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Path] | None:
    """Every path of the command line is read as `user_path` reads it."""
    if declared.type is not Path:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda words: user_path(words[0]),
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda path: [str(path)],
    )


def load(words: Sequence[str]) -> dict[str, Callable[..., Any]]:
    """All commands by name. Where the first of the `words` is one, the others are not loaded, which takes seconds."""
    named = words[0] if words and words[0] in COMMANDS else None
    return {name: _loaded(name) if named in (None, name) else _not_loaded for name in COMMANDS}


def _loaded(name: str) -> Callable[..., Any]:
    module, _, function = COMMANDS[name].partition(".")
    command: Callable[..., Any] = getattr(importlib.import_module(f"canonlab.cli.{module}"), function)
    return command


def _not_loaded() -> None:
    raise AssertionError("another command was named")


def run(commands: Mapping[str, Callable[..., Any]]) -> None:
    """Parse the process's arguments, and call the command that they name."""
    # tyro decides by standard output alone, also for what it writes to standard error, and doesn't know NO_COLOR
    coloured = not os.environ.get("NO_COLOR") and all(map(terminal.watched, (sys.stdout, sys.stderr)))
    getattr(tyro, "_experimental_options", {})["ansi_codes"] = coloured
    deferred = {name: _deferred(command) for name, command in commands.items()}
    said = io.StringIO()
    try:
        with PATHS, redirect_stderr(said):
            command = tyro.extras.subcommand_cli_from_dict(deferred, prog="canonlab", description=ABOUT)
    except SystemExit as stop:
        if stop.code == 2:
            raise InputError(_unframed(said.getvalue())) from None
        raise
    command()


def _deferred(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """The command as tyro reads it, to be called when its words have been parsed."""

    @functools.wraps(command)
    def defer(*args: Any, **kwargs: Any) -> Callable[[], None]:
        return functools.partial(command, *args, **kwargs)

    return defer


def _unframed(box: str) -> str:
    """What tyro says in a box of several lines, without the box, its title and where the help on an argument stands."""
    lines = (line.strip(" │╭╮╰╯─├┤") for line in re.sub("\x1b\\[[0-9;]*m", "", box).splitlines())
    _, *rest = (line for line in lines if line.strip("-"))
    return re.sub(r" For full helptext, (run|see):? ", "; see ", " ".join(rest).replace("Argument helptext: ", ""))
