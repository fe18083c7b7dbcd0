"""Run folders: damaged, of wrong types, foreign, and too much.

`run` is a finished run; in `begun` the same has its last checkpoint and no result.
"""

import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bad_inputs.case import TINY, Bad
from bad_inputs.files import fifo, folder, link
from tiny_runs import edit

Change = Callable[[Path], object]

READERS = {
    "config.json": ("report run", "resume begun", "eval run", f"train copy {TINY} --out run", "claims run"),
    "result.json": ("report run", "claims run", "resume run"),
    "environment.json": ("resume begun",),
    "metrics.jsonl": ("report run", "resume begun"),
    "diverged.json": ("report begun", "claims begun"),
}

DEEP = "[" * 100_000
BYTES: dict[str, bytes] = {
    "empty": b"",
    "cut": b'{"format": 2, "sha256": "0123',
    "array": b"[1, 2, 3]\n",
    "null": b"null\n",
    "number": b"3\n",
    "text": b'"format"\n',
    "object": b"{}\n",
    "binary": bytes(range(256)),
    "zeros": b"\x00" * 1000,
    "deep": DEEP.encode(),
    "deep objects": b'{"a":' * 100_000,
    "format true": b'{"format": true}\n',
    "format text": b'{"format": "2"}\n',
    "format 99": b'{"format": 99}\n',
    "format huge": b'{"format": ' + b"9" * 5000 + b"}\n",
    "format negative": b'{"format": -1}\n',
    "format float": b'{"format": 1.0}\n',
    "format infinite": b'{"format": 1e999}\n',
    "no checksum": b'{"format": 2}\n',
    "checksum of a number": b'{"format": 2, "sha256": 3}\n',
    "not a number": b'{"format": 1, "identity": NaN, "x": Infinity}\n',
    "given twice": b'{"format": 1, "format": 1}\n',
}

PLACES: dict[str, Callable[[str], Change]] = {
    "a folder": folder,
    "a pipe": fifo,
    "endless": lambda name: link(name, "/dev/zero"),
    "a link to itself": lambda name: link(name, name),
}

CONFIG: dict[str, tuple[Any, ...]] = {
    "identity": (None, 3, "0" * 64, ["a"]),
    "name": (None, 3, {}),
    "asked": (None, "x", []),
    "asked.task": (None, "copy", []),
    "asked.task.name": (None, 3, "nope", "x.py:Task", "../../x.py:Task", "a" * 5000),
    "asked.task.set": (None, "x", {"N": "x"}, {"n": 3}, {"N": 10**30}, {"context": 10**12}),
    "asked.model": (None, "gla", []),
    "asked.model.model": (3, None, [], "nope", "x.py:X", "/etc/passwd.py:X"),
    "asked.model.size": (3, None, "0L8D", "1000000L64D", "1L1000000000D"),
    "asked.model.canon": (3, None, "XYZ"),
    "asked.model.canon_kernel": ("x", 1.5, None, 10**30),
    "asked.model.mlp": (3, None, "x"),
    "asked.model.mlp_ratio": ("x", None, [], -1),
    "asked.model.tied": ("x", None, 3),
    "asked.model.mixer": (None, "x", {"head": 3}, {"heads": "x"}),
    "asked.training": (None, "x", []),
    "asked.training.steps": ("x", 0, None, 1.5, 10**30),
    "asked.training.lr": ("x", None, [], -1),
    "asked.training.seed": ("x", None, -1, 2**64),
    "asked.training.batch": ("x", None, 0, 10**12),
    "asked.training.isolate": ("x", None, 3),
    "files": (3, [], {"grammar": 3}),
    "identified_by": (None, 3, {}),
    "config": (None, 3, []),
    "config.task": (None, 3, []),
    "config.task.name": (None, 3),
    "config.task.parameters": (None, 3, []),
    "config.task.context": (None, "x", 1.5, -1, True),
    "config.task.source": (3, "x", [1]),
    "config.model": (None, 3),
    "config.model.canon": (None, 3),
    "config.model.canon.points": (None, 3),
    "config.model.pattern": (None, "x", [], [3], [{}], [{"mixer": 3, "mlp": None}]),
    "config.model.sources": (None, "x", [3], {}),
    "config.model.width": (None, "x", -3),
    "config.model.layers": (None, "x", -3),
    "config.training": (None, "x", []),
    "config.training.steps": (None, "x", 1.5, -1, 0, 10**30),
    "config.training.seed": (None, "x", 1.5, -1),
    "config.training.lr": (None, "x", -1, 10**400),
    "config.training.batch": (None, "x", -1),
    "config.precision": (None, 3, "fp8"),
    "difficulty": (3, [], {}),
    "measuring": (None, 3, []),
    "measuring.eval_every": (None, "x", 0, -1),
    "machine": (None, 3, []),
    "machine.device": (None, 3),
    "machine.threads": (None, "x", 0, -1, 100_000, 10**30),
    "machine.compile": (None, 3, "x"),
    "machine.canon": (None, 3),
    "machine.linear": (None, 3),
    "machine.microbatch": ("x", -1, 3, 10**30),
}

