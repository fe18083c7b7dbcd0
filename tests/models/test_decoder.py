"""The decoder: decoding, packing, padding and causality for every preset, hybrids and Canon sets, in float64."""

import copy
import dataclasses
import functools

import pytest
import torch
from torch._dynamo.utils import counters
from torch.func import functional_call, grad, jvp, stack_module_state, vmap

import transforms
from canonlab.canon import Canon
from canonlab.errors import InputError
from canonlab.models.check.subject import draw_zeros
from canonlab.models.config import ModelConfig
from canonlab.models.decoder import Decoder, DecoderState, tensors_of
from canonlab.models.mixers import softmax
from canonlab.models.presets import PRESETS

VOCABULARY = 11
TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}
HYBRIDS = ("mamba2,llama-rope", "gdn,llama-gated", "gdn,gla,gpt2-original", "mamba2-mlp,llama-moe")


def canon_sets(name: str) -> list[str]:
    """All kinds of Canon set that a model takes; for Llama, every point alone too."""
    presets = [PRESETS[part] for part in name.split(",")]
    every = "ABC" if any(preset.mlp == "moe" for preset in presets) else "ABCD"
    arguments = {field.name for preset in presets for field in dataclasses.fields(preset.mixer.Config)}
    beside = "KVOM" if all(hasattr(preset.mixer.Config, "parts") for preset in presets) else "OM"
    sets = ["none", every, beside, *(["original", every.replace("B", "b")] if "conv1d" in arguments else [])]
    return sets + (["A", "B", "C", "D", "AC", "K", "V", "O", "M"] if name == "llama-rope" else [])


@functools.cache
def build(name: str, canon: str, seed: int = 0, size: str = "2L32D4H") -> Decoder:
    """A model that all tests share: one that changes it takes a copy."""
    config = ModelConfig(model=name, size=size, canon=canon).decoder(VOCABULARY)
    model = config.build(seed).double().eval()
    for parameter in model.parameters():  # weights of trained size, so that mixing is far from uniform
        # All matrices, but not the taps of convolutions, nor biases of heads, which begin as ones.
        if parameter.ndim >= 2 and parameter.shape[0] > 8 and parameter.std() > 0:
            parameter.data.mul_(0.16 / parameter.data.std())
    return model.requires_grad_(False)


@pytest.fixture(
    params=[(name, canon) for name in (*PRESETS, *HYBRIDS) for canon in canon_sets(name)],
    ids=lambda pair: f"{pair[0]}-{pair[1]}",
)
def model(request: pytest.FixtureRequest) -> Decoder:
    return build(*request.param)


