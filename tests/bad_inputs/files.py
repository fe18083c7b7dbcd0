"""Paths: what is missing, no regular file, unreadable, endless or not what it should be."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from bad_inputs.case import TINY, Bad, written


def fifo(name: str) -> Callable[[Path], object]:
    return lambda folder: os.mkfifo(folder / name)


def link(name: str, to: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).symlink_to(to)


def folder(name: str) -> Callable[[Path], object]:
    return lambda parent: (parent / name).mkdir()


def large(name: str, size: int) -> Callable[[Path], object]:
    """A file of zeros that takes no room."""

    def make(folder: Path) -> None:
        with (folder / name).open("wb") as file:
            file.truncate(size)

    return make


def unreadable(name: str) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        (folder / name).touch(mode=0)

    return make


def anywhere(name: str) -> dict[str, Callable[[Path], object]]:
    """What may be in the place of a file called `name`."""
    found = {
        "missing": written(),
        "a folder": folder(name),
        "a pipe": fifo(name),
        "endless": link(name, "/dev/zero"),
        "a device": link(name, "/dev/tty"),
        "a broken link": link(name, "nowhere"),
        "a link to itself": link(name, name),
        "empty": written(**{name: ""}),
        "binary": written(**{name: bytes(range(256))}),
        "zero": written(**{name: "\x00"}),
        "100 MB": large(name, 100 << 20),
        "text": written(**{name: "Hello, this is no such file.\n"}),
    }
    return found if os.geteuid() == 0 else {**found, "unreadable": unreadable(name)}


GRAMMARS = {
    "{}": "root",
    "[]": "object",
    "null": "object",
    "3": "object",
    "[" * 100_000: "JSON",
    '{"root": 1}': "levels",
    '{"root": 1, "levels": 3, "rules": {}}': "levels",
    '{"root": 1, "levels": [], "rules": {}}': "levels",
    '{"root": 1, "levels": [[1]], "rules": {}}': "levels",
    '{"root": 9, "levels": [[9], [1]], "rules": 3}': "rules",
    '{"root": 9, "levels": [[9], [1]], "rules": {}}': "no rules",
    '{"root": 9, "levels": [[9], [1]], "rules": {"9": 3}}': "rules",
    '{"root": 9, "levels": [[9], [1]], "rules": {"9": [[]]}}': "at least one",
    '{"root": 9, "levels": [[9], [1]], "rules": {"9": [[2]]}}': "no level",
    '{"root": 9, "levels": [[9], [1]], "rules": {"9": [["1"]]}}': "integer",
    '{"root": 9, "levels": [[9], [1]], "rules": {"9": [[1], [1]]}}': "twice",
    '{"root": 9, "levels": [[9], [1]], "rules": {"x": [[1]]}}': "integer",
    '{"root": "9", "levels": [[9], [1]], "rules": {"9": [[1]]}}': "root",
    '{"root": [9], "levels": [[9], [1]], "rules": {"9": [[1]]}}': "root",
    '{"root": 9, "levels": [[9], [2]], "rules": {"9": [[2]]}}': "terminals",
    '{"root": 9, "levels": [[9], [1, 2]], "rules": {"9": [[1]]}}': "unreachable",
    '{"root": 9, "root": 9, "levels": [[9], [1]], "rules": {"9": [[1]]}}': "twice",
    '{"root": 9, "levels": [[9], [1]], "rules": {"9": [[1]]}, "more": 3}': "more",
    '{"root": 1e999, "levels": [[9], [1]], "rules": {"9": [[1]]}}': "root",
    '{"root": NaN, "levels": [[9], [1]], "rules": {"9": [[1]]}}': "root",
    f'{{"root": {"9" * 5000}, "levels": [[9], [1]], "rules": {{}}}}': "g.json",
    '{"root": 9, "levels": [[9], [1000000000000]], "rules": {"9": [[1000000000000]]}}': "levels",
    '{"root": 99, "levels": [[99], [9], [1]], "rules": {"99": [[9]], "9": [[1]], "1": [[1]]}}': "terminal",
    '{"root": 9, "levels": [[9], [1]], "rules": {"9": [[' + "1," * 100_000 + "1]]}}": "context",
}

TOKENIZERS = (
    *("{}", "[]", "null", "3", '"x"', "[" * 100_000, '{"model": 3}', '{"model": {"merges": 3}}'),
    '{"model": {"type": "BPE", "merges": [], "vocab": {}}, "pre_tokenizer": null, "added_tokens": []}',
    '{"model": {"type": "BPE", "merges": [[1, 2]], "vocab": {}}, "added_tokens": [{"content": "<eos>"}]}',
    '{"model": {"type": "BPE", "merges": [], "vocab": []}, "added_tokens": [{"content": "<eos>", "id": 0}]}',
    '{"model": {"type": "BPE", "merges": [3], "vocab": {}}, "pre_tokenizer": {}, "added_tokens": [3]}',
)

COMMANDS = {
    "sweep {}": "x__yaml",
    "train --config {}": "x__yaml",
    "tasks lano-cfg3f --set grammar={}": "x__json",
    "tasks capo --set tokenizer={}": "x__json",
    "tasks {}:Task": "x__py",
    "train copy --model {}:Mixer": "x__py",
    "resume {}": "x",
    "report {}": "x",
    "eval {}": "x",
    "import {}": "x",
}


def cases() -> Iterator[Bad]:
    for command, name in COMMANDS.items():
        file = name.replace("__", ".")
        for what, make in anywhere(file).items():
            if not (what == "a folder" and file == "x" and command.startswith("report")):
                yield Bad("file", command.format(file), (file,), make, what=what)
        for path in ("a" * 300, "a/" * 3000 + "x", "", "~nobody/x", "\x1b[31m"):
            yield Bad("path", [word.format(path + file.removeprefix("x")) for word in command.split()], ())
    for what, make in anywhere("consolidated.pth").items():
        yield Bad("file", "import .", ("consolidated.pth",), make, what=f"consolidated.pth, {what}")
    for text, says in GRAMMARS.items():
        yield Bad("grammar", "sample lano-cfg3f --set grammar=g.json", (says,), written(g__json=text), what=text)
    for text in TOKENIZERS:
        yield Bad("tokenizer", "tasks capo --set tokenizer=t.json", ("t.json",), written(t__json=text), what=text)
    busy = written(busy="something")
    for command in (
        f"train copy {TINY} --out busy",
        f"train copy {TINY} --out busy/x",
        "show copy --set N=6 context=28 --out busy/x.svg",
        "export-data copy --count 1 --format jsonl --out busy/x",
        "export-data copy --count 1 --format jsonl --out .",
        "export-data copy --count 1 --format jsonl --out /proc/x",
        "show copy --set N=6 context=28 --out /proc/x.svg",
        f"train copy {TINY} --out /proc/x",
        f"train copy {TINY} --out /dev/null",
        f"train copy {TINY} --out {'a' * 300}",
        "demo --out busy",
        "sweep laptop/copy --out busy",
    ):
        yield Bad("place", command, (), busy)
    yield Bad(
        "place",
        f"train copy {TINY} --out full",
        ("full",),
        lambda f: written(x="y")((f / "full").mkdir() or f / "full"),
    )
