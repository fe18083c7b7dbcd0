"""Counts from the meta-device build against closed forms."""

import pytest

from canonlab.models.cost import cost
from canonlab.models.presets import ModelConfig

V, CONTEXT = 109, 64


def block_weights(width: int, intermediate: int) -> int:
    return 4 * width**2 + 3 * width * intermediate


@pytest.mark.parametrize(
    ("size", "layers", "width", "intermediate"),
    [("8L512D", 8, 512, 1376), ("12L512D", 12, 512, 1376), ("8L768D", 8, 768, 2048), ("1L32D2H", 1, 32, 96)],
)
def test_parameters_and_flops(size: str, layers: int, width: int, intermediate: int) -> None:
    plain = cost(ModelConfig(size=size).decoder(V), CONTEXT)
    blocks = layers * (block_weights(width, intermediate) + 2 * width) + width
    assert plain.parameters_without_embedding == blocks
    assert plain.parameters == blocks + 2 * V * width
    per_token = 2 * layers * block_weights(width, intermediate) + 2 * V * width
    attention = layers * 2 * 2 * CONTEXT * width
    assert plain.flops_per_token == per_token + attention


@pytest.mark.parametrize(("size", "share"), [("8L512D", 0.0067), ("8L768D", 0.0045)])
def test_canon_adds_the_published_share(size: str, share: float) -> None:
    plain, canon = (cost(ModelConfig(size=size, canon=c).decoder(V), CONTEXT) for c in ("none", "ABCD"))
    added = canon.parameters_without_embedding - plain.parameters_without_embedding
    width, intermediate = int(size[2:5]), {"8L512D": 1376, "8L768D": 2048}[size]
    assert added == 8 * 4 * (width + 3 * width + width + 2 * intermediate)
    assert added / plain.parameters_without_embedding == pytest.approx(share, rel=0.02)


def test_exact_intermediate_is_the_floor() -> None:
    config = ModelConfig(size="8L512D", exact_intermediate=True).decoder(V)
    assert config.intermediate == 1365


def test_tied_embeddings_count_once() -> None:
    import dataclasses

    config = ModelConfig(size="1L32D2H").decoder(V)
    tied = cost(dataclasses.replace(config, tied=True), CONTEXT)
    assert cost(config, CONTEXT).parameters - tied.parameters == V * 32
    assert tied.parameters - tied.parameters_without_embedding == V * 32
