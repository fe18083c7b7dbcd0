"""Whose each window of a mixture is: in every block of as many windows as the shares add up to, each part has its own.

The order within a block is drawn anew for each block, from the stream (block, split) of the mixture's key. Windows of a
part are numbered in the order in which they come, so any range of windows holds a range of each part's.
"""

import numpy as np

from canonlab.data.jit import kernel
from canonlab.data.random import Int, shuffle, stream


@kernel
def lay_out(parts: np.ndarray, key: np.uint64, start: Int, split: Int, shares: np.ndarray) -> np.ndarray:
    """Write whose the windows start, start + 1, ... are to `parts` (count,); returns the first of each part's.

    Args:
        parts: int64, filled with numbers of parts.
        key, split: of the mixture's stream.
        start: the first window.
        shares: int64 (parts of the mixture,), how many windows of a block each has.
    """
    order = np.empty(shares.sum(), np.int64)
    first = start // len(order) * shares
    for i in range(len(parts)):
        place = (start + i) % len(order)
        if i == 0 or place == 0:
            position = 0
            for part in range(len(shares)):
                order[position : position + shares[part]] = part
                position += shares[part]
            shuffle(stream(key, (start + i) // len(order), split), order)
            if i == 0:
                for before in order[:place]:
                    first[before] += 1
        parts[i] = order[place]
    return first
