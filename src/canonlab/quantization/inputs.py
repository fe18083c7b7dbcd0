"""What the matrices of a model are multiplied with: H = 2 X X^T of each, gathered while the model runs.

A projection (`nn.Linear`) that is called tells by itself. A module that multiplies its matrices in another way says
with what by a method `products`, with the arguments of its `forward`: names of its own parameters -> inputs (..., C),
or for a stack of matrices a list of inputs, one for each.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Hessians = dict[str, Tensor]
"""By the name of a matrix H (C, C), or (X, C, C) of a stack; in double precision."""


@contextmanager
def gathering(module: nn.Module) -> Iterator[Hessians]:
    """The context in which each call of a module adds to H of all that is multiplied in it."""
    found: Hessians = {}
    hooks = [
        part.register_forward_pre_hook(_hook(name, part, found))
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear) or hasattr(part, "products")
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _hook(name: str, part: nn.Module, found: Hessians) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def note(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        products = {"weight": arguments[0]} if isinstance(part, nn.Linear) else part.products(*arguments)  # type: ignore[operator]
        for parameter, inputs in products.items():
            key = f"{name}.{parameter}" if name else parameter
            more = torch.stack([_hessian(x) for x in inputs]) if isinstance(inputs, list) else _hessian(inputs)
            found[key] = found[key] + more if key in found else more

    return note


def _hessian(x: Tensor) -> Tensor:
    """2 X X^T (C, C) of inputs (..., C). MPS has no double precision: it is computed on the CPU."""
    x_NC = x.detach().flatten(0, -2)
    x_NC = (x_NC.cpu() if x.device.type == "mps" else x_NC).double()
    return 2 * x_NC.mT @ x_NC
