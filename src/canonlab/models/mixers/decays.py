"""What is left of things after a part of a chunk, for recurrences whose decays are of heads or of key channels.

D(j, i] is the product of the decays of the positions j + 1 .. i. No logarithm of one is positive: nothing overflows.
Legend: B batch, C chunks, L positions in a chunk, N blocks in a chunk, H heads, K key width.
"""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from canonlab.models.mixers.recurrence import LOG_DECAY_FLOOR, within_chunks


class Decays(ABC):
    """The decays of all chunks; x and y are keys or queries (..., B, C, H, L, K)."""

    @abstractmethod
    def between(self, x: Tensor, y: Tensor) -> Tensor:
        """x_i . D(j, i] y_j for all i >= j, else 0: (..., B, C, H, L, L)."""

    @abstractmethod
    def since_start(self, x: Tensor) -> Tensor:
        """D(start, i] x_i, for what stood in the state before the chunk."""

    @abstractmethod
    def until_end(self, y: Tensor) -> Tensor:
        """D(j, end] y_j, for what will stand in the state after the chunk."""

    @property
    @abstractmethod
    def whole_BCHK(self) -> Tensor:
        """D(start, end], of each channel, or of all, with K = 1."""


class HeadDecays(Decays):
    """One decay a head, `log_decay_BCHL`. Segments begin anew where `segment_ids` (B, T) changes."""

    def __init__(self, log_decay_BCHL: Tensor, segment_ids: Tensor | None) -> None:
        length = log_decay_BCHL.shape[-1]
        sums_BCHL = log_decay_BCHL.clamp(min=LOG_DECAY_FLOOR).cumsum(-1)
        start_BCHL, end_BCHL = sums_BCHL.exp(), (sums_BCHL[..., -1:] - sums_BCHL).exp()
        seen = torch.ones(length, length, dtype=torch.bool, device=sums_BCHL.device).tril()
        if segment_ids is not None:
            together_BC1LL, before_BC1L, last_BC1L = (x[:, :, None] for x in within_chunks(segment_ids, length))
            seen = seen & together_BC1LL
            start_BCHL, end_BCHL = start_BCHL * before_BC1L, end_BCHL * last_BC1L
        self.start_BCHL1, self.end_BCHL1 = start_BCHL[..., None], end_BCHL[..., None]
        # Of a later j the exponent could be large, and infinity times 0 is not a number: it is masked before.
        self.within_BCHLL = (sums_BCHL[..., None] - sums_BCHL[..., None, :]).masked_fill(~seen, -torch.inf).exp()

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        return self.within_BCHLL * (x @ y.mT)

    def since_start(self, x: Tensor) -> Tensor:
        return x * self.start_BCHL1

    def until_end(self, y: Tensor) -> Tensor:
        return y * self.end_BCHL1

    @property
    def whole_BCHK(self) -> Tensor:
        return self.start_BCHL1[..., -1, :]


class ChannelDecays(Decays):
    """A decay for each channel, `log_decay_BCHLK`, -inf where a segment begins; L is a power of two.

    D(j, i] depends on i, j and the channel, so `between` is no product of two matrices. But D(j, i] = D(j, m] D(m, i]
    for any m between: with m the middle of a block, the block's lower left quarter is a product, and the two on its
    diagonal are blocks of half the length. From the bottom up: blocks of 1, then pairs of blocks until one is left.
    Log decays are only ever added, all of one sign. So there is no cancellation either, and -inf is harmless.
    """

    def __init__(self, log_decay_BCHLK: Tensor) -> None:
        since, until = log_decay_BCHLK, torch.zeros_like(log_decay_BCHLK)  # of blocks of 1
        self.middle: list[tuple[Tensor, Tensor]] = []
        """For each size of blocks, what is left since the middle of a pair in its second, and until it of its first."""
        length = 1
        while length < log_decay_BCHLK.shape[-2]:
            pairs = ((x.unflatten(-2, (-1, 2, length)).unbind(-3)) for x in (since, until))
            (since_0, since_1), (until_0, until_1) = pairs
            self.middle.append((since_1.exp(), until_0.exp()))
            until_0, since_1 = until_0 + since_1[..., -1:, :], since_1 + since_0[..., -1:, :]
            since, until = (torch.cat(pair, -2).flatten(-3, -2) for pair in ((since_0, since_1), (until_0, until_1)))
            length *= 2
        self.start_BCHLK, self.end_BCHLK = since.exp(), until.exp()

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        scores = (x * y).sum(-1)[..., None, None]  # (..., N, length, length), as many blocks as positions
        for since_1, until_0 in self.middle:
            length = scores.shape[-1]
            x_1, y_0 = (z.unflatten(-2, (-1, 2, length)).select(-3, half) for z, half in ((x, 1), (y, 0)))
            quarter = (x_1 * since_1).to(x.dtype) @ (y_0 * until_0).to(y.dtype).mT
            diagonal_0, diagonal_1 = scores.unflatten(-3, (-1, 2)).unbind(-3)
            scores = torch.cat([F.pad(diagonal_0, (0, length)), torch.cat([quarter, diagonal_1], -1)], -2)
        return scores.squeeze(-3)

    def since_start(self, x: Tensor) -> Tensor:
        return x * self.start_BCHLK

    def until_end(self, y: Tensor) -> Tensor:
        return y * self.end_BCHLK

    @property
    def whole_BCHK(self) -> Tensor:
        return self.start_BCHLK[..., -1, :]
