"""Arguments that several commands share, and how their text is read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from tyro.conf import FlagCreatePairsOff, Positional, arg

from canonlab.errors import InputError
from canonlab.sweeps.recipe import read_yaml

Set = Annotated[tuple[str, ...], arg(name="set", metavar="NAME=VALUE ...", help="Task parameters, e.g. N=225 K=4.")]
Mixer = Annotated[tuple[str, ...], arg(name="mixer", metavar="NAME=VALUE ...", help="Arguments of the mixer.")]
Log = Annotated[str | None, arg(help="Also log to tensorboard, wandb or trackio.")]
Json = Annotated[FlagCreatePairsOff[bool], arg(name="json", help="Machine-readable output.")]
TaskName = Annotated[Positional[str], arg(metavar="TASK", help="A preset (see `canonlab tasks`), or path.py:Class.")]
RunPath = Annotated[Positional[Path], arg(metavar="RUN", help="A run folder.")]


def as_pairs(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """A mapping as NAME=VALUE pairs, which `parse_settings` reads back."""
    return tuple(f"{name}={json.dumps(value)}" for name, value in settings.items())


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE pairs as a mapping, each value read as YAML: N=225, lengths=[1,2], query=last."""
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise InputError(f"{pair!r}: must be NAME=VALUE, such as N=225")
        try:
            settings[name] = read_yaml(value)
        except yaml.YAMLError:
            raise InputError(f"{pair!r}: the value is not valid YAML") from None
    return settings
