"""Which tensors of a model are quantized, and with which inputs."""

import dataclasses
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from canonlab.models.config import ModelConfig
from canonlab.models.mixers.mla import MLA
from canonlab.models.moe import MoE
from canonlab.quantization.config import QuantizationConfig
from canonlab.quantization.decoder import Batch, kept, matrices, quantize
from canonlab.quantization.gptq import gptq
from canonlab.quantization.grid import nearest
from canonlab.quantization.inputs import gathering
from tiny_models import MODELS, VOCABULARY, decoder


def tokens(seed: int = 0, time: int = 24) -> Tensor:
    return torch.randint(VOCABULARY, (3, time), generator=torch.Generator().manual_seed(seed))


def batches() -> Iterator[Batch]:
    yield from ((tokens(seed), None) for seed in range(2))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", ["gptq", "nearest"])
def test_every_architecture(name: str, method: str) -> None:
    model = decoder(MODELS[name])
    before = {key: parameter.detach().clone() for key, parameter in model.named_parameters()}
    quantize(model, QuantizationConfig(4, method), batches)
    assert torch.isfinite(model(tokens()).logits).all()
    quantized, rest = matrices(model), kept(model)
    assert {*quantized, *rest} == before.keys() and not {*quantized} & {*rest}
    for key, parameter in model.named_parameters():
        if key in rest:
            assert torch.equal(parameter, before[key])
        else:
            step = before[key].abs().amax(-1, keepdim=True) / 7
            assert torch.allclose(parameter / step, (parameter / step).round(), atol=1e-3)
    assert set(rest.values()) <= {"taps", "a vector", "no linear map that is known"}
    unknown = {key.rsplit(".", 1)[-1] for key, reason in rest.items() if reason.startswith("no")}
    assert unknown <= {"B_bias", "C_bias"}, "of mamba3, added to keys and queries"


@pytest.mark.parametrize("name", MODELS)
def test_every_matrix_tells_its_inputs(name: str) -> None:
    """Or GPTQ would round it to nearest, and nobody would know."""
    model = decoder(MODELS[name])
    with gathering(model) as found, torch.no_grad():
        model(tokens())
    rest = {key for key in matrices(model) if key not in found}
    assert rest == {"embedding.weight"}
    assert all(
        h.shape == (*w.shape[:-2], w.shape[-1], w.shape[-1])
        for key, h in found.items()
        if (w := matrices(model).get(key)) is not None
    )


def test_a_projection_is_told_what_it_is_multiplied_with() -> None:
    layer = nn.Linear(5, 3)
    first, second = torch.randn(2, 4, 5), torch.randn(7, 5)
    with gathering(layer) as found:
        layer(first), layer(second)
    x = torch.cat([first.flatten(0, 1), second]).double()
    assert torch.allclose(found["weight"], 2 * x.mT @ x)


def test_experts_have_the_inputs_of_their_own_tokens() -> None:
    model = decoder(ModelConfig("llama-moe", "1L32D4H"))
    moe = next(part for part in model.modules() if isinstance(part, MoE))
    x = torch.randn(2, 9, 32)
    told = moe.products(x)
    assert sum(map(len, told["up"])) == sum(map(len, told["down"])) == 18
    shares = (x @ moe.router.mT).softmax(-1)
    y = torch.zeros_like(x)
    for expert, inner in enumerate(told["down"]):
        mine = shares.argmax(-1) == expert
        y[mine] = inner @ moe.down[expert].mT * shares[mine].amax(-1, keepdim=True)
    assert torch.allclose(y, moe(x, None, None)[0], atol=1e-5)


def test_the_latents_of_mla_are_the_inputs_of_keys_and_values() -> None:
    name = next(name for name in MODELS if "mla" in name)
    mixer = next(part for part in decoder(MODELS[name]).modules() if isinstance(part, MLA))
    x = torch.randn(2, 9, 32)
    latent = mixer.products(x, None, None)["up_v.weight"]
    with torch.no_grad():
        mixer.down.weight[: mixer.widths[0]] = 0  # all scores are 0, so that a token sees the mean of the values
        means = mixer.up_v(latent).cumsum(1) / torch.arange(1, 10)[:, None]
        assert torch.allclose(mixer(x, None, None)[0], mixer.out(means), atol=1e-4)


def test_a_tied_matrix_is_quantized_once_as_the_embedding() -> None:
    model = decoder(dataclasses.replace(MODELS["llama-rope-ABCD"], tied=True))
    before = model.embedding.weight.detach().clone()
    assert "head.weight" not in matrices(model)
    quantize(model, QuantizationConfig(3), batches)
    assert model.head.weight is model.embedding.weight
    assert torch.equal(model.embedding.weight, nearest(before, 3))


def test_later_matrices_see_what_earlier_ones_have_become() -> None:
    model = decoder(ModelConfig("llama-rope", "2L32D4H"))
    head = model.head.weight.detach().clone()
    quantize(model, QuantizationConfig(2), batches)
    with gathering(model.head) as found, torch.no_grad():
        for ids, _ in batches():
            model(ids)
    assert torch.equal(gptq(head, found["weight"], 2), model.head.weight)


def test_equal_meaning_is_equal() -> None:
    assert QuantizationConfig(0, "nearest", 5) == QuantizationConfig()
    assert QuantizationConfig(4, "nearest", 5) == QuantizationConfig(4, "nearest")
    assert QuantizationConfig(4, "gptq", 5) != QuantizationConfig(4)
    assert QuantizationConfig().plain() == {}
    assert QuantizationConfig(4, "nearest").plain() == {"bits": 4, "method": "nearest"}
    assert QuantizationConfig(4).plain() == {"bits": 4, "method": "gptq", "windows": 128}
