"""GPTQ against its definition, column by column with the inverse computed anew, and against rounding to nearest."""

import pytest
import torch
from torch import Tensor

from canonlab.quantization.gptq import DAMPING, factor, gptq
from canonlab.quantization.grid import nearest, rounded, scales


def problem(seed: int, rows: int = 16, columns: int = 24, tokens: int = 200) -> tuple[Tensor, Tensor]:
    """A matrix, and correlated inputs of different size (columns, tokens)."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator)
    mixing = torch.randn(columns, columns, generator=generator) * torch.rand(columns, 1, generator=generator)
    return weight, mixing @ torch.randn(columns, tokens, generator=generator)


def hessian(x: Tensor) -> Tensor:
    return 2 * x.double() @ x.double().mT


def error(weight: Tensor, quantized: Tensor, x: Tensor) -> float:
    """||W X - Q X||."""
    return float(((weight - quantized).double() @ x.double()).norm())


def one_by_one(weight: Tensor, h: Tensor, bits: int) -> Tensor:
    """The definition: after each column the free ones move to the minimum of the error, by the inverse of their own
    part of H."""
    w = weight.double().clone()
    scale, q = scales(w, bits), torch.zeros_like(w)
    h = h + DAMPING * h.diagonal().mean() * torch.eye(len(h), dtype=h.dtype)
    for i in range(w.shape[1]):
        q[:, i] = rounded(w[:, i], scale[:, 0], bits)
        inverse = torch.linalg.inv(h[i:, i:])
        w[:, i:] -= ((w[:, i] - q[:, i]) / inverse[0, 0])[:, None] * inverse[0]
    return q


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("block", [1, 5, 24, 128])
def test_it_is_its_definition_in_blocks_of_any_size(bits: int, block: int) -> None:
    weight, x = problem(bits)
    found = gptq(weight.double(), hessian(x), bits, ordered=False, block=block)
    assert (found - one_by_one(weight, hessian(x), bits)).abs().max() < 1e-10


def test_ordered_it_is_the_same_of_columns_in_that_order() -> None:
    weight, x = problem(0)
    order = hessian(x).diagonal().argsort(descending=True)
    found = gptq(weight.double(), hessian(x), 4, block=7)
    assert (found[:, order] - one_by_one(weight[:, order], hessian(x[order]), 4)).abs().max() < 1e-10


def test_the_factor() -> None:
    h = hessian(problem(1)[1])
    u = factor(h)
    assert torch.allclose(u.mT @ u @ h, torch.eye(len(h), dtype=h.dtype), atol=1e-8)
    assert torch.equal(u, u.triu())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("bits", [3, 4])
def test_products_change_less_than_by_rounding(seed: int, ordered: bool, bits: int) -> None:
    weight, x = problem(seed)
    found = gptq(weight, hessian(x), bits, ordered=ordered)
    assert error(weight, found, x) < error(weight, nearest(weight, bits), x)
    step = scales(weight.double(), bits)
    assert torch.allclose(found / step, (found / step).round(), atol=1e-4), "on the same grid"


def test_independent_inputs_leave_nothing_to_make_up_for() -> None:
    weight, _ = problem(2)
    assert torch.equal(gptq(weight, torch.eye(24), 4), nearest(weight, 4))


def test_an_input_that_is_always_zero() -> None:
    weight, x = problem(3)
    x[[0, 7]] = 0
    alive = [column for column in range(24) if column not in (0, 7)]
    found = gptq(weight, hessian(x), 4, ordered=False)
    assert torch.equal(found[:, [0, 7]], nearest(weight, 4)[:, [0, 7]])
    rest = torch.cat([weight[:, alive], weight.abs().amax(1, keepdim=True)], 1)  # so that the grids are the same
    x_rest = torch.cat([x[alive], torch.zeros(1, x.shape[1])])
    assert torch.equal(found[:, alive], gptq(rest, hessian(x_rest), 4, ordered=False)[:, :-1])
    assert torch.equal(gptq(weight, torch.zeros(24, 24), 4), nearest(weight, 4))


def test_fewer_tokens_than_inputs() -> None:
    weight, x = problem(4, tokens=5)
    assert error(weight, gptq(weight, hessian(x), 4), x) < error(weight, nearest(weight, 4), x)
