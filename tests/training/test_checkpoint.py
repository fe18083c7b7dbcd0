"""A checkpoint gives any optimizer back as it was; what can't be read is not called damaged."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from canonlab.errors import InputError, Unreadable
from canonlab.training.checkpoint import Checkpoint, SafetensorsStore, restore_training, training_tensors

OPTIMIZERS: dict[str, Any] = {
    "SGD": {"momentum": 0.9},
    "Adam": {"amsgrad": True},
    "AdamW": {"fused": True},
    "NAdam": {},
    "RAdam": {},
    "Adamax": {},
    "Adagrad": {},
    "Adadelta": {},
    "Adafactor": {},
    "ASGD": {},
    "RMSprop": {"momentum": 0.9, "centered": True},
    "Rprop": {},
    "Muon": {},
}


def start(name: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8, bias=name != "Muon"), nn.Tanh(), nn.Linear(8, 3, bias=name != "Muon"))
    model[2].weight.requires_grad_(name != "SGD")  # what is frozen has no state
    return model, getattr(torch.optim, name)(model.parameters(), lr=0.01, **OPTIMIZERS[name])


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.randn(4, 6)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_as_if_it_had_never_stopped(name: str, tmp_path: Path) -> None:
    model, optimizer = start(name)
    for _ in range(3):
        step(model, optimizer)
    store = SafetensorsStore(tmp_path)
    store.save("last", Checkpoint(training_tensors(model, optimizer), {"identity": "x"}))
    for _ in range(3):
        step(model, optimizer)
    loaded = store.load("last", "x")
    assert loaded is not None
    other, its_optimizer = start(name)
    restore_training(loaded.tensors, other, its_optimizer)
    for _ in range(3):
        step(other, its_optimizer)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_what_the_system_refuses_is_no_damage(powerless: Path) -> None:
    store = SafetensorsStore(powerless)
    store.save("last", Checkpoint({"a": torch.ones(3)}, {"identity": "x"}))
    path = store.path("last")
    (powerless / "plain").touch()
    assert path.stat().st_mode == (powerless / "plain").stat().st_mode, "as the umask has it"
    path.chmod(0)
    with pytest.raises(Unreadable, match=r"^cannot read .*last\.safetensors: Permission denied$"):
        store.load("last", "x")
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"last\.safetensors is damaged"):
        store.load("last", "x")
    path.unlink()
    for make, reason in (
        (path.mkdir, "it is no regular file"),
        (lambda: path.symlink_to(path.name), "Too many levels"),
    ):
        make()
        with pytest.raises(InputError, match=rf"^cannot read .*last\.safetensors: {reason}"):
            store.load("last", "x")
        path.rmdir() if path.is_dir() else path.unlink()
    assert store.load("last", "x") is None
