"""What PyTorch may do to a differentiable function of an operator, and the truth to hold it against."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from functorch.compile import make_boxed_func
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch.autograd import gradcheck, gradgradcheck
from torch.func import jacfwd, jacrev, jvp, vjp, vmap

Function = Callable[..., Tensor]


def rows_of(y: Tensor, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """dy / d(each input), a backward pass an element: what every transform must agree with."""
    parts = [torch.autograd.grad(each, inputs, retain_graph=True) for each in y.flatten()]
    return [torch.stack(rows).reshape(*y.shape, *rows[0].shape) for rows in zip(*parts, strict=True)]


def jacobian_of(function: Function, inputs: Sequence[Tensor]) -> list[Tensor]:
    """`rows_of` the function at leaves with the values of the inputs."""
    leaves = tuple(x.detach().requires_grad_() for x in inputs)
    return rows_of(function(*leaves), leaves)


def along(jacobian: list[Tensor], tangents: Sequence[Tensor]) -> Tensor:
    """The derivative along the tangents."""
    return torch.stack([torch.tensordot(part, t, t.ndim) for part, t in zip(jacobian, tangents, strict=True)]).sum(0)


def assert_equal(found: Any, expected: Any, dtype: torch.dtype = torch.float64) -> None:
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=10 * tolerance)


def check_transforms(function: Function, inputs: Sequence[Tensor], twice: bool = True) -> None:
    """First and second derivatives by every way, against finite differences and plain backward passes.

    `function` takes float64 tensors and gives one; few elements each, as every one takes a pass or more. `twice`: a
    backward pass can be gone through again, without torch.func.
    """
    leaves, tangents = tuple(x.detach().requires_grad_() for x in inputs), [x.detach().cos() for x in inputs]
    assert gradcheck(function, leaves, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True)
    assert not twice or gradgradcheck(function, leaves, check_fwd_over_rev=True, check_batched_grad=True)
    y, jacobian, every = function(*inputs).detach(), jacobian_of(function, inputs), tuple(range(len(inputs)))
    assert_equal(jacrev(function, every)(*inputs), tuple(jacobian))
    assert_equal(jacfwd(function, every)(*inputs), tuple(jacobian))
    assert_equal(jvp(function, tuple(inputs), tuple(tangents)), (y, along(jacobian, tangents)))
    for which, x in enumerate(inputs):  # many of one input, the others shared
        dims = tuple(0 if each == which else None for each in every)
        many = [x, tangents[which]]
        parts = [[*inputs[:which], one, *inputs[which + 1 :]] for one in many]
        found = vmap(function, dims)(*inputs[:which], torch.stack(many), *inputs[which + 1 :])
        assert_equal(found, torch.stack([function(*part) for part in parts]))
        pulled = vmap(lambda *part: vjp(function, *part)[1](y), dims)(
            *inputs[:which], torch.stack(many), *inputs[which + 1 :]
        )
        expected = [[torch.tensordot(y, part, y.ndim) for part in jacobian_of(function, each)] for each in parts]
        assert_equal(pulled, tuple(map(torch.stack, zip(*expected, strict=True))))


def compiled_operators(function: Function, inputs: Sequence[Tensor]) -> list[str]:
    """This package's operators in the graphs, forward and backward, that a compiler makes of the function, in order."""
    found: list[str] = []

    def record(module: torch.fx.GraphModule, _: Any) -> Any:
        names = [str(node.target) for node in module.graph.nodes]
        found.extend(name.split(".")[1] for name in names if name.startswith("canonlab."))
        return make_boxed_func(module)

    torch._dynamo.reset()
    leaves = [x.detach().requires_grad_() for x in inputs]
    torch.compile(function, backend=aot_autograd(fw_compiler=record), fullgraph=True)(*leaves).sum().backward()
    return found


def exported(function: Function, inputs: Sequence[Tensor]) -> tuple[Tensor, str]:
    """What the exported function gives for the inputs, and its graph as text."""

    class Module(torch.nn.Module):
        def forward(self, *inputs: Tensor) -> Tensor:
            return function(*inputs)

    program = torch.export.export(Module(), tuple(inputs))
    return program.module()(*inputs), str(program.graph)
