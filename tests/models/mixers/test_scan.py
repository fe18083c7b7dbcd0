import pytest
import torch

from canonlab.models.mixers.scan import diagonal_scan, matrix_scan

B, C, H, K, V = 2, 5, 3, 4, 2


def _inputs(matrix: bool):
    generator = torch.Generator().manual_seed(0)
    shapes = [(B, C, H, K, K) if matrix else (B, C, H, K), (B, C, H, K, V), (B, H, K, V)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]


def _plain(a, update, state, matrix: bool):
    before = []
    for chunk in range(update.shape[1]):
        before.append(state)
        state = (a[:, chunk] @ state if matrix else a[:, chunk, ..., None] * state) + update[:, chunk]
    return torch.stack(before, 1), state


@pytest.mark.parametrize("matrix", [False, True])
def test_the_operator_and_its_gradients_are_those_of_the_plain_loop(matrix):
    inputs = _inputs(matrix)
    scan = matrix_scan if matrix else diagonal_scan
    for found, wanted in zip(scan(*inputs), _plain(*inputs, matrix), strict=True):
        torch.testing.assert_close(found, wanted)
    assert torch.autograd.gradcheck(scan, inputs)


@pytest.mark.parametrize("scan", [diagonal_scan, matrix_scan])
def test_the_operator_is_one_that_a_compiler_can_take(scan):
    torch.library.opcheck(scan, _inputs(scan is matrix_scan))
