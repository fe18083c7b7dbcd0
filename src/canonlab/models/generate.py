"""Generation with a cached state, for batches of prompts of different lengths."""

from collections.abc import Sequence

import torch
from torch import Tensor

from canonlab.models.decoder import Decoder
from canonlab.sampling import longest, sample


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

    Temperature 0 takes the most likely token; above, tokens are drawn from softmax(logits / temperature), each row's
    with a random stream of its own: see `canonlab.sampling.sample`. Prompts are padded on the left with segment -1,
    which nothing sees. InputError for no prompt, an empty one, or a negative temperature.
    """
    device = model.embedding.weight.device
    width = longest(prompts)
    ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=device)
    lengths = torch.tensor([len(p) for p in prompts], device=device)
    segments = (torch.arange(width, device=device) >= width - lengths[:, None]).long() - 1
    state = model.init_state(len(prompts), width + max_new)

    def logits_after(new: list[Tensor]) -> Tensor:
        given = new[-1][:, None].to(device) if new else ids
        last = torch.zeros_like(given, dtype=torch.bool)
        last[:, -1] = True
        return model(given, torch.zeros_like(given) if new else segments, state, select=last).logits

    return sample(logits_after, prompts, max_new, stop, temperature, seed)
