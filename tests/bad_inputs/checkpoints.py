"""Checkpoints: damaged, of something else, of another run, and not as they must be."""

import functools
import json
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from bad_inputs.case import Bad
from bad_inputs.folders import DEEP, PLACES, Change, instead
from canonlab.training.checkpoint import Checkpoint, SafetensorsStore


def tensors_of(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["canonlab"])
        return {key: file.get_tensor(key) for key in file.keys()}, facts  # noqa: SIM118


def tensors(change: Callable[[dict[str, Any], dict[str, Any]], object]) -> Change:
    """Checkpoints with other tensors and facts, and the right checksum."""

    def make(folder: Path) -> None:
        for run in ("run", "begun"):
            for name in ("last", "best"):
                path = folder / run / "checkpoints" / f"{name}.safetensors"
                found, facts = tensors_of(path)
                facts.pop("format"), facts.pop("sha256")
                change(found, facts)
                SafetensorsStore(path.parent).save(name, Checkpoint(found, facts))

    return make


def raw(write: Callable[[Path], object]) -> Change:
    """Something else in the place of the checkpoints."""

    def make(folder: Path) -> None:
        for run in ("run", "begun"):
            for name in ("last", "best"):
                path = folder / run / "checkpoints" / f"{name}.safetensors"
                write(path)

    return make


def edited(change: Callable[[bytes], bytes]) -> Change:
    return raw(lambda path: path.write_bytes(change(path.read_bytes())))


def header(text: bytes, length: int | None = None) -> Change:
    return edited(lambda _: struct.pack("<Q", len(text) if length is None else length) + text)


def metadata(text: str) -> Change:
    return raw(lambda path: save_file({"a": torch.zeros(2)}, path, {"canonlab": text}))


def first(found: dict[str, Any]) -> str:
    return next(key for key in found if key.startswith("model/"))


CHECKPOINTS: dict[str, Change] = {
    "empty": edited(lambda _: b""),
    "cut": edited(lambda data: data[: len(data) // 2]),
    "a byte less": edited(lambda data: data[:-1]),
    "a byte more": edited(lambda data: data + b"x"),
    "text": edited(lambda _: b"hello\n"),
    "binary": edited(lambda _: bytes(range(256))),
    "a pickle": edited(lambda _: pickle.dumps({"a": 1})),
    "torch's": raw(lambda path: torch.save({"a": torch.zeros(2)}, path)),
    "a bit": edited(lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]),
    "a huge header": header(b"{}", 2**62),
    "a negative header": header(b"{}", 2**64 - 1),
    "no header": header(b"", 0),
    "a header of text": header(b"hello"),
    "a deep header": header(b"[" * 100_000),
    "no metadata": raw(lambda path: save_file({"a": torch.zeros(2)}, path)),
    "metadata of text": metadata("x"),
    "metadata of a list": metadata("[]"),
    "deep metadata": metadata(DEEP),
    "format 99": metadata('{"format": 99}'),
    "format true": metadata('{"format": true}'),
    "no tensors": tensors(lambda found, facts: found.clear()),
    "a tensor less": tensors(lambda found, facts: found.pop(first(found))),
    "a tensor more": tensors(lambda found, facts: found.update({"model/more": torch.zeros(2)})),
    "another name": tensors(lambda found, facts: found.update({"model/nope": found.pop(first(found))})),
    "another shape": tensors(lambda found, facts: found.update({first(found): torch.zeros(3, 3)})),
    "another type": tensors(lambda found, facts: found.update({first(found): found[first(found)].to(torch.int64)})),
    "another run's": tensors(lambda found, facts: facts.update(identity="0" * 64)),
    "no identity": tensors(lambda found, facts: facts.pop("identity")),
}

RESUMED: dict[str, Change] = {
    "no optimizer": tensors(lambda found, facts: [found.pop(k) for k in list(found) if k.startswith("optimizer/")]),
    "an optimizer's shape": tensors(
        lambda found, facts: found.update({k: torch.zeros(1, 1, 7) for k in found if k.endswith("exp_avg")})
    ),
    "no random state": tensors(lambda found, facts: found.pop("random/cpu")),
    "a random state's shape": tensors(lambda found, facts: found.update({"random/cpu": torch.zeros(3)})),
    **{
        f"{key} = {value!r:.20}": tensors(
            functools.partial(lambda found, facts, key, value: facts.update({key: value}), key=key, value=value)
        )
        for key, wrong in {
            "step": (None, "x", -1, 1.5, 10**30, True),
            "seconds": (None, "x", [], -1),
            "data_sha256": (None, 3, "x", "0"),
            "best": (3, "x", [], {}, {"value": "x"}),
            "log": (3, "x", [], {"bytes": "x"}, {"bytes": -1}),
        }.items()
        for value in wrong
    },
    **{
        f"no {key}": tensors(functools.partial(lambda found, facts, key: facts.pop(key), key=key))
        for key in ("step", "seconds", "data_sha256")
    },
}


def cases() -> Iterator[Bad]:
    for what, change in CHECKPOINTS.items():
        yield Bad("checkpoint", "eval run" if len(what) % 2 else "resume begun", ("checkpoint",), change, what=what)
    for what, make in PLACES.items():
        last = "last.safetensors"
        for command, run in (("eval run", "run"), ("resume begun", "begun")):
            yield Bad("checkpoint", command, (last,), instead(f"{run}/checkpoints/{last}", make(last)), what=what)
    for what, change in RESUMED.items():
        yield Bad(
            "checkpoint",
            "resume begun",
            ("begun/metrics.jsonl" if what.startswith("log = {") else "checkpoint",),
            change,
            what=what,
        )