def tokens(batch: int, time: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(VOCABULARY, (batch, time), generator=torch.Generator().manual_seed(seed))


def test_cached_decoding_equals_the_full_forward(model: Decoder) -> None:
    ids = tokens(3, 89)  # more than one chunk of every mixer that has chunks
    full = model(ids).logits
    state = model.init_state(3, 96)
    parts = [model(chunk, None, state).logits for chunk in ids.split([7, 1, 1, 2, 66, 9, 1, 2], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), full, **TOLERANCE)


def test_packed_equals_separate(model: Decoder) -> None:
    ids = tokens(2, 19)
    segments = torch.tensor([[0] * 6 + [1] * 1 + [2] * 12] * 2)
    packed = model(ids, segments).logits
    separate = [model(part).logits for part in ids.split([6, 1, 12], dim=1)]
    torch.testing.assert_close(packed, torch.cat(separate, dim=1), **TOLERANCE)
    state = model.init_state(2, 19)
    cuts = [4, 5, 10]
    cached = [model(i, s, state).logits for i, s in zip(ids.split(cuts, 1), segments.split(cuts, 1), strict=True)]
    torch.testing.assert_close(torch.cat(cached, dim=1), packed, **TOLERANCE)


@pytest.mark.parametrize("batch", [1, 2])
def test_left_padding_changes_nothing(model: Decoder, batch: int) -> None:
    ids = tokens(batch, 9)
    plain = model(ids).logits
    padded = torch.cat([tokens(batch, 5, seed=1), ids], dim=1)
    segments = torch.tensor([[-1] * 5 + [0] * 9] * batch)
    full = model(padded, segments).logits
    assert torch.isfinite(full).all()
    torch.testing.assert_close(full[:, 5:], plain, **TOLERANCE)
    state = model.init_state(batch, 14)
    cached = [
        model(i, s, state).logits for i, s in zip(padded.split([8, 6], 1), segments.split([8, 6], 1), strict=True)
    ]
    torch.testing.assert_close(torch.cat(cached, dim=1)[:, 5:], plain, **TOLERANCE)


def test_no_token_changes_an_earlier_output(model: Decoder) -> None:
    ids = tokens(1, 12)
    before = model(ids).logits
    for changed in range(12):
        other = ids.clone()
        other[0, changed] = (ids[0, changed] + 1) % VOCABULARY
        after = model(other).logits
        torch.testing.assert_close(after[:, :changed], before[:, :changed], rtol=1e-12, atol=1e-12)
        assert not torch.equal(after[:, changed], before[:, changed])


def test_reordered_state_continues_the_other_rows(model: Decoder) -> None:
    ids = tokens(3, 10)
    state = model.init_state(3, 12)
    model(ids[:, :6], None, state)
    storage = [tensor.data_ptr() for tensor in tensors_of(state.blocks)]
    order = torch.tensor([2, 2, 0])
    state.reorder(order)
    assert [tensor.data_ptr() for tensor in tensors_of(state.blocks)] == storage
    continued = model(ids[:, 6:], None, state).logits
    expected = model(torch.cat([ids[order, :6], ids[:, 6:]], dim=1)).logits[:, 6:]
    torch.testing.assert_close(continued, expected, **TOLERANCE)


def test_every_weight_gets_a_gradient(model: Decoder) -> None:
    model = copy.deepcopy(model).train().requires_grad_(True)
    draw_zeros(model)  # behind which there would be no gradients at first
    output = model(tokens(2, 80), select=torch.ones(2, 80, dtype=torch.bool))
    loss = output.logits.square().sum()
    (loss if output.auxiliary is None else loss + output.auxiliary).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def test_half_precision_is_close(model: Decoder) -> None:
    model, ids = copy.deepcopy(model).float(), tokens(2, 80)
    segments = torch.tensor([[-1] * 5 + [0] * 40 + [1] * 35] * 2)
    exact, state = model(ids, segments).logits, model.init_state(2, 80)
    with torch.autocast("cpu", torch.bfloat16):
        whole = model(ids, segments).logits
        chunks = zip(ids.split([70, 1, 9], 1), segments.split([70, 1, 9], 1), strict=True)
        cached = torch.cat([model(chunk, ids, state).logits for chunk, ids in chunks], dim=1)
    for half in (whole, cached):
        error = (half.float() - exact)[:, 5:].norm() / exact[:, 5:].norm()
        assert error < 0.1


def test_a_full_state_refuses_more_before_writing() -> None:
    model = build("llama-rope", "ABCD")
    state = model.init_state(1, 4)
    model(tokens(1, 3), None, state)
    before = state.blocks[0]["mixer"]["k"].clone()
    with pytest.raises(InputError, match="max_len = 4"):
        model(tokens(1, 2), None, state)
    assert isinstance(state, DecoderState)
    assert torch.equal(state.blocks[0]["mixer"]["k"], before)
    assert state.position == 3


def test_select_is_a_gather_of_the_logits() -> None:
    model, ids = build("llama-rope", "ABCD"), tokens(2, 9)
    chosen = torch.rand(2, 9, generator=torch.Generator().manual_seed(3)) < 0.4
    torch.testing.assert_close(model(ids, select=chosen).logits, model(ids).logits[chosen], **TOLERANCE)


def test_weights_depend_on_the_seed_alone() -> None:
    config = ModelConfig(size="1L32D2H", canon="ABCD").decoder(VOCABULARY)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = config.build(1).state_dict()
    assert torch.equal(torch.rand(3), expected), "building must leave the global random state alone"
    second, third = config.build(1).state_dict(), config.build(2).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["embedding.weight"], third["embedding.weight"])


def test_blocks_take_turns_as_the_pattern_says() -> None:
    def mixers(model: str, size: str) -> list[str]:
        blocks = ModelConfig(model=model, size=size).decoder(VOCABULARY).build().blocks
        return [type(block.mixer).__name__ + ("" if block.mlp is None else "+MLP") for block in blocks]

    attention, mamba = "Attention+MLP", "Mamba2+MLP"
    assert mixers("mamba2-mlp,mamba2-mlp,llama-rope", "5L32D") == [mamba, mamba, attention, mamba, mamba]
    assert mixers("mamba2,llama-rope", "3L32D") == ["Mamba2", "Mamba2", attention, "Mamba2", "Mamba2"]


def test_a_tied_head_is_the_embedding() -> None:
    config = ModelConfig(model="mamba2-mlp", size="1L32D2H", tied=True).decoder(500)
    model = config.build()
    assert model.head.weight is model.embedding.weight
    assert model.head.weight.std().item() == pytest.approx(0.1, rel=0.05)


