"""Grids of integers: bounds, ties, zeros; and the same as another library's int8."""

import pytest
import torch

from canonlab.quantization.grid import limit, nearest, scales


def matrix(seed: int, rows: int = 12, columns: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator) * torch.rand(rows, 1, generator=generator)


@pytest.mark.parametrize("bits", range(2, 9))
def test_a_weight_is_within_half_a_step_on_a_grid_of_its_row(bits: int) -> None:
    weight = matrix(bits)
    found = nearest(weight, bits)
    step = weight.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    assert ((found - weight).abs() <= step / 2 * (1 + 1e-6)).all()
    integers = found / step
    assert torch.allclose(integers, integers.round(), atol=1e-5) and integers.abs().max() <= limit(bits) + 1e-5
    assert torch.equal(found.abs().amax(1), weight.abs().amax(1)), "the greatest weight is on the grid"


@pytest.mark.parametrize("bits", range(2, 9))
def test_what_is_on_the_grid_stays(bits: int) -> None:
    once = nearest(matrix(bits, 100, 100), bits)
    assert torch.equal(nearest(once, bits), once)


def test_ties_go_to_the_even_integer_and_rows_of_zeros_stay() -> None:
    weight = torch.tensor([[7.0, 0.5, 1.5, 2.5, -0.5, -1.5], [0.0] * 6])
    assert nearest(weight, 4).tolist() == [[7, 0, 2, 2, 0, -2], [0] * 6]


def test_a_stack_is_its_matrices() -> None:
    stack = torch.stack([matrix(0), matrix(1)])
    assert torch.equal(nearest(stack, 3), torch.stack([nearest(each, 3) for each in stack]))
    assert scales(stack, 3).shape == (2, 12, 1)


def test_int8_of_bitsandbytes() -> None:
    """Its row-wise int8 is ours, but that it multiplies by 127 / max in single precision, which can turn a near tie."""
    functional = pytest.importorskip("bitsandbytes.functional", reason="needs bitsandbytes")
    weight = matrix(3, 64, 256)
    integers, greatest, _ = functional.int8_vectorwise_quant(weight.half())
    exact = weight.half().float()
    ours = nearest(exact, 8)
    theirs = integers.float() * greatest[:, None] / 127
    step = greatest[:, None] / 127
    differs = (ours - theirs).abs() > 1e-5 * step
    assert differs.float().mean() < 0.01
    near_tie = ((exact / step).abs() % 1 - 0.5).abs() < 1e-2
    assert near_tie[differs].all()


def test_nf4_of_bitsandbytes_is_between_four_and_five_bits_of_a_row() -> None:
    """Its 16 levels are quantiles of a normal distribution, in blocks of 64 weights."""
    functional = pytest.importorskip("bitsandbytes.functional", reason="needs bitsandbytes")
    weight = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    packed, state = functional.quantize_nf4(weight, blocksize=64)
    error = (functional.dequantize_nf4(packed, state) - weight).square().mean()
    ours = {bits: (nearest(weight, bits) - weight).square().mean() for bits in (3, 4, 5)}
    assert ours[5] < error < ours[4] < ours[3]
