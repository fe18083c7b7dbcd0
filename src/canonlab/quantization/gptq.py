"""GPTQ: a matrix on its grid such that its products change little, whatever its weights change by.

Source: Frantar et al., arXiv 2210.17323, sections 3.2 and 3.3; after Optimal Brain Compression, arXiv 2208.11580.

A row w of W meets inputs x, the columns of X. The quantized row q is to have small squared error

    ||w X - q X||^2 = (w - q) X X^T (w - q)^T = (w - q) H (w - q)^T / 2,    H = 2 X X^T.

The columns are rounded one after another. With w_i rounded to q_i, the best that the columns F that are still free can
do is the minimum over their changes d of (q_i - w_i) and d together under H, which is, with H_F the rows and columns of
H that were free before this one,

    d = - (w_i - q_i) / [H_F^-1]_ii  [H_F^-1]_i,F.

Nothing here depends on the row but w_i - q_i, so all rows are rounded together, in one order. And H_F^-1 for the sets
{i, i + 1, ..} need not be computed anew: with the Cholesky decomposition H^-1 = U^T U, U upper triangular, the first
row of the inverse that is left at step i is U_ii U_i,i.. , so that

    e_i = (w_i - q_i) / U_ii,    w_j <- w_j - e_i U_ij  for all j > i.

These updates are linear: a block of columns can take its own at once, and the columns behind it all of the block's
afterwards, in one product, W <- W - E U. H may be singular (fewer tokens than inputs, inputs that are always zero), so
DAMPING times its mean diagonal is added to its diagonal. An input that is always zero has weights of no consequence: it
is taken out of H, so that its weights are rounded to nearest, and take nothing from the others nor give them anything.

Columns with larger H_ii come first, where more columns are left to make up for them. The grid is that of the trained
row, as in `grid`. All is computed in double precision.

Legend: R rows (outputs), C columns (inputs).
"""

import torch
from torch import Tensor

from canonlab.quantization.grid import rounded, scales

DAMPING = 0.01
"""Of the mean diagonal; the paper's."""

BLOCK = 128
"""Columns whose updates reach the others together."""


def gptq(weight_RC: Tensor, hessian_CC: Tensor, bits: int, *, ordered: bool = True, block: int = BLOCK) -> Tensor:
    """The matrix on the grids of its rows, in the same dtype. `hessian` is H of its inputs, up to any factor.

    `ordered` takes the columns with larger H_ii first, otherwise from the first to the last.
    """
    w_RC = weight_RC.detach().double()
    h_CC, scale_R1 = hessian_CC.double().clone(), scales(w_RC, bits)
    seen_C = h_CC.diagonal() > 0
    if not seen_C.any():
        return rounded(w_RC, scale_R1, bits).to(weight_RC.dtype)
    h_CC.diagonal().add_(DAMPING * h_CC.diagonal()[seen_C].mean())
    order_C = torch.argsort(h_CC.diagonal(), descending=True, stable=True) if ordered else torch.arange(len(h_CC))
    w_RC = w_RC[:, order_C]
    u_CC = factor(h_CC[order_C][:, order_C])
    q_RC = torch.empty_like(w_RC)
    for first in range(0, w_RC.shape[1], block):
        columns = slice(first, first + block)
        q_RC[:, columns], e_RB = _block(w_RC[:, columns], u_CC[columns, columns], scale_R1, bits)
        w_RC[:, first + block :] -= e_RB @ u_CC[columns, first + block :]
    return q_RC[:, order_C.argsort()].to(weight_RC.dtype)


def factor(h_CC: Tensor) -> Tensor:
    """U, upper triangular, with H^-1 = U^T U."""
    inverse_CC = torch.cholesky_inverse(torch.linalg.cholesky(h_CC))
    return torch.linalg.cholesky(inverse_CC, upper=True)


def _block(w_RB: Tensor, u_BB: Tensor, scale_R1: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Some columns, rounded one after another, and their errors e. `w` is a view, and is changed."""
    q_RB, e_RB = torch.empty_like(w_RB), torch.empty_like(w_RB)
    for i in range(w_RB.shape[1]):
        q_RB[:, i] = rounded(w_RB[:, i], scale_R1[:, 0], bits)
        e_RB[:, i] = (w_RB[:, i] - q_RB[:, i]) / u_BB[i, i]
        w_RB[:, i + 1 :] -= e_RB[:, i, None] * u_BB[i, None, i + 1 :]
    return q_RB, e_RB
