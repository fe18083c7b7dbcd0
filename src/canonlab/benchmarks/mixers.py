"""How fast each family trains beside attention, how its cost grows with the length of the sequence, and what computes
its recurrence fastest."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from canonlab.benchmarks.train import Step, best_times
from canonlab.models.config import ModelConfig
from canonlab.models.cost import cost
from canonlab.models.mixers import linear, mamba2
from canonlab.models.table import REFERENCE, VOCABULARY
from canonlab.training.backend import resolve_backend
from canonlab.training.config import BackendConfig

Row = dict[str, Any]
Form = Callable[..., tuple[Tensor, Tensor]]

LINEAR = (
    *("gla", "gla5", "mamba2-mlp", "mamba2", "mamba3", "gdn", "gdn-wide", "gdn2", "kda", "deltaproduct", "rwkv7"),
    "swa",
)
OTHERS = ("llama-alibi", "llama-halibi", "llama-gated", "mla", "gpt2-rope", "llama-moe")
LENGTHS = (512, 1024, 2048, 4096, 8192)
STATES = ((16, 25, 4, 4, 16), (8, 192, 4, 8, 16), (4, 512, 4, 16, 64), (4, 512, 4, 64, 64), (4, 512, 4, 64, 128))
"""Batch, positions, heads, key and value width of a head: the first two are of miniatures."""


def bench_mixers(threads: int = 1, rounds: int = 5) -> dict[str, list[Row]]:
    """Tables: forward and backward of 8L512D on 1 x 512 tokens, fp32, eager; and of 2L512D from 512 to 8192 tokens."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        families = _families(threads, rounds)
        growth = [_growth(model, threads) for model in (REFERENCE, *LINEAR)]
        recurrences = [_recurrences(shape, rounds) for shape in STATES]
    finally:
        torch.set_num_threads(before)
    return {
        f"forward and backward, 8L512D, 1 x 512 tokens, fp32, {threads} thread(s)": families,
        f"microseconds a token, forward and backward, 2L512D, fp32, {threads} thread(s)": growth,
        "milliseconds of a recurrence, forward and backward, by chunks in PyTorch and by compiled loops": recurrences,
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


def _recurrences(shape: tuple[int, int, int, int, int], rounds: int) -> Row:
    batch, time, heads, keys, values = shape
    q, k = (torch.nn.functional.normalize(torch.randn(batch, time, heads, keys), dim=-1) for _ in range(2))
    v, log_decay = torch.randn(batch, time, heads, values), -torch.rand(batch, time, heads, keys)
    delta = {"read_BTHK": k}
    cases: dict[str, tuple[tuple[Form, Form], tuple[Any, ...], dict[str, Tensor]]] = {
        "gla": ((linear.chunked, linear.stepped), (q, k, v, log_decay), {}),
        "gdn": ((linear.chunked, linear.stepped), (q, k / 2, v, log_decay[..., 0]), delta),
        "kda": ((linear.chunked, linear.stepped), (q, k / 2, v, log_decay), delta),
        "rwkv7": ((linear.chunked, linear.stepped), (q, k, v, log_decay), delta | {"erase_BTHK": k / 2}),
        "mamba2": ((mamba2.chunked, mamba2.stepped), (q[:, :, 0], k[:, :, 0], v, log_decay[..., 0]), {}),
    }
    row: Row = {"batch x positions": f"{batch} x {time}", "heads": heads, "state": f"{keys} x {values}"}
    for name, (forms, inputs, more) in cases.items():
        times = best_times([_with_gradients(form, inputs, more) for form in forms], rounds)
        row |= {f"{name}, {kind}": 1e3 * seconds for kind, seconds in zip(("chunks", "loops"), times, strict=True)}
    return row


def _with_gradients(form: Form, inputs: tuple[Tensor, ...], more: dict[str, Tensor]) -> Callable[[], None]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    more = {name: x.clone().requires_grad_() for name, x in more.items()}

    def run() -> None:
        torch.autograd.grad(form(*leaves, **more)[0].sum(), [*leaves, *more.values()])

    return run
