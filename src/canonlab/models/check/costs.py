"""What a mixer costs beside built-in ones: counted, and measured on this machine."""

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from canonlab.checks import MOST_ROUNDS, seconds_since
from canonlab.errors import InputError
from canonlab.models.config import ModelConfig
from canonlab.models.decoder import Decoder
from canonlab.models.mixers.base import Mixer
from canonlab.models.mixers.implementations import available
from canonlab.models.table import CONTEXT, VOCABULARY, model_rows

PEERS = ("llama-rope", "gla", "mamba2-mlp", "gdn")
"""One of each family."""

BATCH, TIME, STEPS = 4, 256, 16
"""Rows and tokens of a training step, and the tokens that a measurement of decoding takes."""

ROUNDS, SECONDS = 3, 0.15
"""Each speed is the best of ROUNDS turns, and a turn lasts SECONDS at least."""

Row = dict[str, Any]


def costs(model: ModelConfig, device: str = "cpu") -> list[Row]:
    """The model, then each of the built-in ones that exists at its size, measured on `device`.

    Keys: `model`, those of `table.model_rows`, `training_tokens_per_second` (forward and backward, single precision,
    eager, the framework's threads) and `decoding_tokens_per_second` (BATCH rows at once); None where there is no state.
    Models take turns, so that other work on the machine slows all of them alike.
    """
    rows, built = [], []
    others = [ModelConfig(name, model.size) for name in PEERS if name != model.model]
    for config in [model, *others]:
        try:
            (row,) = model_rows(config, [config.size], VOCABULARY, CONTEXT, device)
        except InputError:
            if config is model:
                raise
            continue
        rows.append({"model": config.model, **row})
        built.append(_as_trained(config.decoder(VOCABULARY).build(), device))
    training = _rates([_training(decoder, device) for decoder in built], BATCH * TIME, device)
    decodes = [row["state_bytes_per_layer"] is not None for row in rows]
    actions = [_decoding(decoder, device) for decoder, can in zip(built, decodes, strict=True) if can]
    decoding = iter(_rates(actions, BATCH * STEPS, device))
    for row, rate, can in zip(rows, training, decodes, strict=True):
        row |= {"training_tokens_per_second": rate, "decoding_tokens_per_second": next(decoding) if can else None}
    return rows


SHOWN = {
    "model": "model",
    "without_embedding": "parameters",
    "flops_per_token": "FLOPs per token",
    "state_bytes_per_layer": "state bytes per layer",
    "training_tokens_per_second": "training tokens/s",
    "decoding_tokens_per_second": "decoding tokens/s",
}


def readable(rows: list[Row]) -> list[Row]:
    """Rows for a terminal."""
    return [{shown: row[key] for key, shown in SHOWN.items()} for row in rows]


def summary(rows: list[Row]) -> str:
    """The first row in words, against the second."""
    first, second = rows[:2]
    words = [f"{first['without_embedding']:,} parameters"]
    for what in ("training", "decoding"):
        key = f"{what}_tokens_per_second"
        if first[key] is not None:
            words.append(f"{what} {first[key] / second[key]:.2f} x {second['model']}")
    return ", ".join(words)


def _as_trained(model: Decoder, device: str) -> Decoder:
    """The model on the device, its linear mixers computed as a training there would have it."""
    for module in model.modules():
        if isinstance(module, Mixer):
            module.implementation = available(device)[-1]
    return model.to(device)


def _training(model: Decoder, device: str) -> Callable[[], object]:
    ids = torch.randint(VOCABULARY, (BATCH, TIME), generator=torch.Generator().manual_seed(0)).to(device)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        logits = model.train()(ids).logits
        F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()

    return step


def _decoding(model: Decoder, device: str) -> Callable[[], object]:
    ids = torch.zeros(BATCH, 1, dtype=torch.int64, device=device)

    @torch.inference_mode()
    def write() -> None:
        state = model.eval().init_state(BATCH, STEPS)
        for _ in range(STEPS):
            model(ids, None, state)

    return write


def _rates(actions: list[Callable[[], object]], tokens: int, device: str) -> list[int]:
    """Tokens/s of each action; one call of it takes `tokens`."""
    best = [0.0] * len(actions)
    for turn in range(ROUNDS + 1):
        for i, action in enumerate(actions):
            began, count = time.perf_counter(), 0
            while not count or (turn and seconds_since(began) < SECONDS and count < MOST_ROUNDS):  # turn 0 warms up
                action()
                torch.zeros((), device=device).item()  # waits for a GPU
                count += 1
            if turn:
                best[i] = max(best[i], count * tokens / seconds_since(began))
    return [round(rate) for rate in best]