NEEDED = (
    *("identity", "name", "asked", "asked.task", "asked.task.name", "asked.task.set", "asked.model", "asked.training"),
    *("identified_by", "config", "config.task", "config.task.name", "config.task.parameters", "config.task.context"),
    *(
        "config.model",
        "config.model.canon",
        "config.model.canon.points",
        "config.model.pattern",
        "config.model.sources",
    ),
    *("config.model.width", "config.model.layers", "config.training", "config.training.steps", "config.training.seed"),
    *("config.training.lr", "config.precision", "measuring", "machine", "evaluation", "evaluation.metrics", "cost"),
    *("evaluation.headline", "evaluation.metrics.token_accuracy", "evaluation.metrics.token_accuracy.value"),
    *("cost.parameters", "cost.flops_per_token", "cost.tokens", "cost.seconds"),
)
"""What no reader can do without."""

METRIC = "evaluation.metrics.token_accuracy"
RESULT: dict[str, tuple[Any, ...]] = {
    "identity": (None, 3, "0" * 64),
    "evaluation": (None, 3, []),
    "evaluation.metrics": (None, 3, [], {}),
    "evaluation.headline": (None, 3, [], "token_accuracy", [3], ["nope"], [["token_accuracy"]]),
    "evaluation.notes": (3, "x", [1], {"windows": "x"}, {"windows": []}),
    METRIC: (None, 3, [], {}),
    f"{METRIC}.value": ("x", [], True, 1.5, -0.5, 10**400),
    f"{METRIC}.low": ("x", [], True, 0.99, -5),
    f"{METRIC}.high": ("x", [], True, 0.0, 5),
    f"{METRIC}.right": ("x", [], True, -1, 10**9, 1.5),
    f"{METRIC}.count": ("x", [], True, -1, 1.5, 0),
    f"{METRIC}.clusters": ("x", [], True, -1, 1.5),
    "cost": (None, 3, []),
    "cost.parameters": (None, "x", [], -1),
    "cost.flops_per_token": ("x", [], -1),
    "cost.tokens": ("x", [], -1),
    "cost.seconds": ("x", [], -1),
    "log": (3, "x", [], {"bytes": "x"}, {"bytes": 3}, {"bytes": -1, "sha256": "x"}, {"bytes": 10**30, "sha256": "x"}),
    "weights_sha256": (3, [], {}),
    "data_sha256": (3, [], {}),
    "best": (3, "x", []),
    "coincidence": ("x", [], -1, 7),
    "versions": (3, "x", []),
    "command": (3, []),
}

TRAIN, EVAL = '{"kind": "train", "step": 2, "loss": 1.0', '{"kind": "eval", "step": 2, '
LOGS = (
    *("3", "null", "[]", '"x"', "{", "x", "\x00", '{"kind": "train"}', '{"kind": "train", "step": "x"}', DEEP),
    *('{"kind": "train", "step": 2}', '{"kind": "train", "step": 2, "loss": "x"}', '{"kind": 3, "step": 2}'),
    *(
        '{"step": 2}',
        '{"kind": "train", "step": true, "loss": 1}',
        '{"kind": "log", "step": 0}',
    ),
    *(
        '{"kind": "log", "step": 0, "format": 99}',
        '{"kind": "train", "step": -5, "loss": 1}',
        '{"kind": "eval", "step": 2}',
    ),
    *(f'{{"kind": "train", "step": {"9" * 5000}, "loss": 1}}', '{"kind": "train", "step": 1e999, "loss": 1}'),
    *('{"kind": "train", "step": 2, "loss": []}', '{"kind": "train", "step": 2, "loss": true}', f"{EVAL}}}"),
    *(
        f'{EVAL}"metrics": 3}}',
        f'{EVAL}"metrics": {{}}, "headline": []}}',
        f'{EVAL}"metrics": {{"a": 3}}, "headline": ["a"]}}',
    ),
    *(
        f'{EVAL}"metrics": {{"a": {{"value": "x"}}}}, "headline": ["a"]}}',
        f'{EVAL}"metrics": {{"a": {{}}}}, "headline": ["a"]}}',
    ),
    *(
        f'{EVAL}"metrics": {{"a": {{"value": 0.5}}}}, "headline": ["b"]}}',
        f'{EVAL}"metrics": {{"a": {{"value": 7, "right": 1, "count": 1}}}}, "headline": ["a"]}}',
    ),
)


