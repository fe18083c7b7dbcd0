"""What transformers hands to a model, as Canon layers need it: which positions are hidden, and a cache as memory.

The cache stays transformers' own. Its layers of keys and values have counterparts, "hybrid" ones, which hold any number
of convolution states besides: those take their places, and what reorders, resets, repeats or crops a cache then does so
to the Canon layers' past as well.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

CACHE_NAMES = ("cache", "past_key_values", "layer_past", "past_key_value", "kv_cache")
"""What a layer's argument for the cache is called, in transformers of several ages and elsewhere."""


class Sight(NamedTuple):
    """hidden (batch, time, 1) bool: padding, which nobody sees. segments (batch, time): texts packed into one row."""

    hidden: Tensor | None = None
    segments: Tensor | None = None


def sight(mask: Any, position_ids: Tensor | None, cache: Any, shape: tuple[int, int]) -> Sight:
    """What the next (batch, time) positions are, from what a model is called with; ValueError for a mask unknown."""
    batch, time = shape
    if isinstance(mask, dict):  # by the kind of layer; each says the same of padding
        masks = [mask[kind] for kind in ("full_attention", "sliding_attention") if mask.get(kind) is not None]
        if not masks:
            return Sight()
        mask = masks[0]
    if mask is None:
        if position_ids is None or position_ids.ndim != 2 or cache is not None:
            return Sight()
        return Sight(None, _segments(position_ids).expand(batch, -1))
    if not isinstance(mask, Tensor) or mask.ndim not in (2, 4):
        kind = f"shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(
            f"Canon cannot read an attention_mask of {kind}: must be (batch, time) or (batch, 1, time, time)"
        )
    seen = mask if mask.dtype == torch.bool else (mask > 0 if mask.ndim == 2 else mask >= 0)
    columns = torch.arange(time, device=mask.device)
    if seen.shape[-1] != time:
        columns = columns + _first_column(cache, time, absolute=mask.ndim == 2)
    if mask.ndim == 4:  # a position that doesn't see itself is padding
        seen = seen[:, 0].gather(-1, columns[None, :, None].expand(len(mask), -1, 1))[..., 0]
    else:
        seen = seen[:, columns]
    return Sight(~seen[..., None])


def _segments(position_ids: Tensor) -> Tensor:
    """Texts packed into a row begin where positions don't go on by one, as transformers' attention has it."""
    jumps = (position_ids[:, 1:] - position_ids[:, :-1]) != 1
    return torch.nn.functional.pad(jumps.cumsum(-1), (1, 0))


def _first_column(cache: Any, time: int, *, absolute: bool) -> Any:
    """The column of a mask where the next position is: of all positions, or of those that the cache still holds."""
    if not hasattr(cache, "is_sliding"):  # none, or one that `make_room` refuses
        return 0
    layer = cache.is_sliding.index(False) if False in cache.is_sliding else 0
    length = cache.get_seq_length(layer)
    return length if absolute else length - cache.get_mask_sizes(time, layer)[1]


def make_room(cache: Any, index: int, states: int, of: str) -> None:
    """Let layer `index` of `cache` hold that many convolution states. ValueError, naming the layer, where it can't."""
    if not hasattr(cache, "layers") or not hasattr(cache, "update_conv_state"):
        raise ValueError(f"Canon in {of}: a {type(cache).__name__} cannot hold the state of Canon layers")
    if getattr(cache, "offloading", False):  # which moves a layer's states away, and back only for its keys
        raise ValueError(f"Canon in {of}: a cache that is offloaded cannot hold the state of Canon layers")
    from transformers import cache_utils as known

    while len(cache.layers) <= index and cache.layer_class_to_replicate is not None:
        cache.layers.append(cache.layer_class_to_replicate())
    layer = cache.layers[index]
    if isinstance(layer, known.LinearAttentionCacheLayerMixin):
        if layer.number_of_states < states:
            raise ValueError(f"Canon in {of}: its cache holds {layer.number_of_states} states, and {states} are needed")
        return
    hybrids: dict[type, Any] = {
        known.DynamicLayer: known.LinearAttentionAndFullAttentionLayer,
        known.DynamicSlidingWindowLayer: known.LinearAttentionAndSlidingWindowAttentionLayer,
        known.StaticLayer: known.LinearAttentionAndStaticFullAttentionLayer,
        known.StaticSlidingWindowLayer: known.LinearAttentionAndStaticSlidingWindowAttentionLayer,
    }
    kind = hybrids.get(type(layer))
    if kind is None:
        raise ValueError(f"Canon in {of}: a {type(layer).__name__} of the cache cannot hold the state of Canon layers")
    if layer.is_initialized and int(layer.get_seq_length()) > 0:
        raise ValueError(f"Canon in {of}: the cache holds positions that its Canon layers have not seen; begin anew")
    hybrid = kind.__new__(kind)
    known.LinearAttentionLayer.__init__(hybrid, number_of_states=states)
    hybrid.__dict__.update(layer.__dict__)
    cache.layers[index] = hybrid


def recall(cache: Any, x: Tensor, index: int, state: int, past: int) -> Tensor:
    """x (batch, time, width) after what came before it, at least `past` positions once there are; x is remembered."""
    joined: Tensor = cache.update_conv_state(x.mT, index, state_idx=state, conv_kernel_size=past)
    return joined.mT
