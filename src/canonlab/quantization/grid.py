"""Symmetric integer grids, one for each row of a matrix, which makes one output.

With b bits a weight is s q, where q is an integer from -n to n, n = 2^(b - 1) - 1 (the integer -2^(b - 1) is left out,
so that zero is in the middle), and s = max |w| / n over the row.

Legend: R rows (outputs), C columns (inputs).
"""

import torch
from torch import Tensor


def scales(weight_RC: Tensor, bits: int) -> Tensor:
    """s (..., R, 1) of a matrix, or of each in a stack; of a row of zeros 1."""
    greatest_R1 = weight_RC.abs().amax(-1, keepdim=True)
    return torch.where(greatest_R1 > 0, greatest_R1 / limit(bits), 1)


def limit(bits: int) -> int:
    """n, the greatest integer of the grid."""
    return (1 << (bits - 1)) - 1


def rounded(weight: Tensor, scale: Tensor, bits: int) -> Tensor:
    """The numbers of the grid that are nearest to these weights; of two equally near the one of the even integer."""
    most = limit(bits)
    return (weight / scale).round().clamp(-most, most) * scale


def nearest(weight_RC: Tensor, bits: int) -> Tensor:
    """Each weight (..., R, C) on its row's grid, in the same dtype, computed in double precision.

    |w - s q| <= s / 2, as no weight is beyond the grid.
    """
    exact_RC = weight_RC.detach().double()
    return rounded(exact_RC, scales(exact_RC, bits), bits).to(weight_RC.dtype)
