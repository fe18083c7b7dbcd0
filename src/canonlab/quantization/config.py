"""What is asked of a quantization."""

import dataclasses
from typing import Any

from canonlab.errors import InputError, require_integer, shown, unknown

BITS = range(2, 9)
"""What a weight may have."""

METHODS = ("gptq", "nearest")
MOST_WINDOWS = 1 << 16


@dataclasses.dataclass(frozen=True)
class QuantizationConfig:
    """What is done to the weights of a trained model; nothing unless `bits` are given.

    Attributes:
        bits: Of each weight, from 2 to 8; 0 for weights as they were trained.
        method: gptq, which makes up for the error of a weight by those after it; or nearest, which rounds each.
        windows: The first training windows that gptq sees, to know what the weights are multiplied with.

    A field that has no meaning (the windows of nearest, all but the bits where these are 0) has its default, so that
    configurations that mean the same are equal.
    """

    bits: int = 0
    method: str = "gptq"
    windows: int = 128

    def __post_init__(self) -> None:
        if isinstance(self.bits, bool) or self.bits not in (0, *BITS):
            raise InputError(
                f"bits = {shown(self.bits)}: must be an integer from {BITS[0]} to {BITS[-1]}, or 0 for none"
            )
        if self.method not in METHODS:
            raise unknown("method", self.method, METHODS)
        require_integer("windows", self.windows, 1, MOST_WINDOWS)
        meant = ("bits", "method", "windows")[: 1 if not self.bits else 2 if self.method == "nearest" else 3]
        for field in dataclasses.fields(self):
            if field.name not in meant:
                object.__setattr__(self, field.name, field.default)

    def plain(self) -> dict[str, Any]:
        """As plain data, as it identifies a run: {} where nothing is done."""
        if not self.bits:
            return {}
        plain = dataclasses.asdict(self)
        return plain if self.method == "gptq" else {key: plain[key] for key in ("bits", "method")}
