"""Optimizers and learning-rate schedules: a new one is a function here and its entry in the dictionary below it.

The fields `optimizer` and `schedule` of a configuration take the names; `--help` shows the functions' docstrings.
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from canonlab.errors import InputError, shown

if TYPE_CHECKING:  # the configuration asks this module for the names
    from canonlab.training.config import TrainingConfig


def adamw(model: nn.Module, config: "TrainingConfig") -> torch.optim.Optimizer:
    """With decoupled weight decay (arXiv 1711.05101)."""
    groups = decay_groups(model, config.weight_decay)
    parameters = [parameter for group in groups for parameter in group["params"]]
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), eps=config.eps, fused=fused)


OPTIMIZERS: dict[str, Callable[[nn.Module, "TrainingConfig"], torch.optim.Optimizer]] = {"adamw": adamw}
"""What makes the optimizer of a model. What it remembers of a parameter must be tensors, which checkpoints hold."""


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The trainable parameters in the form that PyTorch's optimizers take: those that decay, and those that don't.

    Matrices and Canon weights decay; norms, biases, decays and time-step parameters, of one dimension, don't, nor does
    a parameter that its class has marked with `_no_weight_decay = True`. Those marked with a `_learning_rate_factor`
    other than 1 are in groups of their own, whose `rate_factor` says which (`set_rate`).
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim >= 2 and not getattr(parameter, "_no_weight_decay", False)
            factor = getattr(parameter, FACTOR, 1.0)
            if not (isinstance(factor, int | float) and 0 <= factor < math.inf):
                raise InputError(f"{name}.{FACTOR} = {shown(factor)}: must be a finite number from 0")
            groups.setdefault((float(factor), decays), []).append(parameter)
    return [
        {"params": each, "weight_decay": weight_decay * decays} | ({} if factor == 1 else {"rate_factor": factor})
        for (factor, decays), each in groups.items()
        if each
    ]


FACTOR = "_learning_rate_factor"
"""The attribute of a parameter whose learning rate is a multiple of the others'."""


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate_factor", 1.0)


def build_optimizer(model: nn.Module, config: "TrainingConfig") -> torch.optim.Optimizer:
    """The optimizer that the configuration names, for all trainable parameters of a model."""
    return OPTIMIZERS[config.optimizer](model, config)


def cosine(step: int, config: "TrainingConfig") -> float:
    """To a tenth of the peak, along half a cosine."""
    return config.lr * (0.1 + (1 - 0.1) * 0.5 * (1 + math.cos(math.pi * progress(step, config))))


def linear(step: int, config: "TrainingConfig") -> float:
    """To zero, in a straight line."""
    return config.lr * (1 - progress(step, config))


SCHEDULES: dict[str, Callable[[int, "TrainingConfig"], float]] = {"cosine": cosine, "linear": linear}
"""The rate of a step, from `warmup` to `steps` - 1."""


def progress(step: int, config: "TrainingConfig") -> float:
    """The share of the steps after the warm-up that are done before this one."""
    return (step - config.warmup) / max(1, config.steps - config.warmup)


def learning_rate(step: int, config: "TrainingConfig") -> float:
    """The rate of step 0 .. steps - 1: linear warm-up, then the schedule that the configuration names."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    return SCHEDULES[config.schedule](step, config)


def choices(entries: Mapping[str, Callable[..., Any]]) -> str:
    """The names in one of the dictionaries, each with the first line of its docstring: for help texts."""
    abouts = {name: (entry.__doc__ or "").partition("\n")[0].rstrip(".") for name, entry in entries.items()}
    return "; ".join(f"{name}: {about[:1].lower()}{about[1:]}" if about else name for name, about in abouts.items())