def spread(weight: torch.Tensor) -> float:
    return weight.detach().std().item()


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "rwkv7"])  # whose test says its own
def test_initial_weights_have_the_published_spread(name: str) -> None:
    width, vocabulary = 256, 500
    canon = next(canon for canon in canon_sets(name) if "A" in canon)
    model = ModelConfig(model=name, size="2L256D4H", canon=canon).decoder(vocabulary).build()
    default = name.startswith("mamba")  # PyTorch's: uniform in +-1/sqrt(inputs)
    assert spread(model.embedding.weight) == pytest.approx(0.1 if default else 0.02, rel=0.02)
    assert spread(model.head.weight) == pytest.approx((3 * width) ** -0.5 if default else 0.02, rel=0.02)
    for path, module in model.named_modules():
        if isinstance(module, Canon) and "conv" not in path:
            assert module.weight.abs().max() <= 0.5  # uniform in +-1/sqrt(4)
            assert spread(module.weight) == pytest.approx(1 / 12**0.5, rel=0.05)
        if path.endswith("norm"):
            assert torch.equal(module.weight, torch.ones_like(module.weight))
            assert not getattr(module, "bias", torch.zeros(1)).any()
        if isinstance(module, torch.nn.Linear) and path.startswith("blocks."):
            rank = {"gla": 16, "gla5": 16, "gdn-wide": 16, "kda": 64, "gdn2": 64}.get(name)
            low_rank = rank in (module.in_features, module.out_features)
            plain = (0.02 / rank**0.5) ** 0.5 if rank and low_rank else 0.02
            expected = (3 * module.in_features) ** -0.5 if default else plain
            assert spread(module.weight) == pytest.approx(expected, rel=0.05), path
            assert module.bias is None or not module.bias.any()


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["llama-rope", "llama-alibi", "llama-moe", "gla", "gdn", "mamba2"])
def test_a_decoder_under_transforms(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed rows: each one's gradient, a derivative along all weights, an ensemble, and what is traced or exported."""
    monkeypatch.setattr(softmax, "BLOCK", 4)
    model, other = (build(name, "A", seed, "1L16D2H").train() for seed in range(2))
    ids, segments = tokens(2, 9), torch.tensor([[0] * 5 + [1] * 4, [-1] * 2 + [0] * 7])
    weights = dict(model.named_parameters())

    def logits(weights: dict[str, torch.Tensor], ids: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
        return functional_call(model, weights, (ids, segments)).logits

    def loss(weights: dict[str, torch.Tensor], ids: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
        return logits(weights, ids[None], segments[None]).logsumexp(-1).square().sum()

    leaves = {key: weight.clone().requires_grad_() for key, weight in weights.items()}
    rows = [loss(leaves, *row) for row in zip(ids, segments, strict=True)]
    expected = [dict(zip(leaves, torch.autograd.grad(row, list(leaves.values())), strict=True)) for row in rows]
    found = vmap(grad(loss), (None, 0, 0))(weights, ids, segments)
    slope = jvp(lambda weights: loss(weights, ids[0], segments[0]), (weights,), (weights,))[1]
    for key, weight in found.items():
        torch.testing.assert_close(weight, torch.stack([row[key] for row in expected]), **TOLERANCE)
    torch.testing.assert_close(slope, sum((expected[0][key] * weights[key]).sum() for key in weights), **TOLERANCE)

    stacked, _ = stack_module_state([model, other])
    outputs = model(ids, segments).logits
    ensemble = vmap(logits, (0, None, None))(stacked, ids, segments)
    torch.testing.assert_close(ensemble, torch.stack([outputs, other(ids, segments).logits]), **TOLERANCE)
    exported, graph = transforms.exported(lambda *inputs: model(*inputs).logits, (ids, segments))
    traced = torch.jit.trace(lambda *inputs: model(*inputs).logits, (ids, segments), check_trace=False)
    assert "canonlab" not in graph and "canonlab::" not in str(traced.inlined_graph)
    for again in (exported, traced(ids, segments)):
        torch.testing.assert_close(again, outputs, **TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "kinds"), [("llama-rope", 1), ("mamba2,gpt2-rope", 2)])
@pytest.mark.parametrize("canon", ["none", "ABCD"])
def test_compiled_blocks_equal_eager_ones_and_share_a_graph(model: str, kinds: int, canon: str) -> None:
    config = ModelConfig(model=model, size="3L64D2H", canon=canon).decoder(VOCABULARY)
    eager, compiled = config.build(), config.build()
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(4))
    except Exception as error:
        pytest.skip(f"torch.compile does not work here: {error}")
    torch._dynamo.reset()
    counters.clear()
    compiled.compile_blocks()
    ids = tokens(2, 40)
    gradients = []
    for decoder in (eager, compiled):
        decoder(ids).logits.square().sum().backward()
        gradients.append({name: p.grad for name, p in decoder.named_parameters()})
    for name, expected in gradients[0].items():
        assert (gradients[1][name] - expected).norm() <= 1e-4 * expected.norm(), name
    assert counters["stats"]["unique_graphs"] == kinds
    assert not counters["graph_break"]
