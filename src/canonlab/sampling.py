"""What a model writes after prompts, token by token, whatever its logits come from."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from canonlab.errors import InputError, shown


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
    rows: int,
    max_new: int,
    stop: int | None,
    temperature: float,
    seed: int,
) -> list[list[int]]:
    """The new tokens of each prompt, as `canonlab.tasks.base.Generate` has them.

    `logits_after(new)`: the logits (rows, vocabulary) that follow the prompts and the tokens so far, each (rows,) int64
    on the CPU. Tokens are drawn there too, so that every device draws from the same stream. InputError for a
    temperature below 0.
    """
    if not temperature >= 0:
        raise InputError(f"temperature = {shown(temperature)}: must be 0 or more")
    draw = torch.Generator().manual_seed(seed)
    new: list[Tensor] = []
    done = torch.zeros(rows, dtype=torch.bool)
    while len(new) < max_new and not done.all():
        logits = logits_after(new)
        if temperature == 0:
            new.append(logits.argmax(-1).cpu())
        else:
            shares = torch.softmax(logits.cpu().double() / temperature, dim=-1)
            new.append(torch.multinomial(shares, 1, generator=draw)[:, 0])
        if stop is not None:
            done |= new[-1] == stop
    written = torch.stack(new, dim=1).tolist() if new else [[] for _ in range(rows)]
    return [row[: row.index(stop) + 1] if stop in row else row for row in written]
