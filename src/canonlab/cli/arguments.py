"""Arguments that several commands share, and how their text is read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional, arg

from canonlab.errors import InputError, shown
from canonlab.files import exists
from canonlab.sweeps.recipe import Recipe, load_recipe
from canonlab.training.run import require_apart
from canonlab.yaml_text import parse_yaml


def option(metavar: str, help: str) -> Any:
    """What tyro is to know of an option whose help says what holds where it isn't given."""
    return arg(metavar=metavar, help=help, help_behavior_hint="")


Set = Annotated[tuple[str, ...], arg(name="set", metavar="NAME=VALUE ...", help="Task parameters, e.g. N=225 K=4.")]
Mixer = Annotated[tuple[str, ...], arg(name="mixer", metavar="NAME=VALUE ...", help="Arguments of the mixer.")]
Log = Annotated[str | None, option("NAME", "Also log to tensorboard, wandb or trackio.")]
Json = Annotated[FlagCreatePairsOff[bool], arg(name="json", help="Machine-readable output.")]
TaskName = Annotated[Positional[str], arg(metavar="TASK", help="A preset (see `canonlab tasks`), or path.py:Class.")]
RunPath = Annotated[Positional[Path], arg(metavar="RUN", help="A run folder.")]
RecipeName = Annotated[
    Positional[str], arg(metavar="RECIPE", help="A YAML file, or a shipped one such as laptop/depo.")
]
Changes = Annotated[
    tuple[str, ...],
    arg(
        name="set",
        metavar="FIELD=VALUE ...",
        help="Laid over the recipe: training.steps=100 training.seed=[0,1,2], where a list is an axis of the grid.",
    ),
]
Device = Annotated[str | None, option("WORD", "Of all runs: auto, cpu, cuda, cuda:N or mps; by default the recipe's.")]
Out = Annotated[Path | None, option("PATH", "Folder of the runs; by default runs/<recipe's name>.")]


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE pairs as a mapping, each value read as YAML: N=225, lengths=[1,2], query=last."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise InputError(f"{shown(pair)}: must be NAME=VALUE, such as N=225")
        if name in settings:
            raise InputError(f"{shown(pair)}: {name} is given twice")
        settings[name] = parse_yaml(value, shown(pair))
    return settings


def recipe_and_folder(
    recipe: str, settings: Sequence[str], device: str | None, out: Path | None
) -> tuple[Recipe, Path]:
    """The recipe with `settings` laid over it, all of it on `device`, and the folder of its runs."""
    on = {} if device is None else {"backend.device": device}
    loaded = load_recipe(recipe, parse_settings(settings) | on)
    return loaded, out or Path("runs") / loaded.name


def require_outputs(files: Mapping[str, Path | None], figures: Path | None = None) -> None:
    """InputError, before anything is written, for an output that would take the place of something else.

    That is a folder, a part of a run folder, another output; for the folder of figures a file.
    """
    taken: dict[Path, str] = {}
    for field, path in {**files, "figures": figures}.items():
        if path is None:
            continue
        if exists(path) and path.is_dir() != (field == "figures"):
            raise InputError(
                f"{field} = {str(path)!r}: is a {'folder; name a file' if path.is_dir() else 'file; name a folder'}"
            )
        require_apart(path, field)
        place = path.parent.resolve() / path.name
        if place in taken:
            raise InputError(f"{field} = {str(path)!r}: is {taken[place]}'s place too; name another")
        taken[place] = field
