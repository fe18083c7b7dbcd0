"""Running any model: what it predicts, token by token, under teacher forcing, and what it writes after prompts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

from canonlab.errors import InputError, require_integer
from canonlab.sampling import longest, sample
from canonlab.tasks.base import Generate, Model, Task

Predict = Callable[[np.ndarray], np.ndarray]
"""Tokens (batch, time) -> predictions (batch, time): entry t is made from the tokens before t, and is -1 at t = 0."""


@contextmanager
def predictor(model: Model, vocabulary_size: int) -> Iterator[Predict]:
    """Yield the function from tokens to the model's most likely tokens (argmax over the whole vocabulary).

    A module runs where its parameters are, in eval mode, and gets its former mode back; any other callable gets ids on
    the CPU. InputError when the logits' shape is not (batch, time, vocabulary size or, if padded, more).
    """
    with forward(model, vocabulary_size) as logits_of:

        def predict(tokens: np.ndarray) -> np.ndarray:
            best = logits_of(tokens)[:, :-1].argmax(dim=-1).cpu().numpy()
            return np.pad(best, ((0, 0), (1, 0)), constant_values=-1)

        yield predict


@contextmanager
def forward(model: Model, vocabulary_size: int) -> Iterator[Callable[[np.ndarray], Tensor]]:
    """Yield the function from tokens (batch, time) to logits (batch, time, vocabulary). Model and errors as above."""
    with in_eval_mode(model) as device:

        @torch.inference_mode()
        def logits(tokens: np.ndarray) -> Tensor:
            ids = torch.from_numpy(tokens.astype(np.int64)).to(device)
            return checked_logits(model(ids), (*tokens.shape, vocabulary_size))

        yield logits


@contextmanager
def generator(model: Model, vocabulary_size: int, generate: Generate | None = None) -> Iterator[Generate]:
    """Yield `generate`, or when there is none the same from the logits: a pass over all tokens for each new one.

    Prompts are padded on the right, where a causal model can't see it. Model and errors as for `predictor`.
    """
    if generate is not None:
        yield generate
        return
    with in_eval_mode(model) as device:
        yield partial(_recompute, lambda ids: checked_logits(model(ids.to(device)), (*ids.shape, vocabulary_size)))


@torch.inference_mode()
def _recompute(
    logits_of: Callable[[Tensor], Tensor],
    prompts: Sequence[Sequence[int]],
    max_new: int,
    stop: int | None = None,
    *,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[list[int]]:
    """See tasks.base.Generate; `logits_of` takes ids (batch, time) int64 on the CPU."""
    width = longest(prompts)
    rows, ends = torch.arange(len(prompts)), torch.tensor([len(prompt) for prompt in prompts])
    ids = torch.zeros(len(prompts), width + max_new, dtype=torch.int64)
    for row, prompt in zip(ids, prompts, strict=True):
        row[: len(prompt)] = torch.as_tensor(prompt)

    def logits_after(new: list[Tensor]) -> Tensor:
        last = ends + len(new) - 1
        if new:
            ids[rows, last] = new[-1]
        return logits_of(ids[:, : width + len(new)])[rows, last]

    return sample(logits_after, prompts, max_new, stop, temperature, seed)


@contextmanager
def in_eval_mode(model: Model) -> Iterator[torch.device]:
    """Put a module into eval mode for a while; the device that the model takes ids on."""
    module = model if isinstance(model, nn.Module) else None
    state = next(chain(module.parameters(), module.buffers()), None) if module else None
    modes = {part: part.training for part in module.modules()} if module else {}
    try:
        if module:
            module.eval()
        yield torch.device("cpu") if state is None else state.device
    finally:
        for part, training in modes.items():
            part.training = training


def checked_logits(output: object, shape: tuple[int, ...]) -> Tensor:
    """The logits in a model's output, checked."""
    logits = getattr(output, "logits", output)
    if not isinstance(logits, Tensor):
        raise InputError(f"the model gave a {type(logits).__name__}: must be logits or have them as .logits")
    found = tuple(logits.shape)
    if len(found) != 3 or found[:2] != shape[:2] or found[2] < shape[2]:
        raise InputError(f"the model's logits have shape {found}: must be {shape} (batch, time, vocabulary)")
    return logits


def evaluation_batches(task: Task, seed: int, windows: int, batch: int) -> Iterator[np.ndarray]:
    """The tokens of the first `windows` windows of the evaluation stream, `batch` at a time."""
    require_integer("windows", windows, 1)
    require_integer("batch", batch, 1)
    for start in range(0, windows, batch):
        yield task.windows(seed, start, min(batch, windows - start), "eval").tokens
