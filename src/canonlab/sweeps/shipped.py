"""The references' runs that come with the package, so that only a user's models have to train.

They are run folders without checkpoints in a zip file. Unpacked beside other runs they are found by their identity, as
runs that are made: nothing else knows of them.
"""

import json
from collections.abc import Iterable
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from canonlab.errors import InputError
from canonlab.files import exists, replacing

ARCHIVE = "recipes/mini/references.zip"

PARTS = ("config.json", "metrics.jsonl", "result.json")
"""Of a run folder: what a report reads, and what makes it count as made."""

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of all files in the archive, so that the same runs give the same bytes."""


def pack(folders: Iterable[Path], path: Path) -> None:
    """Write an archive of run folders."""
    with replacing(path) as temporary, ZipFile(temporary, "w", ZIP_DEFLATED, compresslevel=9) as archive:
        for folder in sorted(folders):
            for part in PARTS:
                archive.writestr(ZipInfo(f"{folder.name}/{part}", EPOCH), (folder / part).read_bytes(), ZIP_DEFLATED)


def unpack(out: Path) -> str:
    """Put the shipped runs that `out` lacks there, and say where they were made. InputError when it can't be written.

    A folder that exists stays as it is, since somebody may be training in it; others appear whole or not at all.
    """
    source = files("canonlab").joinpath(ARCHIVE)
    if not source.is_file():
        raise InputError("references = shipped: this canonlab has none; leave it out to train them")
    with as_file(source) as path, ZipFile(path) as archive:
        names = list(dict.fromkeys(entry.partition("/")[0] for entry in archive.namelist()))
        try:
            out.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(prefix=".shipped-", dir=out) as scratch:  # results aren't looked for in such a name
                for name in names:
                    if not exists(out / name):
                        archive.extractall(scratch, [f"{name}/{part}" for part in PARTS])
                        _move(Path(scratch) / name, out / name)
        except OSError as error:
            raise InputError(f"out = {str(out)!r}: cannot be written: {error.strerror or error}") from None
        made = {_origin(json.loads(archive.read(f"{name}/result.json"))["versions"]) for name in names}
    return f"references come with the package, measured on {', '.join(sorted(made))}"


def _move(folder: Path, place: Path) -> None:
    try:
        folder.rename(place)
    except OSError:
        if not exists(place):  # else another process has been faster
            raise


def _origin(versions: dict[str, str]) -> str:
    return f"{versions['hardware']} with canonlab {versions['canonlab']} and torch {versions['torch']}"
