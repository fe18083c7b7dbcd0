"""Greedy generation with a cached state, for batches of prompts of different lengths."""

from collections.abc import Sequence

import torch
from torch import Tensor

from canonlab.models.decoder import Decoder


@torch.inference_mode()
def greedy(model: Decoder, prompts: Sequence[Sequence[int]], max_new: int, stop: int | None = None) -> list[list[int]]:
    """The most likely next token, again and again, for each prompt: at most `max_new`, up to `stop` (included).

    Prompts are padded on the left with segment -1, which nothing sees.
    """
    device = model.embedding.weight.device
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[0] * (longest - len(p)) + list(p) for p in prompts], device=device)
    lengths = torch.tensor([len(p) for p in prompts], device=device)
    segments = (torch.arange(longest, device=device) >= longest - lengths[:, None]).long() - 1
    state = model.init_state(len(prompts), longest + max_new)
    new: list[Tensor] = []
    done = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    for _ in range(max_new):
        last = torch.zeros_like(ids, dtype=torch.bool)
        last[:, -1] = True
        token = model(ids, segments, state, select=last).logits.argmax(-1)
        new.append(token)
        done |= token == stop
        if done.all():
            break
        ids, segments = token[:, None], torch.zeros_like(token)[:, None]
    rows = torch.stack(new, dim=1).tolist() if new else [[] for _ in prompts]
    return [row[: row.index(stop) + 1] if stop in row else row for row in rows]
