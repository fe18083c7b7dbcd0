"""The presets at every size."""

import pytest

from canonlab.models.config import ModelConfig
from canonlab.models.cost import parameters
from canonlab.models.presets import PRESETS

SIZES = ("8L512D", "8L768D", "24L2048D", "2-1", "2-10")
HEADS = {
    "llama-rope": (8, 12, 32, 1, 10),
    "gla": (4, 4, 4, 4, 4),
    "gla5": (4, 6, 16, 1, 5),
    "mamba2": (16, 16, 16, 16, 16),
    "mamba3": (16, 16, 16, 16, 16),
    "gdn": (4, 6, 12, 4, 5),
    **dict.fromkeys(("gdn-wide", "kda", "gdn2", "deltaproduct"), (4, 6, 16, 4, 5)),
    "rwkv7": (8, 12, 32, 1, 10),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_at_every_size(name: str) -> None:
    found = [ModelConfig(name, size).decoder(10).pattern[0].mixer.arguments["heads"] for size in SIZES]
    assert tuple(found) == HEADS[name]


@pytest.mark.parametrize("name", PRESETS)
def test_every_family_has_every_size_of_capo(name: str) -> None:
    parts = {"llama-rope-quarter": 2, "llama-halibi": 2, "llama-rope-quarter-fullheads": 4}.get(name, 1)
    for heads in range(parts, 21, parts):  # some positions treat a half or a quarter of the heads apart
        config = ModelConfig(name, f"1-{heads}").decoder(10)
        parameters(config)
        assert config.width == 64 * heads
