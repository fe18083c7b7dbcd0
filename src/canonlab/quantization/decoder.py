"""A decoder's weights on grids of few bits.

Quantized are the matrices of all linear maps: every `nn.Linear` (projections of mixers and MLPs, low-rank pairs, the
head), the router and each expert of a mixture of experts, and the embedding. A tied head is the embedding, once.

The rest stays as it was trained: norms, biases, decays and other vectors; the taps of Canon layers and of short
convolutions (channels x 4), with the low-rank maps of dynamic taps; and what else a mixer has, a user's own for one,
of which nobody knows whether anything is multiplied with it. `kept` says which.

The embedding looks up rows and multiplies nothing, so it is rounded to nearest by either method, tied too; and so is a
matrix that no input of the calibration reached, as that of an expert without tokens.

GPTQ goes from the embedding through the blocks to the head. The inputs of a block's matrices are those that they have
behind the quantized ones before, of all the block's matrices at once, as in the paper's own code.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import torch
from torch import Tensor, nn

from canonlab.canon import Canon
from canonlab.models.decoder import Decoder
from canonlab.models.moe import MoE
from canonlab.quantization.config import QuantizationConfig
from canonlab.quantization.gptq import gptq
from canonlab.quantization.grid import nearest
from canonlab.quantization.inputs import gathering

Around = Callable[[], AbstractContextManager[Any]]

Batch = tuple[Tensor, Tensor | None]
"""Token ids (batch, time), and segments where instances don't see each other."""


def matrices(module: nn.Module) -> dict[str, nn.Parameter]:
    """What is quantized, by name: (outputs, inputs), or a stack of these. A tied one has its first name alone."""
    own = dict(module.named_parameters())
    names = (f"{name}.{parameter}" if name else parameter for name, parameter in _of_linear_maps(module))
    return {name: own[name] for name in names if name in own}


def _of_linear_maps(module: nn.Module) -> Iterator[tuple[str, str]]:
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            yield name, "weight"
        elif isinstance(part, MoE):
            yield from ((name, parameter) for parameter in ("router", "up", "down"))


def kept(model: nn.Module) -> dict[str, str]:
    """The parameters that are not quantized, by name, and why."""
    canon = {id(p) for part in model.modules() if isinstance(part, Canon) for p in part.parameters()}
    rest = {name: p for name, p in model.named_parameters() if name not in matrices(model)}

    def reason(parameter: nn.Parameter) -> str:
        if id(parameter) in canon:
            return "taps"
        return "a vector" if parameter.dim() < 2 else "no linear map that is known"

    return {name: reason(parameter) for name, parameter in rest.items()}


@torch.no_grad()
def quantize(
    model: Decoder,
    config: QuantizationConfig,
    batches: Callable[[], Iterable[Batch]],
    around: Around = nullcontext,
) -> None:
    """Put the model's matrices on their grids, in place.

    `batches` are what GPTQ sees, the same each time; the model runs in a context `around` each, as of autocast, which
    may remember weights for as long as it lasts.
    """
    model.eval()
    for stage in (model.embedding, *model.blocks, model.head):
        hessians = _gathered(model, stage, batches(), around) if config.method == "gptq" else {}
        for name, weight in matrices(stage).items():
            if stage is model.head and weight is model.embedding.weight:
                continue
            weight.copy_(_on_grid(weight, hessians.get(name), config.bits))


def _on_grid(weight: Tensor, hessian: Tensor | None, bits: int) -> Tensor:
    if hessian is None:
        return nearest(weight, bits)
    if weight.dim() == 2:
        return gptq(weight.to(hessian.device), hessian, bits)
    return torch.stack([_on_grid(*each, bits) for each in zip(weight, hessian, strict=True)])


class _Passed(Exception):
    pass


def _gathered(model: Decoder, stage: nn.Module, batches: Iterable[Batch], around: Around) -> dict[str, Tensor]:
    """H of the matrices of a stage. What comes behind it is not run."""
    if not any(isinstance(part, nn.Linear | MoE) for part in stage.modules()):
        return {}

    def stop(*_: object) -> None:
        raise _Passed

    end = stage.register_forward_hook(stop)
    try:
        with gathering(stage) as found:
            for ids, segments in batches:
                with around(), suppress(_Passed):
                    model(ids, segments)
    finally:
        end.remove()
    return found
