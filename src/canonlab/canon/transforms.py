"""Operators of our own that PyTorch may transform: torch.func, forward-mode derivatives, tracing and export.

What is registered with `torch.library` knows none of these (as of PyTorch 2.13): torch.func raises at its gradients;
forward-mode derivatives, which can't be registered, are silently zero; and a captured program can't be run without this
package, nor converted to ONNX. So each operator has a twin in plain PyTorch, which runs in its place there.
"""

import functools
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

import torch
from torch.autograd import forward_ad

P = ParamSpec("P")
R = TypeVar("R")


def transformed() -> bool:
    """Whether a transform of torch.func or a level of forward-mode derivatives is at work.

    PyTorch has no public way to ask; these two are what it asks itself. The level, not the tensors: a compiler traces
    with tensors that have lost their tangents.
    """
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def captured() -> bool:
    """Whether PyTorch writes down a program that is to run elsewhere: torch.export, torch.jit.trace, ONNX."""
    return torch.compiler.is_exporting() or torch.jit.is_tracing()


class Operator(Generic[P, R]):
    """A `torch.library` operator `name`, and where it can't be one, its twin in plain PyTorch.

    Args:
        name: "canonlab::...".
        plain: Plain, out-of-place PyTorch that takes and gives the same, and can be transformed and differentiated.
        kernel: What the operator runs, with annotated arguments; None: `plain`, as one node to a compiler.
        device_types: Where the kernel runs; None: everywhere.

    Attributes:
        node: The operator itself, as it stands in a graph: NotImplementedError where a derivative would be lost.
    """

    def __init__(
        self,
        name: str,
        plain: Callable[P, R],
        kernel: Callable[..., R] | None = None,
        device_types: str | None = None,
    ) -> None:
        self.plain = plain
        run = _refuse_forward_mode(name, kernel or plain)
        self.node: Any = torch.library.custom_op(name, run, mutates_args=(), device_types=device_types)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        run = self.plain if transformed() or captured() else self.node
        return run(*args, **kwargs)


def _refuse_forward_mode(name: str, kernel: Callable[..., R]) -> Callable[..., R]:
    @functools.wraps(kernel)
    def run(*args: Any, **kwargs: Any) -> R:
        if forward_ad._current_level >= 0:  # a graph that holds the node was traced before
            raise NotImplementedError(f"{name} in a traced graph has no forward-mode derivative: trace it again inside")
        return kernel(*args, **kwargs)

    return run
