"""What a model costs, for any architecture: counted on a build, where possible without memory, never from formulas."""

import dataclasses
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from canonlab.errors import InputError
from canonlab.models.canon_points import written
from canonlab.models.decoder import Decoder, DecoderConfig, tensors_of
from canonlab.models.mixers.base import asks
from canonlab.models.moe import MoE

PASSES = 3
"""Forward passes that a training step amounts to: a backward pass has twice as many products."""


@dataclass(frozen=True)
class Cost:
    """Trainable and frozen numbers, the arithmetic of one token's forward pass, and what decoding remembers.

    `active_parameters` are those that work on any one token: fewer than all in a mixture of experts. `state_bytes` is
    the state of one sequence of `context` tokens in single precision, in all blocks together; None for a mixer that has
    none.
    """

    parameters: int
    parameters_without_embedding: int
    active_parameters: int
    flops_per_token: int
    state_bytes: int | None


def cost(config: DecoderConfig, context: int, device: str = "cpu") -> Cost:
    """Parameters (input and output embedding counted once each, unless tied), FLOPs per token and state at `context`.

    FLOPs are those of the matrix products of one forward pass over `context` tokens, as the framework counts them
    (multiply and add are two; attention is counted without its causal half), divided by the tokens. A mixer with a
    compiled kernel, which may need tensors that have memory, is counted on `device`; the products inside its kernel
    are not seen. One block of each kind is built and run, however many there are; once in a process for each model.
    """
    key = repr((config, context, device))  # which names classes by their modules, and a user's by its content
    if key not in COUNTED:
        COUNTED[key] = _counted(config, context, device)
    return COUNTED[key]


COUNTED: dict[str, Cost] = {}
"""What has been counted by this process: a sweep has many runs of one model."""


def _counted(config: DecoderConfig, context: int, device: str) -> Cost:
    try:
        return _count(config, context, "meta")
    except InputError:
        raise
    except Exception:  # a user's own kernel may raise anything; if it isn't for want of memory, it does so again
        return _count(config, context, device)


def _count(config: DecoderConfig, context: int, device: str) -> Cost:
    with torch.device(device):
        model, more = one_of_each(config)
        ids = torch.zeros(1, context, dtype=torch.int64)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(ids)
        try:
            states = [
                sum(tensor.nbytes for tensor in tensors_of(state)) for state in model.init_state(1, context).blocks
            ]
        except InputError:
            states = []
    flops = [sum(counter.flop_counts[f"Decoder.blocks.{layer}"].values()) for layer in range(len(more))]
    idle = [sum(m.idle_parameters for m in block.modules() if isinstance(m, MoE)) for block in model.blocks]
    total, without_embedding = _parameters(model, more)
    return Cost(
        parameters=total,
        parameters_without_embedding=without_embedding,
        active_parameters=total - sum(idle) - times(more, idle),
        flops_per_token=(counter.get_total_flops() + times(more, flops)) // context,
        state_bytes=sum(states) + times(more, states) if states else None,
    )


def parameters(config: DecoderConfig) -> int:
    """That part of `cost`, which needs no forward pass. InputError when the decoder's parts don't fit together."""
    with torch.device("meta"):
        return _parameters(*one_of_each(config))[0]


def parameters_without_embedding(config: DecoderConfig) -> int:
    """The same, without input and output embedding."""
    with torch.device("meta"):
        return _parameters(*one_of_each(config))[1]


def one_of_each(config: DecoderConfig) -> tuple[Decoder, list[int]]:
    """A decoder with one block of each kind, and how many more there are of each.

    Those of a kind are built alike, with Canon layers or without, unless the mixer asks for its place: then there is
    every block.
    """
    pattern, canon = config.pattern, config.canon
    if any(asks(kind.mixer.cls.__init__, "place") for kind in pattern[: config.layers]):
        return Decoder(config).eval(), [0] * config.layers
    kinds = [(layer % len(pattern), canon.of_block(layer).points) for layer in range(config.layers)]
    first = {kind: layer for layer, kind in reversed(list(enumerate(kinds)))}
    chosen = sorted(first.values())
    having = [(i, i) for i, layer in enumerate(chosen) if kinds[layer][1]]
    few = dataclasses.replace(
        config,
        layers=len(chosen),
        pattern=tuple(pattern[layer % len(pattern)] for layer in chosen),
        canon=dataclasses.replace(canon, blocks=written(having) if canon.blocks else ""),
    )
    return Decoder(few).eval(), [kinds.count(kinds[layer]) - 1 for layer in chosen]


def times(more: list[int], of_kinds: list[int]) -> int:
    """The sum of what the blocks beyond one of each kind have, given that of one of each."""
    return sum(n * of_kind for n, of_kind in zip(more, of_kinds, strict=True))


def _parameters(model: Decoder, more: list[int]) -> tuple[int, int]:
    """All parameters, and those without input and output embedding."""
    blocks = [sum(p.numel() for p in block.parameters()) for block in model.blocks]
    total = sum(p.numel() for p in model.parameters()) + times(more, blocks)
    embeddings = {id(p): p.numel() for p in (model.embedding.weight, model.head.weight)}
    return total, total - sum(embeddings.values())
