"""The published hyper-parameters of each task at its default difficulty. Source: Part 4.1, appendix A.

The learning rate is one of the published grid; the paper reports the best of the grid per cell.
"""

from typing import Any

from canonlab.tasks.catalog import TASKS
from canonlab.tasks.lano import Lano

DEPO: dict[str, Any] = {"batch": 128, "lr": 1e-3}
DEPO1 = {"steps": 87_500, **DEPO}
LANO: dict[str, Any] = {
    "steps": 100_000, "batch": 96, "lr": 5e-4, "warmup": 0, "schedule": "linear", "weight_decay": 0.1
}  # fmt: skip
CAPO: dict[str, Any] = {
    "steps": 0, "exposures": 100, "batch": 12, "lr": 1e-3, "weight_decay": 0.01, "beta2": 0.999, "eps": 1e-8
}  # fmt: skip

TRAINING: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("biod", "biod-junk", "biod-mini"), CAPO),
    "brevo1": {"steps": 100_000, "batch": 256, "lr": 1e-3},
    "brevo2": {"steps": 200_000, "batch": 192, "lr": 1e-3},
    "capo": CAPO,
    "capo-questions": CAPO,
    "capo-simple": CAPO,
    "capo-junk": CAPO,
    "copy": {"steps": 50_000, "batch": 32, "lr": 1e-3},
    "depo": DEPO1,
    "depo1": DEPO1,
    "depo2": {"steps": 100_000, **DEPO},
    **{name: LANO for name, preset in TASKS.items() if preset.task is Lano},
    "mano": {"steps": 80_000, "batch": 64, "lr": 3e-4, "weight_decay": 0.1},
}

PEOPLE: dict[str, Any] = {"model": "gpt2-original", "size": "4-4", "tied": True}
MODEL: dict[str, dict[str, Any]] = dict.fromkeys(("biod", "capo", "capo-simple", "capo-junk", "capo-questions"), PEOPLE)
"""The models of a task that are not the others' default: those of Part 3.3, embedding and output tied."""
