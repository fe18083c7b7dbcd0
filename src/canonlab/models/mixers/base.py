"""The contract of a sequence mixer, built in or a user's own."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from canonlab.canon import Canon
from canonlab.errors import InputError
from canonlab.models.canon_points import NoCanon, PartsCanon

InsideCanon = Canon | PartsCanon | NoCanon
"""The layer at point B, those at K and V, or one that does nothing."""

CanonFactory = Callable[[int], InsideCanon]
"""width -> the layer inside a mixer."""

MixerState = dict[str, Any]
"""A nested dict of tensors, each with the batch first: fixed in size, updated in place."""


Shared = dict[str, Tensor]
"""What mixers leave for those of later blocks in the same call of a decoder."""


class Place(NamedTuple):
    """Where a mixer stands: it is in block `layer` of `layers`, from 0, and `nth` blocks before have its class."""

    layer: int
    layers: int
    nth: int


def asks(function: Callable[..., Any], name: str) -> bool:
    """Whether a constructor or `forward` has a parameter of that name."""
    return name in inspect.signature(function).parameters


class Mixer(nn.Module, ABC):
    """Mixes information along time: x (batch, time, width) -> y (batch, time, width), causally.

    A mixer class has a frozen dataclass `Config` with a field `width`; its other fields are the arguments that a user
    may set. A field `heads` without a value gets the size's heads. A boolean field `conv1d` says that the mixer has a
    short convolution of its own (Canon point b) and whether it is on.

    The constructor calls `canon(width)` where point B belongs, on the concatenated projections that feed the mixing
    (q, k and v, before any non-linearity and position embedding), keeps the module, and passes it `segment_ids` and its
    own state: `self.canon(h, segment_ids, state and state["canon"])`. One that never calls it can't be asked for B.
    A property `parts` of `Config`, such as {"K": (64, 128), "V": (128, 192)}, says which channels of that are the keys
    and the values, from and to: one without can't be asked for K and V.
    It initialises its own parameters; nobody initialises them again.

    **More than that it gets by naming it**, as a further parameter without a default:

    - `place` of the constructor: its `Place`, for what hangs on the depth.
    - `shared` of `forward`: a dict that is empty when a decoder is called, and goes from block to block. Under a name
      of its own a mixer leaves a tensor there (batch, time, ...) for the later ones; it is no state, and is gone after
      the call.
    - `positions` of `forward`: (batch, time) int64, each token's number in its segment, from 0, whatever came in
      earlier calls.

    How the optimizer treats a parameter is said on it: `_no_weight_decay = True` where it doesn't decay though it has
    two dimensions, `_learning_rate_factor = 2.0` where its rate is another one.

    Subclassing this class is not required; the methods and `Config` are.
    """

    Config: ClassVar[type]
    state_field: ClassVar[str | None] = None
    """The argument that says how wide the keys or the state are, for `ModelConfig.state_share`: an integer, or a float
    that is a share of the model's width; None where the state has no width of its own, as a cache of all tokens."""
    implementation: str = "torch"
    """Who computes it where there is a choice: one of `fla.IMPLEMENTATIONS`. A trainer sets it."""

    @abstractmethod
    def forward(
        self, x: Tensor, segment_ids: Tensor | None, state: MixerState | None
    ) -> tuple[Tensor, MixerState | None]:
        """Mix x (batch, time, width).

        segment_ids (batch, time): tokens see only tokens of their own segment; constant on runs; -1 is padding, which
        nobody may see; None is one segment, 0. state: what `init_state` gave, updated in place and returned; x then
        continues what the state has seen. Any chunking of a sequence gives the same outputs as the whole.
        """

    def init_state(self, batch: int, max_len: int, dtype: torch.dtype, device: torch.device) -> MixerState:
        """The state before the first token, for up to `max_len` tokens. A mixer without one cannot decode cached."""
        raise InputError(
            f"the mixer {type(self).__name__} has no init_state: it trains, but cannot decode with a cache"
        )
