"""What the Canon points of a block are: keys and values as part of B, outputs of mixer and MLP, the scale."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from canonlab.canon import Canon, canon
from canonlab.errors import InputError
from canonlab.models.config import ModelConfig
from canonlab.models.decoder import Block, Decoder

IDS = torch.randint(11, (2, 19), generator=torch.Generator().manual_seed(0))


def build(model: str, points: str, **settings: object) -> Decoder:
    return ModelConfig(model, "2L32D4H", points, **settings).decoder(11).build().double().eval()  # type: ignore[arg-type]


def block_of(model: Decoder, layer: int) -> Block:
    block = model.blocks[layer]
    assert isinstance(block, Block)
    return block


@pytest.mark.parametrize("name", ["llama-rope", "gla", "gla5", "gdn", "kda", "gdn2", "deltaproduct", "mamba2-mlp"])
@pytest.mark.parametrize("points", ["K", "V", "KV"])
@torch.no_grad()
def test_keys_and_values_are_part_of_b(name: str, points: str) -> None:
    model, together = build(name, points), build(name, "B")
    together.load_state_dict(model.state_dict(), strict=False)
    for layer in range(2):
        inside, b = block_of(model, layer).mixer.canon, block_of(together, layer).mixer.canon
        assert isinstance(b, Canon) and isinstance(inside, nn.Module)
        b.weight.zero_()
        for point, (start, stop) in inside.parts:  # type: ignore[union-attr]
            b.weight[:, start:stop] = inside.layers[point].weight  # type: ignore[union-attr, index]
    torch.testing.assert_close(model(IDS).logits, together(IDS).logits, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(model(IDS).logits, build(name, "none")(IDS).logits)


@torch.no_grad()
def test_keys_and_values_are_where_attention_takes_them() -> None:
    model = build("llama-rope", "KV", mixer={"kv_heads": 2})
    widths = {name: weight.shape for name, weight in model.named_parameters() if "canon" in name}
    assert widths == {f"blocks.{i}.mixer.canon.layers.{p}.weight": (4, 16) for i in range(2) for p in "KV"}
    mixer = block_of(model, 0).mixer
    for point, rows in (("K", slice(32, 48)), ("V", slice(48, 64))):
        other = build("llama-rope", "KV", mixer={"kv_heads": 2})
        block_of(other, 0).mixer.qkv.weight[rows] = 0  # type: ignore[index]
        x = torch.randn(1, 5, 32, dtype=torch.float64)
        qkv = block_of(other, 0).mixer.canon(block_of(other, 0).mixer.qkv(x))  # type: ignore[operator]
        assert not qkv[..., rows].any() and qkv[..., :32].any(), point
    assert mixer.canon is not None


@torch.no_grad()
def test_outputs_are_mixed_before_they_are_added() -> None:
    model = build("llama-rope", "OM")
    block, x = block_of(model, 0), torch.randn(2, 9, 32, dtype=torch.float64)
    mixed, _ = block.mixer(block.mixer_norm(x), None, None)
    y = x + canon(mixed, block.canon_o.weight)  # type: ignore[arg-type]
    assert block.mlp is not None
    mixed, _ = block.mlp(block.mlp_norm(y), None, None)
    y = y + canon(mixed, block.canon_m.weight)  # type: ignore[arg-type]
    torch.testing.assert_close(block(x, None, None, {})[0], y)


def test_the_scale_is_one_over_the_root_of_the_terms() -> None:
    x = torch.randn(2, 9, 6, dtype=torch.float64)
    for options in ({}, {"residual": False}, {"activation": True}, {"activation": True, "residual": False}):
        plain, scaled = (Canon(6, kernel=3, scale=scale, **options).double() for scale in (False, True))
        scaled.load_state_dict(plain.state_dict())
        torch.testing.assert_close(scaled(x), plain(x) / 2)
    layers = [m for m in build("gla", "ABCDOM", canon_scale=True).modules() if isinstance(m, Canon)]
    assert len(layers) == 12 and all(layer.scale for layer in layers)


def test_the_scale_makes_another_run_and_its_absence_none() -> None:
    plain, scaled = (ModelConfig(canon="AC", canon_scale=scale).decoder(11).canon for scale in (False, True))
    assert dataclasses.asdict(plain) | {"scale": True} == dataclasses.asdict(scaled)


MEAN = """
from dataclasses import dataclass
from canonlab.models.mixers.base import Mixer

class Mean(Mixer):
    @dataclass(frozen=True)
    class Config:
        width: int
        {parts}

    def __init__(self, config, canon):
        super().__init__()
        self.canon = canon(config.width)

    def forward(self, x, segment_ids, state):
        return self.canon(x, segment_ids), state
"""


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ("", "Mean has no point V"),
        ("parts: int = 2", "Mean has no point V"),
        ('parts = property(lambda self: {"V": (4, 40)})', "must be parts of 32 channels"),
        ('parts = property(lambda self: {"V": (4, 9), "K": (8, 10)})', "must be parts of 32 channels"),
        ('parts = property(lambda self: {"V": (4, 9), "K": (9, 10)})', ""),
    ],
)
def test_a_mixer_of_ones_own_says_which_channels_are_keys_and_values(parts: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mean.py"
    path.write_text(MEAN.format(parts=parts))
    points = "VK" if "K" in parts else "V"
    if not message:
        widths = {
            name[-8]: w.shape[1] for name, w in build(f"{path}:Mean", points).named_parameters() if "layers" in name
        }
        assert widths == {"K": 1, "V": 5}
        return
    with pytest.raises(InputError, match=message):
        build(f"{path}:Mean", points)


def test_a_mixture_of_experts_has_all_points_but_d() -> None:
    build("llama-moe", "ABCOM")(IDS)
    with pytest.raises(InputError, match="a mixture of experts has no point D"):
        build("llama-moe", "D")
