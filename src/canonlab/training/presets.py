"""The published hyper-parameters of each task at its default difficulty. Source: Part 4.1, appendix A.

The learning rate is one of the published grid; the paper reports the best of the grid per cell.
"""

from typing import Any

DEPO: dict[str, Any] = {"batch": 128, "lr": 1e-3}

TRAINING: dict[str, dict[str, Any]] = {
    "copy": {"steps": 50_000, "batch": 32, "lr": 1e-3},
    "depo1": {"steps": 87_500, **DEPO},
    "depo2": {"steps": 100_000, **DEPO},
}

LEARNING_RATES: dict[str, tuple[float, ...]] = {
    "copy": (5e-4, 1e-3, 2e-3, 5e-3),
    "depo1": (3e-4, 5e-4, 1e-3, 2e-3),
    "depo2": (3e-4, 5e-4, 1e-3, 2e-3),
}
