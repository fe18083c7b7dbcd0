"""What the linear mixers share: where segments begin, and the recurrent state between two calls.

Legend: B batch, T time, C chunks, L positions in a chunk, H heads, K key width, V value width.
"""

from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from canonlab.errors import InputError, shown
from canonlab.models.mixers.base import MixerState

LOG_DECAY_FLOOR = -40.0
"""What decays by e^-40 in one step is gone in any dtype. Without the floor, sums of log decays would grow so large
after such steps that their differences lose the digits of the mild decays beside them."""


MOST_SHARE = 64


def width_of(name: str, share: float, width: int) -> int:
    """`share` of the model's width, a positive whole number. InputError, which names the field `name`, for any other.

    A share is taken as the fraction that it is short for: 0.57 of 100 is 57, though 0.57 * 100 is 56.99999999999999.
    """
    fraction = Fraction(share).limit_denominator(max(1000, width)) if 0 < share <= MOST_SHARE else Fraction(0)
    if not fraction:
        raise InputError(
            f"{name} = {shown(share)}: must be a positive number, leave a width of at least 1, "
            f"and be at most {MOST_SHARE}"
        )
    if width % fraction.denominator:
        raise InputError(
            f"{name} = {shown(share)}: of the width {width} is no whole number "
            f"(allowed widths: multiples of {fraction.denominator})"
        )
    return int(fraction * width)


def begins(segment_ids: Tensor) -> Tensor:
    """(B, T) bool: another segment than the position before. The first position goes on with the initial state."""
    return F.pad(segment_ids[:, 1:] != segment_ids[:, :-1], (1, 0))


def within_chunks(segment_ids: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Who is of one segment, in chunks of `length` positions; the last chunk is filled up with its last segment.

    Returns bools: position i with j (B, C, L, L), position i with the last one before the chunk (B, C, L), and with the
    last one of the chunk (B, C, L). Before the first chunk is what the initial state has seen.
    """
    missing = -segment_ids.shape[1] % length
    # Numbered along each row, since an id may come back in a later segment.
    number_BCL = F.pad(begins(segment_ids).long(), (0, missing)).cumsum(1).unflatten(1, (-1, length))
    last_BC1 = number_BCL[..., -1:]
    before_BC1 = F.pad(last_BC1[:, :-1], (0, 0, 1, 0))
    together_BCLL = number_BCL[..., :, None] == number_BCL[..., None, :]
    return together_BCLL, number_BCL == before_BC1, number_BCL == last_BC1


def first_state(initial_BHKV: Tensor | None, v_BTHV: Tensor, keys: int, dtype: torch.dtype) -> Tensor:
    """The state before the first position in that dtype: the given one, or zeros."""
    if initial_BHKV is not None:
        return initial_BHKV.to(dtype)
    batch, _, heads, values = v_BTHV.shape
    return v_BTHV.new_zeros(batch, heads, keys, values, dtype=dtype)


def empty_state(
    batch: int, heads: int, keys: int, values: int, dtype: torch.dtype, device: torch.device
) -> dict[str, Tensor]:
    """Zeros S (B, H, K, V), float32 or, for float64 activations, float64; and the last token's segment (B,), -1."""
    precise = torch.promote_types(dtype, torch.float32)
    return {
        "S": torch.zeros(batch, heads, keys, values, dtype=precise, device=device),
        "segment": torch.full((batch,), -1, device=device),
    }


def recall(state: MixerState | None, segment_ids: Tensor | None) -> Tensor | None:
    """The initial state (B, H, K, V) of a call: zeros in rows that begin with another segment than the last token's.

    No segment_ids are one segment, 0; no state is None.
    """
    if state is None:
        return None
    return torch.where(goes_on(state, segment_ids)[:, None, None, None], state["S"], 0)


def goes_on(state: MixerState, segment_ids: Tensor | None) -> Tensor:
    """(B,) bool: a call's first token is of the segment of the last token that the state has seen."""
    return state["segment"] == (0 if segment_ids is None else segment_ids[:, 0])


def remember(state: MixerState | None, final_BHKV: Tensor, segment_ids: Tensor | None) -> None:
    """Write the final state of a call into the state, if there is one, for the next call to `recall`."""
    if state is None:
        return
    state["S"].copy_(final_BHKV.detach())
    state["segment"].copy_(0 if segment_ids is None else segment_ids[:, -1])
