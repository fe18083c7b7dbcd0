"""The published hyper-parameters of each task at its default difficulty. Source: Part 4.1, appendix A.

The learning rate is one of the published grid; the paper reports the best of the grid per cell.
"""

from typing import Any

DEPO: dict[str, Any] = {"batch": 128, "lr": 1e-3}
LANO: dict[str, Any] = {
    "steps": 100_000, "batch": 96, "lr": 5e-4, "warmup": 0, "schedule": "linear", "weight_decay": 0.1
}  # fmt: skip
CAPO: dict[str, Any] = {
    "steps": 0, "exposures": 100, "batch": 12, "lr": 1e-3, "weight_decay": 0.01, "beta2": 0.999, "eps": 1e-8
}  # fmt: skip
GRAMMARS = ("cfg3b", "cfg3f", "cfg3g", "cfg3h", "cfg3i", "cfg3j", "cfg3k")

TRAINING: dict[str, dict[str, Any]] = {
    "brevo1": {"steps": 100_000, "batch": 256, "lr": 1e-3},
    "brevo2": {"steps": 200_000, "batch": 192, "lr": 1e-3},
    "capo": CAPO,
    "capo-simple": CAPO,
    "copy": {"steps": 50_000, "batch": 32, "lr": 1e-3},
    "depo1": {"steps": 87_500, **DEPO},
    "depo2": {"steps": 100_000, **DEPO},
    **{f"lano-{grammar}": LANO for grammar in GRAMMARS},
    "mano": {"steps": 80_000, "batch": 64, "lr": 3e-4, "weight_decay": 0.1},
}

PEOPLE: dict[str, Any] = {"model": "gpt2-original", "size": "4-4", "tied": True}
MODEL: dict[str, dict[str, Any]] = {"capo": PEOPLE, "capo-simple": PEOPLE}
"""The models of a task that are not the others' default: Capo's are those of Part 3.3, embedding and output tied."""
