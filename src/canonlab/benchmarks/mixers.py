"""How fast each family trains beside attention, and how its cost grows with the length of the sequence."""

from functools import partial
from typing import Any

import torch

from canonlab.benchmarks.train import Step, best_times
from canonlab.models.config import ModelConfig
from canonlab.models.cost import cost
from canonlab.models.table import REFERENCE, VOCABULARY
from canonlab.training.backend import resolve_backend
from canonlab.training.config import BackendConfig

Row = dict[str, Any]

LINEAR = ("gla", "gla5", "mamba2-mlp", "mamba2", "gdn", "gdn2")
OTHERS = ("llama-alibi", "llama-halibi", "gpt2-rope", "llama-moe")
LENGTHS = (512, 1024, 2048, 4096, 8192)


def bench_mixers(threads: int = 1, rounds: int = 5) -> dict[str, list[Row]]:
    """Tables: forward and backward of 8L512D on 1 x 512 tokens, fp32, eager; and of 2L512D from 512 to 8192 tokens."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        families = _families(threads, rounds)
        growth = [_growth(model, threads) for model in (REFERENCE, *LINEAR)]
    finally:
        torch.set_num_threads(before)
    return {
        f"forward and backward, 8L512D, 1 x 512 tokens, fp32, {threads} thread(s)": families,
        f"microseconds a token, forward and backward, 2L512D, fp32, {threads} thread(s)": growth,
    }


def _families(threads: int, rounds: int) -> list[Row]:
    """All families taking turns, so that a change of the machine's speed meets them alike."""
    variants = [(model, "original") for model in (REFERENCE, *LINEAR, *OTHERS)]
    variants += [(model, "AbCD") for model in ("mamba2-mlp", "gdn")] + [(REFERENCE, "ABCD"), ("gla", "ABCD")]
    steps = [_step("8L512D", model, canon, threads, 512) for model, canon in variants]
    times = best_times([step.forward_backward for step in steps], rounds)
    rows = []
    for (model, canon), seconds in zip(variants, times, strict=True):
        decoder = ModelConfig(model, "8L512D", canon).decoder(VOCABULARY)
        rows.append(
            {
                "model": model,
                "canon": canon,
                "parameters": cost(decoder, 512).parameters,
                "tokens/s": round(512 / seconds),
                f"of {REFERENCE}": times[0] / seconds,
            }
        )
    return rows


def _growth(model: str, threads: int) -> Row:
    row: Row = {"model": model}
    for length in LENGTHS:
        step = _step("2L512D", model, "original", threads, length)
        (seconds,) = best_times([partial(step.forward_backward)], 2)
        row[f"{length} tokens"] = 1e6 * seconds / length
    return row


def _step(size: str, model: str, canon: str, threads: int, tokens: int) -> Step:
    backend, _ = resolve_backend(BackendConfig("cpu", "fp32", "off", threads), 512)
    return Step(size, canon, backend, 1, tokens, model)
