"""The references' runs that come with the package, so that only a user's models have to train.

They are run folders without checkpoints in a zip file. Unpacked beside other runs they are found by their identity, as
runs that are made: nothing else knows of them.
"""

import json
from collections.abc import Iterable
from importlib.resources import as_file, files
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from canonlab.errors import InputError
from canonlab.files import exists, replacing

ARCHIVE = "recipes/mini/references.zip"

PARTS = ("config.json", "metrics.jsonl", "result.json")
"""Of a run folder, in the order of writing: with a result a run is made, and what a kill leaves before that is not."""

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of all files in the archive, so that the same runs give the same bytes."""


def pack(folders: Iterable[Path], path: Path) -> None:
    """Write an archive of run folders."""
    with replacing(path) as temporary, ZipFile(temporary, "w", ZIP_DEFLATED, compresslevel=9) as archive:
        for folder in sorted(folders):
            for part in PARTS:
                archive.writestr(ZipInfo(f"{folder.name}/{part}", EPOCH), (folder / part).read_bytes(), ZIP_DEFLATED)


def unpack(out: Path) -> str:
    """Put the shipped runs that `out` lacks there, and say where they were made."""
    source = files("canonlab").joinpath(ARCHIVE)
    if not source.is_file():
        raise InputError("references = shipped: this canonlab has none; leave it out to train them")
    made = set()
    with as_file(source) as path, ZipFile(path) as archive:
        for name in dict.fromkeys(entry.partition("/")[0] for entry in archive.namelist()):
            versions = json.loads(archive.read(f"{name}/result.json"))["versions"]
            made.add(f"{versions['hardware']} with canonlab {versions['canonlab']} and torch {versions['torch']}")
            if not exists(out / name / "result.json"):
                (out / name).mkdir(parents=True, exist_ok=True)
                for part in PARTS:
                    with replacing(out / name / part) as temporary:
                        temporary.write_bytes(archive.read(f"{name}/{part}"))
    return f"references come with the package, measured on {', '.join(sorted(made))}"
