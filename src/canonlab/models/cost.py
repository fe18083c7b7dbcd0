"""What a model costs, for any architecture: counted on a build without memory, never from formulas."""

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


def cost(config: DecoderConfig, context: int) -> Cost:
    """Parameters (input and output embedding counted once each, unless tied), FLOPs per token and state at `context`.

    FLOPs are those of the matrix products of one forward pass over `context` tokens, as the framework counts them
    (multiply and add are two; attention is counted without its causal half), divided by the tokens.
    """
    with torch.device("meta"):
        model = Decoder(config).eval()
        ids = torch.empty(1, context, dtype=torch.int64)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(ids)
        try:
            state = sum(tensor.nbytes for tensor in tensors_of(model.init_state(1, context).blocks))
        except InputError:
            state = None
    total, without_embedding = _parameters(model)
    return Cost(
        parameters=total,
        parameters_without_embedding=without_embedding,
        active_parameters=total - sum(m.idle_parameters for m in model.modules() if isinstance(m, MoE)),
        flops_per_token=counter.get_total_flops() // context,
        state_bytes=state,
    )


def parameters_without_embedding(config: DecoderConfig) -> int:
    """That part of `cost`, which needs no forward pass."""
    with torch.device("meta"):
        return _parameters(Decoder(config))[1]


def _parameters(model: Decoder) -> tuple[int, int]:
    """All parameters, and those without input and output embedding."""
    total = sum(p.numel() for p in model.parameters())
    embeddings = {id(p): p.numel() for p in (model.embedding.weight, model.head.weight)}
    return total, total - sum(embeddings.values())
