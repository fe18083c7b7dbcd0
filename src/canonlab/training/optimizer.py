"""AdamW with its decay groups, and the learning-rate schedules."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from canonlab.training.config import TrainingConfig

FLOOR = 0.1
"""What the cosine schedule falls to, as a share of the peak learning rate."""


def build_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices and Canon weights, none on norms, biases, decays and time-step parameters.

    All that decays has two dimensions or more, and nothing else has: a Canon weight is (kernel, width).
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        fused=_fused(parameters),
    )


def _fused(parameters: Iterable[torch.Tensor]) -> bool:
    return all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)


def learning_rate(step: int, config: TrainingConfig) -> float:
    """The rate of step 0 .. steps - 1: linear warm-up, then cosine to a tenth of the peak, or linear to zero."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    if config.schedule == "linear":
        return config.lr * (1 - progress)
    return config.lr * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * progress)))
