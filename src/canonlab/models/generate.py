"""Generation with a cached state, for batches of prompts of different lengths; packed instances kept apart."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from canonlab.models.decoder import Decoder, DecoderState, Output
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
    separator: int | None = None,
) -> list[list[int]]:
    """The new tokens of each prompt: at most `max_new`, up to and including the first `stop`.

    Temperature 0 takes the most likely token; above, tokens are drawn from softmax(logits / temperature), each row's
    with a random stream of its own: see `canonlab.sampling.sample`. Prompts are padded on the left with segment -1,
    which nothing sees. With `separator`, tokens see nothing before the last of these. InputError for no prompt, an
    empty one, or a negative temperature.
    """
    device = model.embedding.weight.device
    width = longest(prompts)
    ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=device)
    lengths = torch.tensor([len(p) for p in prompts], device=device)
    padding = torch.arange(width, device=device) < width - lengths[:, None]
    state = model.init_state(len(prompts), width + max_new)
    instance = torch.zeros(len(prompts), 1, dtype=torch.int64, device=device)

    def logits_after(new: list[Tensor]) -> Tensor:
        nonlocal instance
        given = new[-1][:, None].to(device) if new else ids
        opens = torch.zeros_like(given) if separator is None else (given == separator).long()
        within = instance + (opens if new else opens.masked_fill(padding, 0)).cumsum(1)
        instance = within[:, -1:]
        last = torch.zeros_like(given, dtype=torch.bool)
        last[:, -1] = True
        return model(given, within if new else within.masked_fill(padding, -1), state, select=last).logits

    return sample(logits_after, prompts, max_new, stop, temperature, seed)


def instances(ids: Tensor, separator: int) -> Tensor:
    """(batch, time): the number of the instance that each of `ids` (batch, time) is in; each `separator` opens one."""
    return (ids == separator).cumsum(1)


class Isolated(nn.Module):
    """A decoder to which the instances packed into a row, each opened by `separator`, don't see each other.

    Segments that are given, with a state for example, are taken as they are.
    """

    def __init__(self, model: Decoder, separator: int) -> None:
        super().__init__()
        self.model, self.separator = model, separator

    def forward(
        self,
        ids: Tensor,
        segment_ids: Tensor | None = None,
        state: DecoderState | None = None,
        select: Tensor | None = None,
    ) -> Output:
        """See Decoder."""
        if segment_ids is None:
            segment_ids = instances(ids, self.separator)
        output: Output = self.model(ids, segment_ids, state, select)
        return output

    def init_state(self, batch: int, max_len: int) -> DecoderState:
        """See Decoder."""
        return self.model.init_state(batch, max_len)