def put(content: Any, path: str, value: Any) -> None:
    *parents, leaf = path.split(".")
    for parent in parents:
        content = content[parent]
    content[leaf] = value


def remove(content: Any, path: str) -> None:
    *parents, leaf = path.split(".")
    for parent in parents:
        content = content[parent]
    content.pop(leaf, None)


def bytes_of(name: str, content: bytes) -> Change:
    def make(folder: Path) -> None:
        for run in ("run", "begun"):
            (folder / run / name).write_bytes(content)

    return make


def values(name: str, change: Callable[[Any], object]) -> Change:
    """The file with other content, and the right checksum."""

    def make(folder: Path) -> None:
        for run in ("run", "begun"):
            if (path := folder / run / name).exists():
                edit(path, change)

    return make


def lines(line: str) -> Change:
    """A line more in the log of the unfinished run."""

    def make(folder: Path) -> None:
        with (folder / "begun/metrics.jsonl").open("ab") as file:
            file.write(line.encode() + b"\n")

    return make


def instead(path: str, make: Change) -> Change:
    """What `make` makes, in the place of a file."""

    def change(folder: Path) -> None:
        (folder / path).unlink(missing_ok=True)
        make((folder / path).parent)

    return change


def without(name: str) -> Change:
    def make(folder: Path) -> None:
        for run in ("run", "begun"):
            path = folder / run / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    return make


def cases() -> Iterator[Bad]:
    for name, commands in READERS.items():
        for number, (what, content) in enumerate(BYTES.items()):
            if name == "metrics.jsonl" and what == "empty":
                continue
            command = commands[number % len(commands)]
            yield Bad("json", command, (name,), bytes_of(name, content), what=f"{name} {what}")
    for name, given in (("config.json", CONFIG), ("result.json", RESULT)):
        for path, wrong in given.items():
            readers = READERS[name][:2] if path == "log" else READERS[name]
            for number, value in enumerate(wrong):
                command = readers[number % len(readers)]
                if "asked" in path or "machine" in path or "measuring" in path:
                    command = "resume begun"
                change = functools.partial(put, path=path, value=value)
                yield Bad(
                    "entry",
                    command,
                    ("metrics.jsonl" if path == "log" and isinstance(value, dict) else name,),
                    values(name, change),
                    what=f"{name}: {path} = {value!r:.40}",
                )
            if path in NEEDED:
                yield Bad(
                    "missing",
                    readers[0],
                    (name,),
                    values(name, functools.partial(remove, path=path)),
                    what=f"{name}: {path}",
                )
    for line in LOGS:
        yield Bad("log", "report begun", ("metrics.jsonl",), lines(line), what=line)
    for value in (None, "text", -3, {}, True, [3], [{}], [{"environment": 3}]):
        yield Bad(
            "entry",
            "resume begun",
            ("environment.json",),
            values("environment.json", functools.partial(put, path="sessions", value=value)),
            what=f"sessions = {value!r:.40}",
        )
    yield from gone()


def gone() -> Iterator[Bad]:
    for name in ("config.json", "result.json"):
        for command in READERS[name]:
            run = "begun" if "begun" in command else "run"
            for what, make in PLACES.items():
                yield Bad("file", command, (run,), instead(f"{run}/{name}", make(name)), what=f"{name} is {what}")
    for name, commands in {
        "config.json": ("report run", "resume begun", "eval run"),
        "metrics.jsonl": ("report run", "resume begun"),
        "checkpoints": ("eval run", "eval run --checkpoint best"),
    }.items():
        for command in commands:
            yield Bad(
                "missing", command, (name if name != "checkpoints" else "has no checkpoint",), without(name), what=name
            )
    for command in ("report run", "resume run"):
        yield Bad("foreign", command, ("result.json",), taken("result.json", "metrics.jsonl"), what="result.json")
    for file in ("last", "best"):
        where = f"checkpoints/{file}.safetensors"
        yield Bad("foreign", f"eval run --checkpoint {file}", (file,), taken(where))
    yield Bad("foreign", f"train copy {TINY} --seed 9 --out run", ("run",))


def taken(*names: str) -> Change:
    """Files of another run."""
    return lambda folder: [shutil.copy(folder / "other" / name, folder / "run" / name) for name in names]
