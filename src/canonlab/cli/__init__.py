"""The command line: parse, call, print. Exit status 0, 2 for bad input, 1 for a failure."""

import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import tyro

from canonlab import __version__
from canonlab.cli import architectures, data, results, training
from canonlab.errors import InputError
from canonlab.training.loop import Diverged, Failed, Interrupted


def main() -> NoReturn:
    """Entry point of the `canonlab` command."""
    if sys.argv[1:] == ["--version"]:
        print(f"canonlab {__version__}")
        sys.exit(0)
    try:
        commands: dict[str, Callable[..., Any]] = {
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
    except (Diverged, Failed, OSError) as error:
        _stop(1, error)
    sys.exit(0)


def _stop(status: int, reason: object) -> NoReturn:
    text = " ".join(str(reason).split())
    print(f"canonlab: error: {text}" if status in (1, 2) else f"canonlab: {text}", file=sys.stderr)
    sys.exit(status)
