"""Making the rare common: words that are drawn anew because they would favour some results."""

import numpy as np

from canonlab.data.plain import Random

LIMIT = 1 << 63


def often(table: np.ndarray) -> np.ndarray:
    """A kernel's table of limits with one that rejects every second word instead of next to none."""
    return np.full_like(table, LIMIT)


class OftenRedrawing(Random):
    """What a kernel does with such a table."""

    def digits(self, bases: list[int]) -> list[int]:
        while True:
            fraction, result = self.word(), []
            for base in bases:
                value, fraction = divmod(fraction * base, 1 << 64)
                result.append(value)
            if fraction >= LIMIT:
                return result
