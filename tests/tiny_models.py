"""Small decoders of every kind with weights far from their initial ones, and folders of them as imports are."""

import dataclasses
from pathlib import Path

import torch

from canonlab.files import write_json
from canonlab.hub.weights import save_weights, stored
from canonlab.models.config import ModelConfig
from canonlab.models.decoder import Decoder
from canonlab.models.presets import PRESETS
from canonlab.training.checkpoint import weights_hash

VOCABULARY = 17

SIZE = "2L32D4H"

MODELS: dict[str, ModelConfig] = {
    **{name: ModelConfig(name, SIZE, tied=index % 2 == 0) for index, name in enumerate(PRESETS)},
    "llama-rope-ABCD": ModelConfig("llama-rope", SIZE, "ABCD", mixer={"kv_heads": 2, "qk_norm": True}, rope_base=500),
    "llama-moe-AC": ModelConfig("llama-moe", SIZE, "AC", tied=True),
    "gla5-ABCD": ModelConfig("gla5", SIZE, "ABCD", canon_activation=True, canon_kernel=3),
    "gdn-wide-ABCD": ModelConfig("gdn-wide", SIZE, "ABCD", canon_residual=False, tied=True),
    "mamba2-AB": ModelConfig("mamba2", SIZE, "AB", norm_eps=0.01),
    "hybrid": ModelConfig("llama-alibi,gla5,mamba2-mlp", "3L32D4H", "AbCD", tied=True, canon_frozen=True),
    "hybrid-shared": ModelConfig("rwkv7,deltaproduct,rwkv7,kda,mamba3", "5L32D4H", "AbCD"),
    "canon-variants": ModelConfig(
        "mamba2,gdn", "3L32D4H", "AbCD", canon_dynamic=True, canon_gate=True, canon_layers="1-2", canon_across=True
    ),
    "hybrid-original": ModelConfig("mamba2,llama-rope", "3L32D4H", init_scale=2.0),
}
"""Every preset, tied and not in turn, with its own convolution where it has one; Canon sets; hybrids."""


def decoder(model: ModelConfig) -> Decoder:
    """Noise on every weight, so that no bias is 0 and no norm 1."""
    found = model.decoder(VOCABULARY).build(seed=1).eval()
    noise = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=noise)
    return found


def imported(folder: Path, model: ModelConfig) -> Path:
    """A folder as `canonlab import` writes it."""
    made = decoder(model)
    save_weights(folder / "model.safetensors", stored(made))
    words = {"model": dataclasses.asdict(model), "vocabulary": VOCABULARY, "source": "a test"}
    words["pattern"] = made.config.plain()["pattern"]
    about = {**words, "parameters": sum(p.numel() for p in made.parameters()), "weights_sha256": weights_hash(made)}
    write_json(folder / "model.json", about)
    return folder


def ids(rows: int = 3, time: int = 9) -> torch.Tensor:
    return torch.randint(VOCABULARY, (rows, time), generator=torch.Generator().manual_seed(3))
