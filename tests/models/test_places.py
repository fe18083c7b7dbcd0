"""What a mixer gets by naming it: its place, what earlier blocks left, and positions; and how that is counted."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from canonlab.models.cost import cost
from canonlab.models.decoder import BlockConfig, Decoder, DecoderConfig, MixerConfig
from canonlab.models.mixers.attention import Attention
from canonlab.models.mixers.base import Mixer, Place
from canonlab.models.positions import CountedPositions


class Asking(Mixer):
    """Adds to x an embedding of each position and what the first of its class left; only later ones have a matrix."""

    @dataclass(frozen=True)
    class Config:
        width: int

    def __init__(self, config, canon, place):
        super().__init__()
        self.place = place
        self.embedding = nn.Parameter(torch.randn(64, config.width))
        self.mix = nn.Linear(config.width, config.width) if place.nth else None

    def forward(self, x, segment_ids, state, shared, positions):
        y = x + self.embedding[positions]
        if self.mix is None:
            shared["first"] = x
            return y, state
        return y + self.mix(shared["first"]), state

    def init_state(self, batch, max_len, dtype, device):
        return {}


def decoder(layers: int = 4) -> Decoder:
    pattern = (BlockConfig(MixerConfig(Attention, {"heads": 2}), None), BlockConfig(MixerConfig(Asking), None))
    return DecoderConfig(11, layers, 16, pattern).build().double().eval()


def test_places_say_where_a_block_is_and_how_many_of_its_class_came_before() -> None:
    places = [block.mixer.place for block in decoder(6).blocks if isinstance(block.mixer, Asking)]
    assert places == [Place(1, 6, 0), Place(3, 6, 1), Place(5, 6, 2)]


def test_calls_that_continue_a_state_share_and_count_as_the_whole() -> None:
    model, ids = decoder(), torch.arange(40).view(2, 20) % 11
    segments = torch.tensor([[-1] * 3 + [0] * 17, [4] * 8 + [5] * 1 + [4] * 11])
    for given in (None, segments):
        whole, state, parts = model(ids, given).logits, model.init_state(2, 20), []
        for cut in (slice(0, 7), slice(7, 8), slice(8, 20)):
            parts.append(model(ids[:, cut], None if given is None else given[:, cut], state).logits)
        torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-12, atol=1e-12)


def test_what_is_shared_reaches_later_blocks_and_ends_with_the_call() -> None:
    model, ids = decoder(), torch.zeros(1, 5, dtype=torch.int64)
    first = model(ids).logits
    model(ids + 1)
    assert torch.equal(model(ids).logits, first)
    with torch.no_grad():
        model.blocks[3].mixer.mix.weight.mul_(2)
    assert not torch.equal(model(ids).logits, first)


def test_compiled_blocks_share_too() -> None:
    model, ids = decoder(), torch.arange(12).view(2, 6) % 11
    eager = model(ids).logits
    for block in model.blocks:
        block.compile(backend="eager", dynamic=False, fullgraph=True)
    torch.testing.assert_close(model(ids).logits, eager)


@pytest.mark.parametrize("layers", [2, 6])
def test_blocks_that_differ_by_their_place_are_all_counted(layers: int) -> None:
    model = decoder(layers)
    assert cost(model.config, 8).parameters == sum(p.numel() for p in model.parameters())


def test_positions_begin_anew_with_each_segment() -> None:
    x, counted = torch.zeros(2, 6, 1), CountedPositions()
    segments = torch.tensor([[7, 7, 8, 8, 8, 7], [-1, -1, 0, 0, 0, 0]])
    expected = torch.tensor([[0, 1, 0, 1, 2, 0], [0, 1, 0, 1, 2, 3]])
    assert torch.equal(counted(x, segments, None), expected)
    assert torch.equal(counted(x, None, None), torch.arange(6).expand(2, 6))
    state = counted.init_state(2, x.device)
    parts = [counted(x[:, i : i + 1], segments[:, i : i + 1], state) for i in range(6)]
    assert torch.equal(torch.cat(parts, 1), expected)
