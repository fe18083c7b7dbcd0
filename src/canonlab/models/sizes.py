"""Sizes of models in words: `8L512D`, `1L32D2H`, and Capo's `4-8`."""

import re
from dataclasses import dataclass

from canonlab.errors import InputError

HEAD_WIDTH = 64


@dataclass(frozen=True)
class Size:
    """Layers, width and heads of a Transformer; other families derive theirs from these (see `presets.py`).

    Written `8L512D`, or `1L32D2H` where the heads are not width / 64, or `l-h` for l layers and h heads of width 64.
    """

    layers: int
    width: int
    heads: int

    @classmethod
    def parse(cls, text: str) -> "Size":
        """The size that `text` writes. InputError for anything else."""
        if match := re.fullmatch(r"([1-9]\d*)-([1-9]\d*)", text):
            layers, heads = int(match[1]), int(match[2])
            return cls(layers, HEAD_WIDTH * heads, heads)
        match = re.fullmatch(r"([1-9]\d*)L([1-9]\d*)D(?:([1-9]\d*)H)?", text)
        if match is None:
            raise InputError(
                f"size = {text!r}: must be <layers>L<width>D, or <layers>L<width>D<heads>H, such as 8L512D, "
                f"or <layers>-<heads> with heads of width {HEAD_WIDTH}, such as 4-8"
            )
        layers, width = int(match[1]), int(match[2])
        heads = int(match[3]) if match[3] else max(1, width // HEAD_WIDTH)
        if width % heads:
            raise InputError(
                f"size = {text!r}: {heads} heads don't divide the width {width}; name the heads, as in 1L32D2H"
            )
        return cls(layers, width, heads)
