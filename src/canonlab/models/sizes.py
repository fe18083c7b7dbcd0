"""Sizes of models in words: `8L512D`, `1L32D2H`, and Capo's `4-8`."""

import os
import re
from dataclasses import dataclass

from canonlab.errors import InputError, shown

HEAD_WIDTH = 64

MOST_LAYERS, MOST_WIDTH = 1000, 1 << 16
"""The deepest Transformer that anybody has reported, and several times the widest."""

NUMBER = r"([1-9][0-9]{0,8})"


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
        if match := re.fullmatch(rf"{NUMBER}-{NUMBER}", text):
            layers, heads = int(match[1]), int(match[2])
            return cls(layers, HEAD_WIDTH * heads, heads)._bounded(text)
        match = re.fullmatch(rf"{NUMBER}L{NUMBER}D(?:{NUMBER}H)?", text)
        if match is None:
            raise InputError(
                f"size = {shown(text)}: must be <layers>L<width>D, or <layers>L<width>D<heads>H, such as 8L512D, "
                f"or <layers>-<heads> with heads of width {HEAD_WIDTH}, such as 4-8"
            )
        layers, width = int(match[1]), int(match[2])
        heads = int(match[3]) if match[3] else max(1, width // HEAD_WIDTH)
        if width % heads:
            raise InputError(
                f"size = {text!r}: {heads} heads don't divide the width {width}; name the heads, as in 1L32D2H"
            )
        return cls(layers, width, heads)._bounded(text)

    def _bounded(self, text: str) -> "Size":
        if self.layers > MOST_LAYERS or self.width > MOST_WIDTH:
            raise InputError(f"size = {text!r}: must be of at most {MOST_LAYERS} layers and width {MOST_WIDTH}")
        return self


def require_memory(field: str, value: object, needed: int, what: str) -> None:
    """InputError unless `needed` bytes, which `what` take, fit into this machine's memory, where that can be known."""
    if not hasattr(os, "sysconf"):  # Windows
        return
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        gib = [f"{size / 2**30:,.0f} GiB" for size in (needed, there)]
        raise InputError(f"{field} = {shown(value)}: {what} take {gib[0]}, this machine has {gib[1]}")
