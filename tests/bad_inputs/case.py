"""One bad input."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

TINY = "--set N=6 context=28 --size 1L16D2H --steps 4 --batch 2 --warmup 0 --eval-every 2 --eval-windows 2 "
TINY += "--final-windows 2 --checkpoint-every 2 --precision fp32 --compile off --threads 1"
"""Flags of a training of a tenth of a second, should it not be refused."""


class Bad(NamedTuple):
    """A command that must be refused, in a folder that `make` made ready for it.

    `command` are the words after `canonlab`; `says` are words that the message must have, such as field and value;
    `what` tells apart inputs of one command.
    """

    kind: str
    command: str | Sequence[str]
    says: tuple[str, ...] = ()
    make: Callable[[Path], object] = lambda folder: None
    stdin: str = ""
    what: str = ""
    environment: Mapping[str, str] = MappingProxyType({})

    @property
    def words(self) -> list[str]:
        """The command as a list of words."""
        return shlex.split(self.command) if isinstance(self.command, str) else list(self.command)

    @property
    def title(self) -> str:
        """All of it in plain characters."""
        text = f"{self.kind}: {' '.join(self.words).replace(TINY, '')} {self.what or self.stdin}"
        return text.encode("unicode_escape").decode().strip()


def written(**files: str | bytes) -> Callable[[Path], object]:
    """Makes files, by names in which `__` stands for the dot."""

    def make(folder: Path) -> None:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            (folder / name.replace("__", ".")).write_bytes(data)

    return make
