"""Canon's variants in whole models: every mixer and point, segments, streaming, chosen layers, across layers, costs."""

from typing import Any

import pytest
import torch
from torch import Tensor

from canonlab.canon import Canon
from canonlab.errors import InputError
from canonlab.models.canon_points import CanonConfig
from canonlab.models.config import ModelConfig
from canonlab.models.cost import cost
from canonlab.models.decoder import Decoder, tensors_of

IDS = torch.randint(11, (2, 17), generator=torch.Generator().manual_seed(0))
SEGMENTS = torch.tensor([[-1] * 2 + [0] * 15, [3] * 7 + [4] * 10])
VARIANTS: dict[str, dict[str, Any]] = {
    "dynamic": {"canon_dynamic": True},
    "gate": {"canon_gate": True},
    "layers": {"canon_layers": "0,2-3"},
    "across": {"canon_across": True},
    "all": {
        "canon_dynamic": True, "canon_gate": True, "canon_layers": "0,2-3", "canon_across": True, "canon_kernel": 3,
        "canon_scale": True, "canon_activation": True,
    },
}  # fmt: skip
MIXERS = ["llama-rope", "gla5", "mamba2-mlp", "gdn", "mamba2,llama-moe"]


def build(model: str = "llama-rope", points: str = "ABCDOM", size: str = "4L32D4H", **settings: Any) -> Decoder:
    """With noise on every weight, so that nothing is as it begins."""
    made = ModelConfig(model, size, points, **settings).decoder(11).build().double().eval()
    noise = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=noise, dtype=torch.float64)
    return made


def canon_blocks(model: Decoder) -> list[int]:
    return [i for i, block in enumerate(model.blocks) if any(name.startswith("canon") for name, _ in parameters(block))]


def parameters(block: torch.nn.Module) -> list[tuple[str, Tensor]]:
    return list(block.named_parameters())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", MIXERS)
@pytest.mark.parametrize("points", ["ABCDOM", "AKVOMC"])
@torch.no_grad()
def test_streaming_packing_and_counts(name: str, points: str, variant: str) -> None:
    points = points.replace("D", "") if "moe" in name else points
    model = build(name, points, **VARIANTS[variant])
    for given in (None, SEGMENTS):
        whole, state, parts = model(IDS, given).logits, model.init_state(2, 17), []
        for cut in (slice(0, 6), slice(6, 7), slice(7, 9), slice(9, 17)):
            parts.append(model(IDS[:, cut], None if given is None else given[:, cut], state).logits)
        torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-9, atol=1e-9)
    apart = [model(IDS[1:, :7]).logits, model(IDS[1:, 7:]).logits]
    torch.testing.assert_close(whole[1:], torch.cat(apart, 1), rtol=1e-9, atol=1e-9)
    found = cost(model.config, 17)
    assert found.parameters == sum(p.numel() for p in model.parameters())
    states = model.config.build().init_state(1, 17).blocks
    assert found.state_bytes == sum(tensor.nbytes for tensor in tensors_of(states))


