"""What is counted of a training step's memory without taking it, against what autograd really keeps."""

import contextlib
import dataclasses
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from canonlab.models.config import ModelConfig
from canonlab.models.decoder import Decoder, DecoderConfig
from canonlab.models.memory import Activations, activations
from canonlab.models.mixers.base import Mixer

BATCH, CONTEXT = 2, 64


def really_saved(config: DecoderConfig, autocast: AbstractContextManager[Any]) -> int:
    """Bytes of the storages that autograd saves, the parameters' aside, of a step with real tensors."""
    model = Decoder(config)
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    ids = torch.zeros(BATCH, CONTEXT, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with autocast:
            logits = model(ids).logits
        F.cross_entropy(logits.float().flatten(0, 1), ids.flatten(), reduction="sum")
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in weights)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "model", ["llama-rope", "llama-alibi", "gpt2-rope", "gla", "mamba2-mlp", "gdn", "gdn,llama-rope"]
)
def test_it_is_what_autograd_keeps(model: str, precision: str) -> None:
    config = ModelConfig(model=model, size="4L64D", canon="ACD").decoder(30)
    autocast = torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
    counted = activations(config, BATCH, CONTEXT, autocast)
    assert counted and counted.kept == pytest.approx(really_saved(config, autocast), rel=0.05)


def test_more_windows_and_layers_keep_more() -> None:
    def count(layers: int, batch: int) -> Activations:
        config = ModelConfig(model="llama-rope", size="2L64D").decoder(30)
        found = activations(dataclasses.replace(config, layers=layers), batch, CONTEXT, contextlib.nullcontext())
        assert found
        return found

    one, two, deep = count(2, 1), count(2, 2), count(200_000, 1)
    assert 1.7 * one.kept < two.kept <= 2 * one.kept
    assert deep.kept - one.kept == (200_000 - 2) * one.block and deep.block == one.block


class NeedsNumbers(Mixer):
    """A mixer that looks at its input's values."""

    @dataclasses.dataclass(frozen=True)
    class Config:
        width: int

    def forward(self, x: torch.Tensor, segment_ids: Any, state: Any) -> tuple[torch.Tensor, Any]:
        return x * float(x.detach().numpy().sum()), state

    def __init__(self, config: Config, canon: Any) -> None:
        super().__init__()


def test_a_kernel_that_needs_real_tensors_is_not_guessed() -> None:
    config = ModelConfig(model="llama-rope", size="1L64D").decoder(30)
    (block,) = config.pattern
    own = dataclasses.replace(block, mixer=dataclasses.replace(block.mixer, cls=NeedsNumbers, arguments={}))
    assert activations(dataclasses.replace(config, pattern=(own,)), 1, CONTEXT, contextlib.nullcontext()) is None
