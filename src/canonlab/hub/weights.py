"""The files that hold weights, opened without reading them: PyTorch's and safetensors, whole or in shards; decoders.

Nothing is executed: what is no plain tensor in a file of PyTorch's makes it an error.
"""

import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from canonlab.checks import first_line
from canonlab.errors import InputError, shown
from canonlab.files import entry, exists, opened, parse_json, read_bytes, unreadable, writing
from canonlab.models.decoder import Decoder, DecoderConfig

PICKLED, INDEX = "consolidated.pth", "model.safetensors.index.json"
WHOLE = ("model.safetensors", "consolidated.safetensors")
FILES = (PICKLED, *WHOLE, INDEX)

HEAD = "head.weight"

NEEDED = 'it must be torch.save({"model": tensors})'

ZIP = b"PK\x03\x04"
"""The first bytes of what torch.save has written since PyTorch 1.6; an older file begins with a pickle."""

FLOATS = {torch.float64, torch.float32, torch.float16, torch.bfloat16}


@dataclass(frozen=True)
class Weights:
    """Named tensors in files: their shapes at once, each tensor when it is read. `path` is the file for messages."""

    path: Path
    shapes: dict[str, tuple[int, ...]]
    read: Callable[[str], Tensor]


def has_weights(folder: Path) -> bool:
    return any(exists(folder / name) for name in FILES)


