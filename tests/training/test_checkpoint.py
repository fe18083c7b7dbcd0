"""A checkpoint gives any optimizer back as it was."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

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
