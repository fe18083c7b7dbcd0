"""What training a model remembers between its forward and its backward pass, counted without the memory for it."""

from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from canonlab.models.cost import one_of_each, times
from canonlab.models.decoder import DecoderConfig


class Activations(NamedTuple):
    """Bytes that autograd keeps of a forward pass, and those of the block that has most of them.

    A backward pass lets go of what it has used, but needs about as much as one block has for gradients meanwhile.
    """

    kept: int
    block: int


def activations(
    config: DecoderConfig, batch: int, context: int, autocast: AbstractContextManager[object]
) -> Activations | None:
    """What a forward pass over (batch, context) tokens, under `autocast`, and their loss leave for the backward pass.

    Nothing is computed: tensors are fakes of the CPU's, by which kernels are chosen as there; a block of each kind is
    run once and counted as often as it stands in the model. The loss is that of all tokens, of which tasks may mark a
    part. Compiled blocks keep less. None where a kernel, perhaps a user's own, can't do without real tensors.
    """
    try:
        with FakeTensorMode():
            return _count(config, batch, context, autocast)
    except (Exception, SystemExit):  # a user's own kernel may raise anything
        return None


def _count(config: DecoderConfig, batch: int, context: int, autocast: AbstractContextManager[object]) -> Activations:
    model, more = one_of_each(config)
    model.train()
    weights = {_storage(parameter) for parameter in model.parameters()}
    kept: dict[int, Tensor] = {}  # by storage; that tensors stay here keeps others from getting their places
    sizes = [0] * (len(more) + 1)  # of each block; the last one is what belongs to none
    within = len(more)

    def keep(tensor: Tensor) -> Tensor:
        if (storage := _storage(tensor)) not in weights and storage not in kept:
            kept[storage] = tensor
            sizes[within] += tensor.untyped_storage().nbytes()
        return tensor

    def enter(number: int) -> None:
        nonlocal within
        within = number

    for number, block in enumerate(model.blocks):
        block.register_forward_pre_hook(lambda *_, number=number: enter(number))
        block.register_forward_hook(lambda *_: enter(len(more)))
    ids = torch.zeros(batch, context, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with autocast:
            logits = model(ids).logits
        F.cross_entropy(logits.float().flatten(0, 1), ids.flatten(), reduction="sum")
    blocks = sizes[:-1]
    return Activations(sum(sizes) + times(more, blocks), max(blocks))


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
