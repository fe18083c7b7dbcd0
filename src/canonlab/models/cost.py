"""What a model costs, for any architecture: counted on a build without memory, never from formulas."""

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from canonlab.models.decoder import Decoder, DecoderConfig


@dataclass(frozen=True)
class Cost:
    """Trainable and frozen numbers, and the arithmetic of one token's forward pass."""

    parameters: int
    parameters_without_embedding: int
    flops_per_token: int


def cost(config: DecoderConfig, context: int) -> Cost:
    """Parameters (input and output embedding counted once each, unless tied), and FLOPs per token at `context`.

    FLOPs are those of the matrix products of one forward pass over `context` tokens, as the framework counts them
    (multiply and add are two; attention is counted without its causal half), divided by the tokens.
    """
    with torch.device("meta"):
        model = Decoder(config)
        ids = torch.empty(1, context, dtype=torch.int64)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(ids)
    total = sum(p.numel() for p in model.parameters())
    embeddings = {id(p): p.numel() for p in (model.embedding.weight, model.head.weight)}
    return Cost(total, total - sum(embeddings.values()), counter.get_total_flops() // context)
