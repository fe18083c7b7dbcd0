"""How Mamba2 and the gated delta rule begin: time steps, log-uniform, through a softplus.

Source: Mamba (arXiv 2312.00752), section 3.6.
"""

import math

import torch
from torch import Tensor

LEAST, GREATEST, FLOOR = 1e-3, 0.1, 1e-4


def time_step_bias(heads: int) -> Tensor:
    """(heads,): softplus of it is log-uniform in [LEAST, GREATEST], and never below FLOOR."""
    steps = torch.empty(heads).uniform_(math.log(LEAST), math.log(GREATEST)).exp()
    return inverse_softplus(steps.clamp(min=FLOOR))


def inverse_softplus(x: Tensor) -> Tensor:
    """y with softplus(y) = x, for x > 0; exact where x is small too."""
    return x + torch.log(-torch.expm1(-x))
