"""The decoder: decoding, packing, padding and causality for every position type and Canon set, in float64."""

import pytest
import torch

from canonlab.errors import InputError
from canonlab.models.decoder import Decoder, DecoderState
from canonlab.models.positions import ROTATED_SHARES
from canonlab.models.presets import ModelConfig

CANON_SETS = ("none", "A", "B", "C", "D", "AC", "ABCD")
VOCABULARY = 11
TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}

every_model = pytest.mark.parametrize("canon", CANON_SETS)
every_position = pytest.mark.parametrize("position", ROTATED_SHARES)


def build(position: str, canon: str, seed: int = 0) -> Decoder:
    config = ModelConfig(model=f"llama-{position}", size="2L32D4H", canon=canon).decoder(VOCABULARY)
    model = config.build(seed).double().eval()
    for parameter in model.parameters():  # weights of trained size, so that attention is far from uniform
        parameter.data.mul_(8 if parameter.ndim == 2 and parameter.shape[0] > 8 else 1)
    return model.requires_grad_(False)


def tokens(batch: int, time: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(VOCABULARY, (batch, time), generator=torch.Generator().manual_seed(seed))


@every_position
@every_model
def test_cached_decoding_equals_the_full_forward(position: str, canon: str) -> None:
    model, ids = build(position, canon), tokens(3, 23)
    full = model(ids).logits
    state = model.init_state(3, 30)
    parts = [model(chunk, None, state).logits for chunk in ids.split([7, 1, 1, 2, 9, 1, 2], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), full, **TOLERANCE)


@every_position
@every_model
def test_packed_equals_separate(position: str, canon: str) -> None:
    model, ids = build(position, canon), tokens(2, 19)
    segments = torch.tensor([[0] * 6 + [1] * 1 + [2] * 12] * 2)
    packed = model(ids, segments).logits
    separate = [model(part).logits for part in ids.split([6, 1, 12], dim=1)]
    torch.testing.assert_close(packed, torch.cat(separate, dim=1), **TOLERANCE)
    state = model.init_state(2, 19)
    cuts = [4, 5, 10]
    cached = [model(i, s, state).logits for i, s in zip(ids.split(cuts, 1), segments.split(cuts, 1), strict=True)]
    torch.testing.assert_close(torch.cat(cached, dim=1), packed, **TOLERANCE)


@every_position
@every_model
@pytest.mark.parametrize("batch", [1, 2])
def test_left_padding_changes_nothing(position: str, canon: str, batch: int) -> None:
    model, ids = build(position, canon), tokens(batch, 9)
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


@every_position
@every_model
def test_no_token_changes_an_earlier_output(position: str, canon: str) -> None:
    model, ids = build(position, canon), tokens(1, 12)
    before = model(ids).logits
    for changed in range(12):
        other = ids.clone()
        other[0, changed] = (ids[0, changed] + 1) % VOCABULARY
        after = model(other).logits
        assert torch.equal(after[:, :changed], before[:, :changed])
        assert not torch.equal(after[:, changed], before[:, changed])


@every_model
def test_reordered_state_continues_the_other_rows(canon: str) -> None:
    model, ids = build("rope", canon), tokens(3, 10)
    state = model.init_state(3, 12)
    model(ids[:, :6], None, state)
    storage = state.blocks[0]["mixer"]["k"].data_ptr()
    order = torch.tensor([2, 2, 0])
    state.reorder(order)
    assert state.blocks[0]["mixer"]["k"].data_ptr() == storage
    continued = model(ids[:, 6:], None, state).logits
    expected = model(torch.cat([ids[order, :6], ids[:, 6:]], dim=1)).logits[:, 6:]
    torch.testing.assert_close(continued, expected, **TOLERANCE)


def test_a_full_state_refuses_more_before_writing() -> None:
    model = build("rope", "ABCD")
    state = model.init_state(1, 4)
    model(tokens(1, 3), None, state)
    copy = state.blocks[0]["mixer"]["k"].clone()
    with pytest.raises(InputError, match="max_len = 4"):
        model(tokens(1, 2), None, state)
    assert isinstance(state, DecoderState)
    assert torch.equal(state.blocks[0]["mixer"]["k"], copy)
    assert state.position == 3


def test_select_is_a_gather_of_the_logits() -> None:
    model, ids = build("rope", "ABCD"), tokens(2, 9)
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


def test_initial_weights_have_the_published_spread() -> None:
    model = ModelConfig(size="2L256D", canon="ABCD").decoder(500).build()
    for name, parameter in model.named_parameters():
        if "canon" in name:
            assert parameter.abs().max() <= 0.5  # uniform in +-1/sqrt(4)
            assert parameter.std().item() == pytest.approx(1 / 12**0.5, rel=0.05)
        elif "norm" in name:
            assert torch.equal(parameter, torch.ones_like(parameter))
        else:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.03)
            assert abs(parameter.mean().item()) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("canon", ["none", "ABCD"])
def test_compiled_blocks_equal_eager_ones(canon: str) -> None:
    config = ModelConfig(size="2L64D2H", canon=canon).decoder(VOCABULARY)
    eager, compiled = config.build(), config.build()
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(4))
    except Exception as error:
        pytest.skip(f"torch.compile does not work here: {error}")
    compiled.compile_blocks()
    ids = tokens(2, 40)
    gradients = []
    for model in (eager, compiled):
        model(ids).logits.square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, rtol=2e-4, atol=2e-5)
