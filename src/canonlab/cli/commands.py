"""The commands by name, and how their words become arguments."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from canonlab.cli import architectures, console, data, results, training
from canonlab.files import user_path

COMMANDS: dict[str, Callable[..., Any]] = {
    "tasks": data.tasks,
    "models": architectures.models,
    "sample": data.sample,
    "show": data.show,
    "score": data.score,
    "check": architectures.check,
    "check-task": data.check,
    "export-data": data.export,
    "train": training.train_command,
    "resume": training.resume,
    "eval": training.evaluate,
    "sweep": training.sweep,
    "report": results.report,
    "claims": results.claims,
    "demo": training.demo,
    "bench": results.bench,
}

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


def run() -> None:
    """Parse the process's arguments, and call the command that they name."""
    # tyro decides by standard output alone, also for what it writes to standard error, and doesn't know NO_COLOR
    coloured = not os.environ.get("NO_COLOR") and all(map(console.watched, (sys.stdout, sys.stderr)))
    getattr(tyro, "_experimental_options", {})["ansi_codes"] = coloured
    with PATHS:
        tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="canonlab", description=ABOUT)
