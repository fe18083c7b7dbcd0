"""The Llama block against the independent implementation in transformers, with the same weights.

Needs the package transformers, which the development environment doesn't have: `make test-references`.
"""

import pytest
import torch

from canonlab.models.config import ModelConfig
from canonlab.models.decoder import Decoder

transformers = pytest.importorskip("transformers", reason="needs the package transformers")

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
VOCABULARY, WIDTH, HEADS, LAYERS = 50, 64, 4, 2


def pair(kv_heads: int) -> tuple[Decoder, torch.nn.Module]:
    """A decoder with weights of trained size, and the other implementation with a copy of them."""
    size = f"{LAYERS}L{WIDTH}D{HEADS}H"
    ours = ModelConfig("llama-rope", size, canon="none", mixer={"kv_heads": kv_heads}).decoder(VOCABULARY).build()
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=192,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=kv_heads or HEADS,
        rms_norm_eps=1e-6,
        rope_theta=10000.0,
        max_position_embeddings=512,
        tie_word_embeddings=False,
    )
    theirs = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            parameter.uniform_(0.5, 2) if "norm" in name else parameter.mul_(5)
    copied = {
        "model.embed_tokens.weight": ours.embedding.weight,
        "model.norm.weight": ours.norm.weight,
        "lm_head.weight": ours.head.weight,
    }
    for i, block in enumerate(ours.blocks):
        layer, mixer, mlp = f"model.layers.{i}", block.mixer, block.mlp
        copied[f"{layer}.input_layernorm.weight"] = block.mixer_norm.weight
        copied[f"{layer}.post_attention_layernorm.weight"] = block.mlp_norm.weight
        shared = WIDTH // HEADS * (kv_heads or HEADS)
        for name, weight in zip("qkv", mixer.qkv.weight.split([WIDTH, shared, shared]), strict=True):
            copied[f"{layer}.self_attn.{name}_proj.weight"] = weight
        copied[f"{layer}.self_attn.o_proj.weight"] = mixer.out.weight
        copied[f"{layer}.mlp.gate_proj.weight"], copied[f"{layer}.mlp.up_proj.weight"] = mlp.up.weight.chunk(2)
        copied[f"{layer}.mlp.down_proj.weight"] = mlp.down.weight
    theirs.load_state_dict({name: tensor.detach().clone() for name, tensor in copied.items()}, strict=True)
    return ours, theirs


@pytest.mark.parametrize("kv_heads", [0, 2, 1])
@pytest.mark.parametrize("time", [1, 100, 300])
def test_logits(time: int, kv_heads: int) -> None:
    ours, theirs = pair(kv_heads)
    ids = torch.randint(VOCABULARY, (2, time), generator=torch.Generator().manual_seed(time))
    with torch.no_grad():
        expected = theirs(ids, use_cache=False).logits
        torch.testing.assert_close(ours(ids).logits, expected, **CLOSE)
        state = ours.init_state(2, time)
        cached = torch.cat([ours(part, None, state).logits for part in ids.split(150, 1)], 1)
    torch.testing.assert_close(cached, expected, **CLOSE)
    assert expected.std() > 0.5, "logits should be far from uniform"


def test_gradients() -> None:
    ours, theirs = pair(kv_heads=2)
    ids = torch.randint(VOCABULARY, (2, 40), generator=torch.Generator().manual_seed(0))
    for model in (ours, theirs):
        model(ids).logits.log_softmax(-1)[..., 0].mean().backward()
    for i, block in enumerate(ours.blocks):
        attention = theirs.model.layers[i].self_attn
        expected = torch.cat([getattr(attention, f"{name}_proj").weight.grad for name in "qkv"])
        torch.testing.assert_close(block.mixer.qkv.weight.grad, expected, **CLOSE)
