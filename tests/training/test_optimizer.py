"""Schedules at their corners, and who decays."""

import math

import pytest

from canonlab.models.config import ModelConfig
from canonlab.training.config import TrainingConfig
from canonlab.training.optimizer import build_optimizer, learning_rate


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


def test_frozen_canon_weights_are_not_optimized() -> None:
    model = ModelConfig(size="1L32D2H", canon="A", canon_frozen=True).decoder(7).build()
    optimizer = build_optimizer(model, TrainingConfig(steps=1, batch=1, lr=1.0))
    optimized = {id(p) for group in optimizer.param_groups for p in group["params"]}
    names = [name for name, p in model.named_parameters() if id(p) not in optimized]
    assert names == ["blocks.0.canon_a.weight"]
