"""Generation with a cached state, for batches of prompts of different lengths."""

from collections.abc import Sequence

import torch
from torch import Tensor

from canonlab.models.decoder import Decoder


@torch.inference_mode()
def generate(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    max_new: int,
    stop: int | None = None,
    *,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[list[int]]:
    """The new tokens of each prompt: at most `max_new`, up to and including the first `stop`.

    Temperature 0 takes the most likely token; above, tokens are drawn from softmax(logits / temperature) with a random
    stream of `seed`. Prompts are padded on the left with segment -1, which nothing sees.
    """
    device = model.embedding.weight.device
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[0] * (longest - len(p)) + list(p) for p in prompts], device=device)
    lengths = torch.tensor([len(p) for p in prompts], device=device)
    segments = (torch.arange(longest, device=device) >= longest - lengths[:, None]).long() - 1
    state = model.init_state(len(prompts), longest + max_new)
    draw = torch.Generator().manual_seed(seed)
    new: list[Tensor] = []
    done = torch.zeros(len(prompts), dtype=torch.bool)
    while len(new) < max_new and not done.all():
        last = torch.zeros_like(ids, dtype=torch.bool)
        last[:, -1] = True
        token = _choose(model(ids, segments, state, select=last).logits, temperature, draw)
        new.append(token)
        if stop is not None:
            done |= token == stop
        ids = token[:, None].to(device)
        segments = torch.zeros_like(ids)
    rows = torch.stack(new, dim=1).tolist() if new else [[] for _ in prompts]
    return [row[: row.index(stop) + 1] if stop in row else row for row in rows]


def _choose(logits: Tensor, temperature: float, draw: torch.Generator) -> Tensor:
    """One token a row of logits (rows, vocabulary), on the CPU, so that every device draws from the same stream."""
    if temperature == 0:
        return logits.argmax(-1).cpu()
    shares = torch.softmax(logits.double().cpu() / temperature, dim=-1)
    return torch.multinomial(shares, 1, generator=draw)[:, 0]
