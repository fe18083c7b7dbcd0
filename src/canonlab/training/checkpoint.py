"""Checkpoints: weights, optimizer and counters in one safetensors file, written atomically, read without pickle."""

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from canonlab.checks import first_line
from canonlab.errors import InputError, shown
from canonlab.files import FORMAT, check_format, entry, exists, maybe, opened, parse_json, replacing, sha256, unreadable

MODEL, OPTIMIZER, RANDOM = "model/", "optimizer/", "random/"


REMEDY = "put a copy in its place, or delete the file to begin the run anew"


@dataclass(frozen=True)
class Checkpoint:
    """Named tensors, and the facts that belong to them: step, data hash, identity, ..."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    @property
    def weights(self) -> dict[str, Tensor]:
        """The tensors without what only training needs."""
        return {key: tensor for key, tensor in self.tensors.items() if _is_weight(key)}

    @property
    def weights_alone(self) -> bool:
        """Whether there is nothing in it that only training needs, as in that of a run whose sweep kept no more."""
        return all(map(_is_weight, self.tensors))


class SafetensorsStore:
    """Checkpoints as `<name>.safetensors` in one folder. `remedy`: what helps where one is damaged."""

    def __init__(self, folder: Path, remedy: str = REMEDY) -> None:
        self.folder, self.remedy = folder, remedy

    def path(self, name: str) -> Path:
        """The file of checkpoint `name`."""
        return self.folder / f"{name}.safetensors"

    def save(self, name: str, checkpoint: Checkpoint) -> None:
        """Keep `checkpoint` as `name`; whatever happens meanwhile, the old or the new one is there and whole."""
        tensors = {key: t.detach().cpu().contiguous().clone() for key, t in checkpoint.tensors.items()}
        facts = {"format": FORMAT, "sha256": _hash(tensors, checkpoint.facts), **checkpoint.facts}
        metadata = {"canonlab": json.dumps(facts)}
        self.folder.mkdir(exist_ok=True)
        content = save(tensors, metadata)  # into memory, as the library leaves files of its own when it is killed
        with replacing(self.path(name)) as temporary:
            temporary.write_bytes(content)

    def thin(self, names: Collection[str], identity: str) -> None:
        """Keep the weights alone of these checkpoints, and no others: what evaluations need, not what training does."""
        for path in self.folder.glob("*.safetensors"):
            if path.stem not in names:
                path.unlink()
            elif (checkpoint := self.load(path.stem, identity)) and not checkpoint.weights_alone:
                self.save(path.stem, Checkpoint(checkpoint.weights, checkpoint.facts))

    def load(self, name: str, identity: str) -> Checkpoint | None:
        """The checkpoint kept as `name`, None if there is none. InputError when it is damaged, or another run's."""
        path = self.path(name)
        if not exists(path):
            return None
        try:
            opened(path).close()  # the library's own words for what the system says are those for damage
            with safe_open(path, framework="pt") as file:
                facts = parse_json((file.metadata() or {}).get("canonlab", "{}"), path)
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no mapping)
        except OSError as error:
            raise unreadable(path, error) from None
        except (SafetensorError, ValueError) as error:
            raise InputError(f"checkpoint {path} is damaged ({error}); {self.remedy}") from None
        if not isinstance(facts, dict):
            raise InputError(f"checkpoint {path} is damaged (its facts are no JSON object); {self.remedy}")
        version = facts.pop("format", None)
        check_format(path, version)
        written = facts.pop("sha256", None)
        if written != (tensors_hash(tensors) if version == 1 else _hash(tensors, facts)):
            raise InputError(f"checkpoint {path} is damaged (its bytes are not those that were written); {self.remedy}")
        if facts.get("identity") != identity:
            raise InputError(f"{path} belongs to another run")
        entry(facts, "step", int, path, least=0)
        entry(facts, "seconds", float, path, least=0)
        if not re.fullmatch("[0-9a-f]{64}", entry(facts, "data_sha256", str, path)):
            raise InputError(f"{path}: data_sha256 = {shown(facts['data_sha256'])}: must be a SHA-256")
        if (best := maybe(facts, "best", dict, path)) is not None:
            entry(best, "value", float, path)
        maybe(facts, "log", dict, path)
        return Checkpoint(tensors, facts)


def _is_weight(key: str) -> bool:
    return key.startswith(MODEL)


def _hash(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
    """SHA-256 over all that a checkpoint holds. Format 1 left the facts out."""
    return sha256([tensors_hash(tensors), facts])


def training_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Everything that the next step depends on, by name, besides step number and data, which need no tensors."""
    tensors = {MODEL + name: tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{OPTIMIZER}{name}/{key}"] = value
    tensors[RANDOM + "cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors[RANDOM + "cuda"] = torch.cuda.get_rng_state()
    return tensors


@contextmanager
def _fitting() -> Iterator[None]:
    """The context in which a checkpoint is put into a model: one that has other tensors is an InputError."""
    try:
        yield
    except (RuntimeError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"the checkpoint does not fit the run ({first_line(error)}); {REMEDY}") from None


@_fitting()
def restore_training(tensors: Mapping[str, Tensor], model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put `training_tensors` back. InputError unless they are those of the model and the optimizer."""
    restore_model(tensors, model)
    state = optimizer.state_dict()
    order = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for index, parameter in enumerate(order):
        prefix = f"{OPTIMIZER}{names[id(parameter)]}/"
        values = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
        if wrong := [key for key, value in values.items() if not _spreads(value.shape, parameter.shape)]:
            raise ValueError(f"{prefix}{wrong[0]} has the shape {tuple(values[wrong[0]].shape)}")
        if values:
            state["state"][index] = values
    if not state["state"]:
        raise KeyError(OPTIMIZER)
    optimizer.load_state_dict(state)
    torch.set_rng_state(tensors[RANDOM + "cpu"])
    if torch.cuda.is_available() and RANDOM + "cuda" in tensors:
        torch.cuda.set_rng_state(tensors[RANDOM + "cuda"])


def _spreads(shape: torch.Size, over: torch.Size) -> bool:
    """Whether a tensor holds one value for each of a parameter's, or one for a row, a column or all of them."""
    return len(shape) <= len(over) and all(n in (1, m) for n, m in zip(shape[::-1], over[::-1], strict=False))


@_fitting()
def restore_model(tensors: Mapping[str, Tensor], model: nn.Module) -> None:
    """Load the weights of a checkpoint into a model. InputError unless it has exactly those."""
    weights = {key.removeprefix(MODEL): t for key, t in tensors.items() if _is_weight(key)}
    for name, tensor in model.state_dict().items():
        if name in weights and weights[name].dtype != tensor.dtype:  # which would be converted without a word
            raise TypeError(f"{name} is of {weights[name].dtype}")
    model.load_state_dict(weights)


def weights_hash(model: nn.Module) -> str:
    """SHA-256 over all weights of a model, see tensors_hash."""
    return tensors_hash(model.state_dict())


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over tensors in the order of their names: name, dtype, shape and bytes of each."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