def save_weights(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors that share no memory to a safetensors file. InputError where `path` can't be written."""
    with writing(path, "out") as temporary:
        try:
            save_file(tensors, temporary, {"format": "pt"})  # not by way of memory, of which there is too little
        except SafetensorError as error:
            raise OSError(str(error)) from None


def require_shapes(wanted: Mapping[str, tuple[tuple[int, ...], str]], weights: Weights) -> None:
    """InputError unless the file has the wanted tensors, by name a shape and words after it, and no other."""
    for name, (shape, about) in wanted.items():
        words = f"must be {list(shape)}{about}"
        if name not in weights.shapes:
            missing = sum(each not in weights.shapes for each in wanted)
            raise InputError(f"{weights.path}: {name} is missing: {words} ({missing} of {len(wanted)} are missing)")
        if weights.shapes[name] != shape:
            raise InputError(f"{weights.path}: {name} has the shape {list(weights.shapes[name])}: {words}")
    if extra := [name for name in weights.shapes if name not in wanted]:
        raise InputError(
            f"{weights.path}: {extra[0]} is one too many: a model of these settings has no such tensor "
            f"({len(extra)} of {len(weights.shapes)})"
        )


def stored(decoder: Decoder) -> dict[str, Tensor]:
    """A decoder's tensors as files hold them: a head that is the embedding is not there."""
    return {name: tensor for name, tensor in decoder.state_dict().items() if name != HEAD or not decoder.config.tied}


def own_shapes(config: DecoderConfig, prefix: str = "") -> dict[str, tuple[tuple[int, ...], str]]:
    """The names of `stored` tensors and their shapes, for `require_shapes`; of no memory."""
    with torch.device("meta"):
        tensors = stored(Decoder(config))
    return {prefix + name: (tuple(tensor.shape), "") for name, tensor in tensors.items()}


def build(config: DecoderConfig, tensors: Mapping[str, Tensor]) -> Decoder:
    """The decoder that has these `stored` tensors, and no others; it takes no memory beside them."""
    with torch.device("meta"):
        model = Decoder(config)
    marks = {name: vars(parameter) for name, parameter in model.named_parameters()}
    model.load_state_dict({**tensors, **({HEAD: tensors["embedding.weight"]} if config.tied else {})}, assign=True)
    for name, parameter in model.named_parameters():  # of another rate or no decay, which a new tensor lacks
        vars(parameter).update(marks.get(name, {}))
    if config.tied:
        model.head.weight = model.embedding.weight
    return model.eval()


def require_new(out: Path) -> None:
    """InputError for a folder that holds more than what a kill in mid-write has left there."""
    if exists(out) and (not out.is_dir() or any(not path.name.startswith(".model.") for path in out.iterdir())):
        raise InputError(f"out = {str(out)!r}: exists; name another folder")


def open_weights(folder: Path, pickled: bool = True) -> Weights:
    """The weights in a folder. InputErrors name the file, and the tensor where it is one's fault."""
    if pickled and exists(folder / PICKLED):
        return _pickled(folder / PICKLED)
    for name in WHOLE:
        if exists(folder / name):
            return open_safetensors(folder / name)
    if exists(folder / INDEX):
        return _sharded(folder / INDEX)
    names = FILES if pickled else FILES[1:]
    raise InputError(f"{folder} has no weights: it needs {', '.join(names[:-1])} or {names[-1]}")


def _pickled(path: Path) -> Weights:
    """`torch.save({"model": tensors})`; mapped into memory, so that a tensor is read when it is used."""
    with opened(path) as file:
        if file.read(len(ZIP)) != ZIP:
            raise InputError(f"{path}: is no file of weights, and nothing of it was executed; {NEEDED}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        raise InputError(f"{path}: holds more than weights, and nothing of it was executed; {NEEDED}") from None
    except Exception as error:  # a damaged archive may raise anything
        reason = first_line(error).partition(". ")[0]  # without PyTorch's advice to developers
        raise InputError(f"{path}: is damaged ({reason}); {NEEDED}") from None
    tensors = content.get("model") if isinstance(content, dict) else None
    if not isinstance(tensors, dict):
        found = f"has {', '.join(map(str, content))}" if isinstance(content, dict) else f"is a {type(content).__name__}"
        raise InputError(f"{path}: {found}; {NEEDED}")
    for name, tensor in tensors.items():
        plain = isinstance(tensor, Tensor) and tensor.layout is torch.strided and not tensor.is_meta
        if not (isinstance(name, str) and plain and tensor.dtype in FLOATS):
            kind = f"a tensor of {tensor.dtype}" if isinstance(tensor, Tensor) else shown(tensor)
            raise InputError(f"{path}: {name} = {kind}: must be a plain tensor of floating-point numbers")
    return Weights(path, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, tensors.__getitem__)


def open_safetensors(path: Path) -> Weights:
    """The weights in one file."""
    return _safetensors(path, [path])


def _sharded(index: Path) -> Weights:
    """The shards that an index names, which lie beside it."""
    places = entry(parse_json(read_bytes(index), index), "weight_map", dict, index)
    for name, file in places.items():
        if not isinstance(file, str) or not file or Path(file).name != file:
            raise InputError(f"{index}: weight_map, {name} = {shown(file)}: must be the name of a file beside it")
    weights = _safetensors(index, [index.with_name(file) for file in sorted(set(places.values()))])
    for name, file in places.items():
        if name not in weights.shapes:
            raise InputError(f"{index.with_name(file)}: {name} is missing, which {index.name} says is there")
    return weights


def _safetensors(path: Path, files: Iterable[Path]) -> Weights:
    places: dict[str, Any] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        try:
            opened(file).close()  # the library's own words for what the system says are those for damage
            tensors = safe_open(file, framework="pt")
            for name in tensors.keys():  # noqa: SIM118 (it is no mapping)
                part = tensors.get_slice(name)
                if part.get_dtype() not in ("F64", "F32", "F16", "BF16"):
                    raise InputError(f"{file}: {name} is of {part.get_dtype()}: must be of floating-point numbers")
                if name in places:
                    raise InputError(f"{file}: {name} is in another shard too")
                places[name], shapes[name] = tensors, tuple(part.get_shape())
        except OSError as error:
            raise unreadable(file, error) from None
        except SafetensorError as error:
            raise InputError(f"{file}: is no whole safetensors file ({error})") from None

    def read(name: str) -> Tensor:
        tensor: Tensor = places[name].get_tensor(name)
        return tensor

    return Weights(path, shapes, read)
