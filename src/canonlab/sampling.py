"""What a model writes after prompts, token by token, whatever its logits come from."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from canonlab.errors import InputError


def longest(prompts: Sequence[Sequence[int]]) -> int:
    """The length of the longest prompt. InputError where there is none, or an empty one: nothing can follow it."""
    if not prompts:
        raise InputError("prompts = []: must hold at least one")
    for position, prompt in enumerate(prompts):
        if not len(prompt):
            raise InputError(f"prompts[{position}]: must have at least one token")
    return max(map(len, prompts))


def sample(
    logits_after: Callable[[list[Tensor]], Tensor],
    prompts: Sequence[Sequence[int]],
    max_new: int,
    stop: int | None,
    temperature: float,
    seed: int,
) -> list[list[int]]:
    """The new tokens of each prompt, as `canonlab.tasks.base.Generate` has them.

    `logits_after(new)`: the logits (rows, vocabulary) that follow the prompts and the tokens so far, each (rows,) int64
    on the CPU. Tokens are drawn there too, so that every device draws alike, and each row from a stream of its own: it
    depends on the seed, the prompt, and how many equal prompts stand before it, so a prompt is answered alike alone
    and in any batch, and repeated ones differ. Who splits the repetitions of a prompt over calls gives each another
    seed. InputError for a temperature below 0, or so low that logits overflow, and for logits that are no numbers.
    """
    if not temperature >= 0:
        raise InputError(f"temperature = {temperature!r}: must be 0 or more")
    streams = _streams(prompts, seed) if temperature else []
    new: list[Tensor] = []
    done = torch.zeros(len(prompts), dtype=torch.bool)
    while len(new) < max_new and not done.all():
        logits = logits_after(new)
        if temperature == 0:
            new.append(logits.argmax(-1).cpu())
        else:
            shares = torch.softmax(logits.cpu().double() / temperature, dim=-1)
            if shares.isnan().any():
                raise InputError(f"temperature = {temperature!r}: logits / temperature must be finite, and are not")
            new.append(_draw(shares, torch.tensor([stream.random() for stream in streams], dtype=torch.float64)))
        if stop is not None:
            done |= new[-1] == stop
    written = torch.stack(new, dim=1).tolist() if new else [[] for _ in prompts]
    return [row[: row.index(stop) + 1] if stop in row else row for row in written]


def _streams(prompts: Sequence[Sequence[int]], seed: int) -> list[np.random.Generator]:
    """The random numbers of each row."""
    before: Counter[tuple[int, ...]] = Counter()
    streams = []
    for prompt in (tuple(map(int, prompt)) for prompt in prompts):
        key = hashlib.sha256(repr((int(seed), before[prompt], prompt)).encode()).digest()
        streams.append(np.random.Generator(np.random.Philox(key=int.from_bytes(key[:16], "little"))))
        before[prompt] += 1
    return streams


def _draw(shares: Tensor, points: Tensor) -> Tensor:
    """(rows,): where the sum of a row's shares (rows, vocabulary) passes its point (rows,), which is 0 to below 1."""
    sums = shares.cumsum(-1)
    total = sums[:, -1:].contiguous()
    token = torch.searchsorted(sums, points[:, None] * total, right=True)
    return torch.minimum(token, torch.searchsorted(sums, total))[:, 0]  # rounded up, a point can be the total
