from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from canonlab.models.mixers.scan import delta_scan, diagonal_scan
from transforms import check_transforms, compiled_operators, exported

B, C, H, L, K, V = 2, 5, 2, 4, 3, 2


def _inputs(B=B, C=C, H=H, D=K):
    generator = torch.Generator().manual_seed(0)
    shapes = [(B, C, H, D), (B, C, H, K, V), (B, H, K, V)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]


def _plain(transition, update, state):
    """The recurrence by its definition, with a matrix for each chunk."""
    before = []
    for chunk in range(update.shape[1]):
        before.append(state)
        state = transition[:, chunk] @ state + update[:, chunk]
    return torch.stack(before, 1), state


every_decay = pytest.mark.parametrize("D", [1, K])


@every_decay
def test_the_diagonal_scan_and_its_gradients_are_those_of_the_plain_loop(D):
    decay, update, initial = inputs = _inputs(D=D)
    transition = decay.expand(B, C, H, K).diag_embed()
    for found, wanted in zip(diagonal_scan(*inputs), _plain(transition, update, initial), strict=True):
        torch.testing.assert_close(found, wanted)
    assert torch.autograd.gradcheck(diagonal_scan, inputs)


def test_the_diagonal_scan_is_one_that_a_compiler_can_take():
    torch.library.opcheck(diagonal_scan.node, _inputs())


def _delta_inputs(B=B, C=C, H=H, L=L, D=K):
    generator = torch.Generator().manual_seed(0)
    shapes = [(B, C, H, D), (B, C, H, L, K), (B, C, H, L, K), (B, C, H, L, V), (B, C, H, K, V), (B, H, K, V)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]


@every_decay
@pytest.mark.parametrize("updated", [False, True])
def test_the_delta_scan_is_the_recurrence_with_matrices_that_it_does_not_form(updated, D):
    decay, write, read, value, update, initial = inputs = _delta_inputs(D=D)
    if not updated:
        inputs[4], update = None, 0
    transition = decay.expand(B, C, H, K).diag_embed() - write.mT @ read
    before, final = _plain(transition, update + write.mT @ value, initial)
    for found, wanted in zip(delta_scan(*inputs), (before, value - read @ before, final), strict=True):
        torch.testing.assert_close(found, wanted)
    assert torch.autograd.gradcheck(delta_scan, inputs)


def test_the_delta_scan_is_one_that_a_compiler_can_take():
    torch.library.opcheck(delta_scan.node, _delta_inputs())


def test_the_delta_scan_is_as_precise_under_autocast():
    inputs = [x.detach().float() for x in _delta_inputs()]
    with torch.autocast("cpu", torch.bfloat16):
        found = delta_scan(*inputs)
    assert all(torch.equal(a, b) for a, b in zip(found, delta_scan(*inputs), strict=True))


def test_the_products_of_the_delta_scan_are_counted():
    inputs = [x.detach().to("meta") for x in _delta_inputs()]
    with FlopCounterMode(display=False) as counter:
        delta_scan(*inputs)
    assert counter.get_total_flops() == B * C * H * (2 * L * K * V + 2 * K * L * V)


@pytest.mark.parametrize("name", ["diagonal", "delta"])
def test_a_scan_under_transforms(name):
    operator, draw = {"diagonal": (diagonal_scan, _inputs), "delta": (delta_scan, partial(_delta_inputs, L=2))}[name]
    inputs = [x.detach() for x in draw(B=1, C=2, H=1)]

    def function(*inputs):
        return torch.cat([y.flatten().square() for y in operator(*inputs)])

    check_transforms(function, inputs)
    assert compiled_operators(function, inputs) == [f"{name}_scan", f"{name}_scan_backward"]
    y, graph = exported(function, inputs)
    assert torch.equal(y, function(*inputs)) and "canonlab" not in graph
