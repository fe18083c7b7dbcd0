"""The runs of a sweep as a file, which is all that a worker is told.

Everything that a machine might resolve in its own way (precision, threads) is resolved in it, and the user's own files
are copies beside it: whichever worker of whichever machine makes a run, and whatever the user edits meanwhile, it is
the run that was planned.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from canonlab import typed
from canonlab.errors import InputError
from canonlab.files import entry, exists, maybe, read_bytes, read_json, replacing, sha256, write_json
from canonlab.models.config import pattern_names
from canonlab.plugins import is_plugin
from canonlab.sweeps.places import SWEEP
from canonlab.tasks.base import copy_name
from canonlab.training.config import RunConfig
from canonlab.training.plan import Plan
from canonlab.training.run import as_known, known_runs
from canonlab.typed import user_path

HASH = 12
"""Letters of a file's hash that its folder is called."""


class Entry(NamedTuple):
    """A run to make: its folder's name, its identity, the cell that a reader would file it under, its cost, itself; and
    the folder's name of the run that it is made of, "" for one that is trained."""

    folder: str
    identity: str
    cell: str
    flops: int
    config: RunConfig
    origin: str = ""


@dataclass(frozen=True)
class Worklist:
    """Runs below `parent`; `command` makes them."""

    parent: Path
    name: str
    command: str
    keep: str
    entries: list[Entry]

    @property
    def path(self) -> Path:
        """The file that it is kept in."""
        return self.parent / SWEEP / f"{self.name}.json"

    def folder(self, entry: Entry) -> Path:
        """Where a run is, or will be."""
        return self.parent / entry.folder

    def write(self) -> None:
        """Keep it for workers to read. InputError where that can't be."""
        runs = [
            {**each._asdict(), "config": _told(dataclasses.asdict(each.config), RunConfig)} for each in self.entries
        ]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.path, {"command": self.command, "keep": self.keep, "runs": runs})
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {error.strerror or error}") from None


def read_worklist(path: Path) -> Worklist:
    """What `Worklist.write` wrote. InputError when that isn't there, or the copies of files are not those of then."""
    content = read_json(path)
    entries = []
    for run in entry(content, "runs", list, path):
        config = typed.build(RunConfig, entry(run, "config", dict, path), "runs")
        words = [entry(run, name, str, path) for name in ("folder", "identity", "cell")]
        origin = maybe(run, "origin", str, path) or ""
        entries.append(Entry(words[0], words[1], words[2], entry(run, "flops", int, path), config, origin))
    for file in (path.parent / "sources").glob("*/*"):
        members = {path.name: path for path in file.iterdir()} if file.is_dir() else {"": file}
        if _digest({name: read_bytes(path) for name, path in members.items()}) != file.parent.name:
            raise InputError(f"{file} is not the file that the sweep was planned with")
    command, keep = (entry(content, name, str, path) for name in ("command", "keep"))
    return Worklist(path.parent.parent, path.stem, command, keep, entries)


def worklist(
    plans: Sequence[Plan], flops: Sequence[int], parent: Path, name: str, command: str, keep: str, threads: int
) -> Worklist:
    """The list of planned runs, with `threads` for those that leave them open; copies the user's files."""
    known = known_runs(parent)
    entries = []
    for plan, work in zip(plans, flops, strict=True):
        there = as_known(plan, known)
        folder, origin = (known.get(each.identity, parent / each.name).name for each in (there, there.trained))
        made_of = origin if there.quantizes else ""
        entries.append(Entry(folder, there.identity, _cell(plan), work, _fixed(there, parent, threads), made_of))
    return Worklist(parent, name, command, keep, entries)


def _cell(plan: Plan) -> str:
    """A plan's name without what seeds and learning rates make of it."""
    return plan.name.rsplit("-lr", 1)[0]


def _fixed(plan: Plan, parent: Path, threads: int) -> RunConfig:
    """What was asked for, with nothing left open, and with copies of the user's files."""
    asked = plan.asked
    contents: dict[str, dict[str, bytes]] = {}
    for place, content in plan.copies.items():
        name, _, file = place.partition("/")
        contents.setdefault(name, {})[file] = content
    copies = {name: _copied(files, name, parent) for name, files in contents.items()}
    placed = {
        reference: f"{copies[plugin.path.name]}:{plugin.class_name}" for reference, plugin in plan.plugins.items()
    }
    files = {parameter: str(copies[copy_name(path)]) for parameter, path in plan.task.files.items()}
    model = ",".join(placed.get(name, name) for name in pattern_names(asked.model.model))
    return RunConfig(
        dataclasses.replace(asked.task, name=placed.get(asked.task.name, asked.task.name), set=asked.task.set | files),
        dataclasses.replace(asked.model, model=model) if any(map(is_plugin, placed)) else asked.model,
        asked.training,
        dataclasses.replace(asked.backend, precision=plan.backend.precision, threads=asked.backend.threads or threads),
        asked.quantization,
        asked.start and dataclasses.replace(asked.start, run=str(user_path(asked.start.run).absolute())),
    )


def _copied(files: Mapping[str, bytes], name: str, parent: Path) -> Path:
    """A copy of a user's file, called "" here, or of a folder of files, in a folder called after what is in it."""
    place = parent.resolve() / SWEEP / "sources" / _digest(files) / name
    for file, content in files.items():
        path = place / file
        if not exists(path) or read_bytes(path) != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_bytes(content)
    return place


def _digest(files: Mapping[str, bytes]) -> str:
    """What the folder of a copy is called: after the hash of a file, or after those of all files in a folder."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return (hashes[""] if "" in hashes else sha256(hashes))[:HASH]


def _told(content: dict[str, Any], cls: type) -> dict[str, Any]:
    """A configuration, as plain data, without what is at its default."""
    found = {}
    for field in dataclasses.fields(cls):
        value = content[field.name]
        if isinstance(field.type, type) and dataclasses.is_dataclass(field.type):
            found[field.name] = _told(value, field.type)
        elif value != field.default:
            found[field.name] = value
    return found
