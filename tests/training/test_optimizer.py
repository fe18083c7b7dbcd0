"""Schedules at their corners, who decays, and that an entry in a dictionary is all that another one needs."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from canonlab.errors import InputError
from canonlab.hub.weights import build
from canonlab.models.config import ModelConfig
from canonlab.training.checkpoint import SafetensorsStore
from canonlab.training.config import TrainingConfig
from canonlab.training.loop import train
from canonlab.training.optimizer import (
    OPTIMIZERS,
    SCHEDULES,
    build_optimizer,
    choices,
    decay_groups,
    learning_rate,
    set_rate,
)
from canonlab.training.run import create_run
from tiny_runs import MIXER, Recorder, tiny_config


def test_cosine_with_warmup() -> None:
    config = TrainingConfig(steps=100, batch=1, lr=2.0, warmup=10)
    assert learning_rate(0, config) == pytest.approx(0.2)
    assert learning_rate(9, config) == pytest.approx(2.0)
    assert learning_rate(10, config) == pytest.approx(2.0)
    assert learning_rate(55, config) == pytest.approx(0.2 + 1.8 * 0.5)
    assert learning_rate(99, config) == pytest.approx(0.2 + 0.9 * (1 + math.cos(math.pi * 89 / 90)))


def test_linear_without_warmup() -> None:
    config = TrainingConfig(steps=100, batch=1, lr=2.0, warmup=0, schedule="linear")
    assert [learning_rate(s, config) for s in (0, 50, 99)] == pytest.approx([2.0, 1.0, 0.02])


def test_matrices_and_canon_weights_decay_and_norms_do_not() -> None:
    model = ModelConfig(size="2L32D2H", canon="ABCD").decoder(7).build()
    optimizer = build_optimizer(model, TrainingConfig(steps=1, batch=1, lr=1.0, weight_decay=0.1))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert decays[id(parameter)] == (0.0 if "norm" in name else 0.1), name


def test_what_its_class_marks_does_not_decay(tmp_path: Path) -> None:
    marked = "self.rates = torch.nn.Parameter(torch.zeros(2, 3))\n        self.rates._no_weight_decay = True"
    (tmp_path / "own.py").write_text(MIXER.replace("self.out =", f"{marked}\n        self.out ="))
    model = ModelConfig(f"{tmp_path / 'own.py'}:Mean", "1L16D2H").decoder(7).build().double()
    optimizer = build_optimizer(model, TrainingConfig(steps=1, batch=1, lr=1.0, weight_decay=0.1))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    mixer = model.blocks[0].mixer
    assert [decays[id(p)] for p in (mixer.rates, mixer.out.weight, mixer.out.bias)] == [0.0, 0.1, 0.0]


def test_a_rate_of_its_own_is_a_multiple_of_the_others() -> None:
    model = ModelConfig(size="1L32D2H", canon="A").decoder(7).build()
    model.head.weight._learning_rate_factor = 0.5
    optimizer = build_optimizer(model, TrainingConfig(steps=1, batch=1, lr=1.0))
    set_rate(optimizer, 0.1)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    others = {rates[id(p)] for p in model.parameters()} - {rates[id(model.head.weight)]}
    assert rates[id(model.head.weight)] == 0.05 and others == {0.1}
    set_rate(optimizer, 0.2)
    assert {group["lr"] for group in optimizer.param_groups} == {0.1, 0.2}
    for wrong in ("x", -1.0, float("nan")):
        model.head.weight._learning_rate_factor = wrong
        with pytest.raises(InputError, match="head.weight._learning_rate_factor = .*: must be a finite number from 0"):
            build_optimizer(model, TrainingConfig(steps=1, batch=1, lr=1.0))


def test_an_import_keeps_the_rates_of_its_own() -> None:
    config = ModelConfig("rwkv7", "1L32D2H").decoder(7)
    groups = decay_groups(build(config, config.build().state_dict()), 0.1)
    assert [group.get("rate_factor") for group in groups] == [None, None, 2.0]


def test_frozen_canon_weights_are_not_optimized() -> None:
    model = ModelConfig(size="1L32D2H", canon="A", canon_frozen=True).decoder(7).build()
    optimizer = build_optimizer(model, TrainingConfig(steps=1, batch=1, lr=1.0))
    optimized = {id(p) for group in optimizer.param_groups for p in group["params"]}
    names = [name for name, p in model.named_parameters() if id(p) not in optimized]
    assert names == ["blocks.0.canon_a.weight"]


def test_one_entry_is_a_new_optimizer_or_schedule(
    folder: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sgd(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=config.lr, momentum=0.9)

    monkeypatch.setitem(OPTIMIZERS, "sgd", sgd)
    monkeypatch.setitem(SCHEDULES, "constant", lambda step, config: config.lr)
    run = create_run(tiny_config(optimizer="sgd", schedule="constant"), folder)
    train(run, recorder)
    assert [r["lr"] for r in recorder.records if r["kind"] == "train"] == [0.01] * 6
    checkpoint = SafetensorsStore(folder / "checkpoints").load("last", run.identity)
    assert checkpoint is not None
    kept = {name.rpartition("/")[2] for name in checkpoint.tensors if name.startswith("optimizer/")}
    assert kept == {"momentum_buffer"}


def test_help_names_the_entries() -> None:
    for entries in (OPTIMIZERS, SCHEDULES):
        assert choices(entries) in " ".join(str(TrainingConfig.__doc__).split())
