"""Running any model: what it predicts, token by token, under teacher forcing, and what it writes after prompts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canonlab.errors import InputError, require_integer
from canonlab.sampling import longest, sample
from canonlab.tasks.base import Generate, Model, Task, Windows
from canonlab.tasks.metrics import Metric, mean


class Taught(NamedTuple):
    """What a model makes of tokens (batch, time), each given those before it: entry t is about token t.

    `best` are the most likely tokens, `loss` is the loss of the true ones in nats (float64); at t = 0, which nothing
    precedes, -1 and 0.
    """

    best: np.ndarray
    loss: np.ndarray


Teach = Callable[[np.ndarray], Taught]

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
            return _before(logits_of(tokens)[:, :-1].argmax(dim=-1), -1)

        yield predict


@contextmanager
def teaching(model: Model, vocabulary_size: int) -> Iterator[Teach]:
    """Yield the function from tokens to what the model makes of them, losses too. Model and errors as above."""
    with forward(model, vocabulary_size) as logits_of:

        @torch.inference_mode()
        def taught(tokens: np.ndarray) -> Taught:
            logits = logits_of(tokens)[:, :-1]
            best = logits.argmax(dim=-1)
            true = torch.from_numpy(tokens[:, 1:].astype(np.int64)).to(logits.device)
            loss = F.cross_entropy(logits.float().flatten(0, 1), true.flatten(), reduction="none")
            return Taught(_before(best, -1), _before(loss.view_as(true).double(), 0))

        yield taught


def _before(entries: Tensor, first: int) -> np.ndarray:
    """Entries (batch, time - 1) about all tokens but the first ones, with `first` for these."""
    return np.pad(entries.cpu().numpy(), ((0, 0), (1, 0)), constant_values=first)


class Losses:
    """Sums losses by name and window: `metrics` are means per token with intervals over windows."""

    def __init__(self) -> None:
        self._sums: dict[str, list[np.ndarray]] = {}
        self._counts: dict[str, list[np.ndarray]] = {}

    def add(self, name: str, loss: np.ndarray, marks: np.ndarray) -> None:
        """Add the losses (batch, time) of windows where `marks` (batch, time) are not 0."""
        marked = marks != 0
        self._sums.setdefault(name, []).append(np.where(marked, loss, 0.0).sum(axis=1))
        self._counts.setdefault(name, []).append(marked.sum(axis=1))

    @property
    def metrics(self) -> dict[str, Metric]:
        """The mean loss of each name, in nats per token."""
        return {
            name: mean(np.concatenate(sums), np.concatenate(self._counts[name])) for name, sums in self._sums.items()
        }


def marked_loss(task: Task, model: Model, seed: int, windows: int, batch: int) -> dict[str, Metric]:
    """`loss` alone: of the marked tokens of the first windows of the evaluation stream."""
    found = Losses()
    with teaching(model, len(task.vocabulary)) as taught:
        for tokens, mask in evaluation_windows(task, seed, windows, batch):
            found.add("loss", taught(tokens).loss, mask)
    return found.metrics


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


def evaluation_windows(task: Task, seed: int, windows: int, batch: int) -> Iterator[Windows]:
    """The first `windows` windows of the evaluation stream, `batch` at a time."""
    require_integer("windows", windows, 1)
    require_integer("batch", batch, 1)
    for start in range(0, windows, batch):
        yield task.windows(seed, start, min(batch, windows - start), "eval")


def evaluation_batches(task: Task, seed: int, windows: int, batch: int) -> Iterator[np.ndarray]:
    """The tokens of these windows."""
    return (part.tokens for part in evaluation_windows(task, seed, windows, batch))
