"""What decoding with attention remembers of past tokens: all of them, or a window of the last ones and the sinks.

A state has, for each thing remembered, a tensor (B, slots, ...), and the slots' `segments` (B, slots), -1 where nothing
is; `length` (B,) counts the tokens seen. That of a window has the sinks of the last token's segment that have left the
window, then the window; `start` (B,) is the slot of that segment's first token, or of the first sink that is kept.
Taken as one row with the tokens of a call behind, a segment's first tokens then stand in a row, wherever it began.

Legend: B batch, T time, S slots.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from canonlab.models.mixers.base import MixerState
from canonlab.models.mixers.recurrence import begins


def empty_cache(
    batch: int, slots: int, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype, device: torch.device
) -> MixerState:
    """A state with zeros (B, slots, *shape) for each name."""
    return {
        **{name: torch.zeros(batch, slots, *shape, dtype=dtype, device=device) for name, shape in shapes.items()},
        "segments": torch.full((batch, slots), -1, device=device),
        "length": torch.zeros(batch, dtype=torch.int64, device=device),
    }


def empty_window(
    batch: int,
    window: int,
    sinks: int,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: torch.dtype,
    device: torch.device,
) -> MixerState:
    """The same for the last `window` tokens and the first `sinks` tokens of the last segment."""
    start = torch.full((batch,), sinks + window, device=device)
    return {**empty_cache(batch, sinks + window, shapes, dtype, device), "start": start}


def remember(state: MixerState, new: Mapping[str, Tensor], segment_ids: Tensor) -> tuple[list[Tensor], Tensor]:
    """Write each (B, T, ...) of `new` into the slots of its positions; all slots of each, and their segments (B, S)."""
    time = torch.arange(segment_ids.shape[1], device=segment_ids.device)
    rows, slots = torch.arange(len(segment_ids), device=time.device)[:, None], state["length"][:, None] + time
    for name, tensor in new.items():
        state[name][rows, slots] = tensor.to(state[name].dtype)
    state["segments"][rows, slots] = segment_ids
    state["length"] += len(time)
    return [state[name].to(tensor.dtype) for name, tensor in new.items()], state["segments"]


def slide(
    state: MixerState, new: Mapping[str, Tensor], segment_ids: Tensor, sinks: int
) -> tuple[list[Tensor], Tensor, Tensor]:
    """The window's slots before the call with the new ones behind, of each thing; their segments (B, S); and `starts`.

    starts (B, T): the slot, among these, of the first token of each new token's segment. The state is then that of the
    last window.
    """
    joined = {name: torch.cat([state[name].to(tensor.dtype), tensor], 1) for name, tensor in new.items()}
    segments_BS = torch.cat([state["segments"], segment_ids], 1)
    before, slots = state["segments"].shape[1], segments_BS.shape[1]
    starts_BT = segment_starts(segments_BS[:, before - 1 :], before - 1, state["start"][:, None])[:, 1:]
    window = slots - (before - sinks)  # the window that stays begins here
    kept_BS, start_B1 = _kept_sinks(starts_BT[:, -1:], sinks, window)
    rows = torch.arange(len(segment_ids), device=segment_ids.device)[:, None]
    for name, tensor in {**joined, "segments": segments_BS}.items():
        state[name][:, sinks:] = tensor[:, window:]
        state[name][:, :sinks] = tensor[rows, kept_BS.clamp(min=0)]
    state["segments"][:, :sinks].masked_fill_(kept_BS < 0, -1)
    state["start"].copy_(start_B1[:, 0])
    state["length"] += segment_ids.shape[1]
    return list(joined.values()), segments_BS, starts_BT


def _kept_sinks(start_B1: Tensor, sinks: int, window: int) -> tuple[Tensor, Tensor]:
    """The slots (B, sinks) of those tokens of the segment that begins at slot `start` that stay beside the window.

    They come last, and before them -1, which is none; then the slot where the segment begins when they have moved.
    """
    gone_B1 = (window - start_B1).clamp(0, sinks)
    place_BS = torch.arange(sinks, device=start_B1.device) - (sinks - gone_B1)
    return torch.where(place_BS < 0, -1, start_B1 + place_BS), (sinks + start_B1 - window).clamp(min=0)


def segment_starts(segment_ids: Tensor, first: int = 0, start: Tensor | int = 0) -> Tensor:
    """(B, T): the slot of the first token of each token's segment; tokens have the slots from `first` on.

    The first token's segment begins at slot `start` (B, 1).
    """
    slots = torch.arange(first, first + segment_ids.shape[1], device=segment_ids.device)
    return torch.where(begins(segment_ids), slots, start).cummax(1).values
