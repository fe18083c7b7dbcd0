"""What a model costs, for any architecture: counted on a build, where possible without memory, never from formulas."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from canonlab.errors import InputError
from canonlab.models.decoder import Decoder, DecoderConfig, tensors_of
from canonlab.models.moe import MoE


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
    are not seen.
    """
    try:
        found = _for_all_layers(config, lambda few: _count(few, context, "meta"))
    except InputError:
        raise
    except Exception:  # a user's own kernel may raise anything; if it isn't for want of memory, it does so again
        found = _for_all_layers(config, lambda few: _count(few, context, device))
    parameters, without_embedding, active, flops, state = found
    return Cost(parameters, without_embedding, active, flops // context, state if state >= 0 else None)


def _for_all_layers(config: DecoderConfig, count: Callable[[DecoderConfig], Sequence[int]]) -> list[int]:
    """What `count` counts on the whole decoder, without building more of it than two rounds of its pattern.

    All rounds are alike, so each one beyond the first adds what the second does.
    """
    pattern = len(config.pattern)
    rounds, rest = divmod(config.layers, pattern)
    if rounds <= 2:
        return list(count(config))
    once, twice = (count(dataclasses.replace(config, layers=rest + n * pattern)) for n in (1, 2))
    return [one + (rounds - 1) * (two - one) for one, two in zip(once, twice, strict=True)]


def _count(config: DecoderConfig, context: int, device: str) -> tuple[int, ...]:
    """The fields of a Cost, with the FLOPs of all tokens; -1 for the state where there is none."""
    with torch.device(device):
        model = Decoder(config).eval()
        ids = torch.zeros(1, context, dtype=torch.int64)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(ids)
        try:
            state = sum(tensor.nbytes for tensor in tensors_of(model.init_state(1, context).blocks))
        except InputError:
            state = -1
    total, without_embedding = _parameters(model)
    idle = sum(module.idle_parameters for module in model.modules() if isinstance(module, MoE))
    return total, without_embedding, total - idle, counter.get_total_flops(), state


def parameters_without_embedding(config: DecoderConfig) -> int:
    """That part of `cost`, which needs no forward pass."""
    with torch.device("meta"):
        return _for_all_layers(config, lambda few: _parameters(Decoder(few)))[1]


def _parameters(model: Decoder) -> tuple[int, int]:
    """All parameters, and those without input and output embedding."""
    total = sum(p.numel() for p in model.parameters())
    embeddings = {id(p): p.numel() for p in (model.embedding.weight, model.head.weight)}
    return total, total - sum(embeddings.values())
