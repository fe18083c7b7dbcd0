"""GPUs that runs may be planned for without having one: published rates, and what share of them is assumed."""

import re
from dataclasses import dataclass

from canonlab.errors import InputError, require_integer, unknown

UTILISATION, FULL_WIDTH = 0.35, 1024
"""The share of its peak that a GPU is assumed to reach in the matrix products of models from that width on.

It is proportional to the width below it: smaller products have less arithmetic for each byte and launch. An assumption:
well-tuned training of large models reports 0.4 to 0.5, and nothing of this was measured here.
"""

MOST = 1 << 16


@dataclass(frozen=True)
class GPU:
    """Dense peaks in FLOP/s, as published: of bf16 (by tensor cores) and of fp32 (without); memory in bytes."""

    name: str
    bf16: float
    fp32: float
    memory: int

    def rate(self, width: int, precision: str) -> float:
        """FLOP/s that are assumed for a model of that width."""
        return (self.bf16 if precision == "bf16" else self.fp32) * utilisation(width)


def utilisation(width: int) -> float:
    """The share of the peak that is assumed."""
    return UTILISATION * min(1.0, width / FULL_WIDTH)


def _gpu(name: str, bf16: float, fp32: float, gigabytes: int) -> GPU:
    return GPU(name, bf16 * 1e12, fp32 * 1e12, gigabytes * 10**9)


GPUS = {
    gpu.name: gpu
    for gpu in (
        _gpu("b200", 2250, 80, 192),
        _gpu("h200", 989, 67, 141),
        _gpu("h100", 989, 67, 80),
        _gpu("a100", 312, 19.5, 80),
        _gpu("a100-80gb", 312, 19.5, 80),
        _gpu("a100-40gb", 312, 19.5, 40),
        _gpu("l40s", 362, 91.6, 48),
        _gpu("a10", 125, 31.2, 24),
        _gpu("rtx4090", 165, 82.6, 24),
        _gpu("v100", 15.7, 15.7, 32),  # it has fast products of fp16, which no run uses, and none of bf16
    )
}


def parse(text: str) -> tuple[int, GPU]:
    """How many of which GPU: `8xh100`, or `h100` for one. InputError for others."""
    match = re.fullmatch(r"(?:(\d{1,9})x)?([a-z][a-z0-9-]*)", text.lower())
    if match is None:
        raise InputError(f"on = {text!r}: must be a number of GPUs and their name, such as 8xh100")
    if match[2] not in GPUS:
        raise unknown("on", match[2], GPUS)
    return require_integer("on", int(match[1] or 1), 1, MOST), GPUS[match[2]]