@pytest.mark.parametrize(("points", "variant"), [*(("ABCDOM", variant) for variant in VARIANTS), ("AKVOMC", "all")])
def test_inside_compiled_blocks(points: str, variant: str) -> None:
    model = build("gla", points, **VARIANTS[variant]).train()
    expected = model(IDS, SEGMENTS).logits
    gradients = torch.autograd.grad(expected.sum(), list(model.parameters()), allow_unused=True)
    torch.compiler.reset()
    for block in model.blocks:
        block.compile(backend="aot_eager", dynamic=False, fullgraph=True)
    logits = model(IDS, SEGMENTS).logits
    torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-10)
    found = torch.autograd.grad(logits.sum(), list(model.parameters()), allow_unused=True)
    torch.testing.assert_close(found, gradients, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("points", ["ABCDOM", "KV"])
@torch.no_grad()
def test_dynamic_taps_and_gate_are_in_every_layer_and_begin_without_effect(points: str) -> None:
    plain = ModelConfig(size="2L64D4H", canon=points)
    model = ModelConfig(size="2L64D4H", canon=points, canon_dynamic=True, canon_gate=True).decoder(11).build()
    layers = [module for module in model.modules() if isinstance(module, Canon)]
    assert len(layers) == 2 * len(points) and all(layer.dynamic and layer.gate is not None for layer in layers)
    other = plain.decoder(11).build()
    other.load_state_dict(model.state_dict(), strict=False)
    assert torch.equal(model(IDS).logits, other(IDS).logits)


@pytest.mark.parametrize(
    ("model", "layers", "blocks", "having"),
    [
        ("llama-rope", "0-1,3", "0-1,3", [0, 1, 3]),
        ("llama-rope", "3, 1,0-1", "0-1,3", [0, 1, 3]),
        ("llama-rope", "0-3", "", [0, 1, 2, 3]),
        ("llama-rope", "all", "", [0, 1, 2, 3]),
        ("llama-rope", "2", "2", [2]),
        ("mamba2", "1,3", "2-3,6-7", [2, 3, 6, 7]),
        ("mamba2,llama-rope", "1-2", "2-4", [2, 3, 4]),
    ],
)
def test_chosen_layers_have_canon_layers(model: str, layers: str, blocks: str, having: list[int]) -> None:
    made = build(model, "A", canon_layers=layers)
    assert made.config.canon.blocks == blocks and canon_blocks(made) == having


def test_the_mixers_own_convolution_is_in_all_layers() -> None:
    made = build("gla", "AbCD", canon_layers="1")
    assert all(any("conv" in name for name, _ in parameters(block)) for block in made.blocks)
    assert canon_blocks(made) == [1]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("0-4", r"canon_layers = '0-4': there is no 4 \(allowed: 0 to 3\)"),
        ("0,99", "there is no 99"),
        ("3-1", "3-1 is backwards, must be 1-3"),
        ("first", "'first' must be numbers from 0, such as 0-3,8"),
        ("1.5", "'1.5' must be numbers"),
        ("-1", "'-1' must be numbers"),
        ("0,,2", "'' must be numbers"),
        ("1-", "'1-' must be numbers"),
    ],
)
def test_layers_that_are_not_there(layers: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        build(canon_layers=layers)
    assert "\n" not in str(raised.value)


def test_a_decoder_has_the_blocks_that_its_canon_set_names() -> None:
    canon = CanonConfig("A", blocks="0-2,2-3,5")
    assert canon.blocks == "0-3,5" and canon.of_block(3).points == "A" and canon.of_block(4).points == ""
    with pytest.raises(InputError, match=r"canon.blocks = '0-3,5': there is no 5 \(allowed: 0 to 4\)"):
        canon.within(5)


@torch.no_grad()
def test_across_layers_the_past_is_that_of_the_block_below() -> None:
    """The whole model written out, with a layer between that has no Canon layer and one that has no MLP."""
    model = build("llama-rope,mamba2", "AC", "2L32D4H", canon_across=True, canon_layers="0", canon_dynamic=True)
    assert [block.mlp is None for block in model.blocks] == [False, True, True]
    for config in (model.config, build(points="AC", canon_across=True).config):
        model = build(points="AC", canon_across=True) if config.layers == 4 else model
        x, below = model.embedding(IDS), {}
        for block in model.blocks:
            h = block.mixer_norm(x)
            mixed = block.canon_a(h, None, past=below.get("A"))
            below["A"] = h
            x = x + block.mixer(mixed, None, None)[0]
            if block.mlp is not None:
                h = block.mlp_norm(x)
                mixed = block.canon_c(h, None, past=below.get("C"))
                below["C"] = h
                x = x + block.mlp(mixed, None, None)[0]
        torch.testing.assert_close(model(IDS).logits, model.head(model.norm(x)), rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_across_layers_changes_all_but_the_first_layer_and_other_points_not_at_all() -> None:
    one, two = (build(size=size, points="ABCDOM", canon_across=True) for size in ("1L32D4H", "2L32D4H"))
    for model, same in ((one, True), (two, False)):
        plain = ModelConfig(size=f"{model.config.layers}L32D4H", canon="ABCDOM").decoder(11).build().double().eval()
        plain.load_state_dict(model.state_dict())
        assert torch.equal(plain(IDS).logits, model(IDS).logits) is same
    with pytest.raises(InputError, match="canon_across: it is at points A and C, and canon = 'BD' has neither"):
        build(points="BD", canon_across=True)
    build(points="none", canon_across=True)


@pytest.mark.parametrize("size", ["8L32D4H", "5L32D4H"])
def test_one_block_of_each_kind_says_what_all_of_them_cost(size: str) -> None:
    config = ModelConfig("gdn,llama-rope", size, "ABCD", canon_layers="1-3", canon_dynamic=True).decoder(11)
    with torch.device("meta"):
        whole = sum(p.numel() for p in Decoder(config).parameters())
    plain = ModelConfig("gdn,llama-rope", size, "none").decoder(11)
    assert cost(config, 8).parameters == whole > cost(plain, 8).parameters
    assert cost(config, 8).flops_per_token > cost(plain, 8).flops_per_token
