"""Mamba2 against the independent implementation in transformers, with the same weights.

Needs the package transformers, which the development environment doesn't have: `make test-references`.
"""

import pytest
import torch

from canonlab.models.config import ModelConfig
from canonlab.models.decoder import Decoder

transformers = pytest.importorskip("transformers", reason="needs the package transformers")

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
VOCABULARY = 50


def pair(seed: int = 0) -> tuple[Decoder, torch.nn.Module]:
    """A decoder with random weights, time steps far from uniform, and the other implementation with a copy of them."""
    ours = ModelConfig(model="mamba2", size="2L64D1H", canon="b").decoder(VOCABULARY).build(seed)
    config = transformers.Mamba2Config(
        vocab_size=VOCABULARY,
        hidden_size=64,
        num_hidden_layers=len(ours.blocks),
        num_heads=16,
        head_dim=8,
        state_size=64,
        n_groups=1,
        chunk_size=32,
        tie_word_embeddings=False,
    )
    theirs = transformers.Mamba2ForCausalLM(config).eval()
    copied = {
        "backbone.embeddings.weight": ours.embedding.weight,
        "backbone.norm_f.weight": ours.norm.weight,
        "lm_head.weight": ours.head.weight,
    }
    with torch.no_grad():
        for i, block in enumerate(ours.blocks):
            mixer = block.mixer
            mixer.in_proj.weight.mul_(2)
            mixer.norm.weight.uniform_(0.5, 2)
            mixer.D.uniform_(-1, 2)
            layer = f"backbone.layers.{i}"
            copied[f"{layer}.norm.weight"] = block.mixer_norm.weight
            for name in ("in_proj.weight", "A_log", "dt_bias", "D", "norm.weight", "out_proj.weight"):
                copied[f"{layer}.mixer.{name}"] = mixer.get_parameter(name)
            copied[f"{layer}.mixer.conv1d.weight"] = mixer.conv.conv.weight.flip(0).T[:, None]  # oldest tap first
            copied[f"{layer}.mixer.conv1d.bias"] = mixer.conv.bias
    theirs.load_state_dict({name: tensor.detach().clone() for name, tensor in copied.items()}, strict=True)
    return ours, theirs


@pytest.mark.parametrize("time", [1, 31, 32, 64, 100, 257])
def test_logits(time):
    ours, theirs = pair()
    ids = torch.randint(VOCABULARY, (2, time), generator=torch.Generator().manual_seed(time))
    with torch.no_grad():
        torch.testing.assert_close(ours(ids).logits, theirs(ids, use_cache=False).logits, **CLOSE)


def test_gradients():
    ours, theirs = pair()
    ids = torch.randint(VOCABULARY, (2, 100), generator=torch.Generator().manual_seed(0))
    for logits in (ours(ids).logits, theirs(ids, use_cache=False).logits):
        logits.square().mean().backward()
    for block, layer in zip(ours.blocks, theirs.backbone.layers, strict=True):
        for name in ("in_proj.weight", "A_log", "dt_bias", "D", "norm.weight", "out_proj.weight"):
            found, wanted = block.mixer.get_parameter(name).grad, layer.mixer.get_parameter(name).grad
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
        taps = block.mixer.conv.conv.weight.grad.flip(0).T[:, None]
        torch.testing.assert_close(taps, layer.mixer.conv1d.weight.grad, rtol=1e-4, atol=1e-5)


def test_steps_after_a_prefill():
    ours, theirs = pair()
    ids = torch.randint(VOCABULARY, (2, 60), generator=torch.Generator().manual_seed(0))
    state = ours.init_state(2, 60)
    with torch.no_grad():
        expected = theirs(ids[:, :50], use_cache=True)
        found = ours(ids[:, :50], None, state).logits
        torch.testing.assert_close(found, expected.logits, **CLOSE)
        for t in range(50, 60):
            expected = theirs(ids[:, t : t + 1], cache_params=expected.cache_params, use_cache=True)
            torch.testing.assert_close(ours(ids[:, t : t + 1], None, state).logits, expected.logits, **CLOSE)
