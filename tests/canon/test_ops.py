"""The operators: gradients to any order, and torch.compile without graph breaks."""

import shutil
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.utils._python_dispatch import TorchDispatchMode

from canonlab.canon import IMPLEMENTATIONS, canon
from canonlab.canon.ops import convolve, convolve_backward

implementations = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
packings = pytest.mark.parametrize("packed", [False, True])


def draw(
    packed: bool, shape: tuple[int, int, int] = (2, 9, 3), kernel: int = 4
) -> tuple[Tensor, Tensor, Tensor | None]:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=random, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(kernel, shape[2], generator=random, dtype=torch.float64, requires_grad=True)
    return x, weight, torch.arange(shape[1]).expand(shape[:2]) // 5 if packed else None


@implementations
@packings
@pytest.mark.parametrize("activation", [False, True])
def test_first_and_second_gradients(implementation: str, packed: bool, activation: bool) -> None:
    x, weight, ids = draw(packed)

    def layer(x: Tensor, weight: Tensor) -> Tensor:
        return canon(x, weight, segment_ids=ids, activation=activation, implementation=implementation)

    assert gradcheck(layer, (x, weight))
    assert gradgradcheck(layer, (x, weight))


@implementations
@pytest.mark.parametrize("constant", ["x", "weight"])
def test_second_gradients_with_one_input_constant(implementation: str, constant: str) -> None:
    x, weight, ids = draw(packed=True)

    def layer(x: Tensor, weight: Tensor) -> Tensor:
        return canon(x, weight, segment_ids=ids, activation=True, implementation=implementation)

    inputs = (x.detach(), weight) if constant == "x" else (x, weight.detach())
    assert gradcheck(layer, inputs)
    assert gradgradcheck(layer, inputs)


def test_third_gradients() -> None:
    x, weight, _ = draw(packed=False)
    thirds = []
    for implementation in IMPLEMENTATIONS:
        energy = canon(x, weight, implementation=implementation).pow(3).sum()
        for _ in range(2):
            energy = sum(part.pow(2).sum() for part in torch.autograd.grad(energy, (x, weight), create_graph=True))
        thirds.append(torch.autograd.grad(energy, (x, weight)))
    torch.testing.assert_close(*thirds, rtol=1e-10, atol=1e-10)


@packings
@pytest.mark.parametrize("weight_gradient", [False, True])
def test_the_operators_keep_the_rules_of_pytorch(packed: bool, weight_gradient: bool) -> None:
    x, weight, ids = draw(packed)
    g = torch.randn_like(x, requires_grad=True)
    torch.library.opcheck(convolve.node, (x, weight, ids))
    torch.library.opcheck(convolve_backward.node, (g, x, weight, ids, weight_gradient))


def test_a_frozen_weight_costs_no_sums() -> None:
    x, weight, _ = draw(packed=False)
    dx, dweight = convolve_backward(x, x, weight, None, False)
    assert dweight.shape == (0, 3)
    assert torch.equal(dx, convolve_backward(x, x, weight, None, True)[0])
    asked = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.ops.canonlab.canon_backward.default:
                asked.append(args[4])
            return func(*args, **(kwargs or {}))

    with Record():
        canon(x, weight.detach(), implementation="numba").sum().backward()
        canon(x, weight, implementation="numba").sum().backward()
    assert asked == [False, True]


@implementations
@packings
def test_compiles_to_one_graph(implementation: str, packed: bool) -> None:
    check_compiled(implementation, packed, "aot_eager", torch.float64)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@implementations
@packings
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_code_agrees(implementation: str, packed: bool, dtype: torch.dtype) -> None:
    check_compiled(implementation, packed, "inductor", dtype)


def check_compiled(implementation: str, packed: bool, compiler: str, dtype: torch.dtype) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(canon, fullgraph=True, backend=compiler)
    for time in (17, 23):  # the second time with dynamic shapes
        x, weight, ids = draw(packed, (2, time, 40))
        results = []
        for layer in (canon, compiled):
            inputs = x.detach().to(dtype).requires_grad_(), weight.detach().float().requires_grad_()
            y = layer(*inputs, segment_ids=ids, implementation=implementation)
            results.append((y, *torch.autograd.grad(y.float().pow(2).sum(), inputs)))
        precision = 8 * torch.finfo(dtype).eps
        torch.testing.assert_close(*results, rtol=precision, atol=20 * precision)
