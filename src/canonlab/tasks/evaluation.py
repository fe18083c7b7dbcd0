"""Running any model over windows: what it predicts, token by token, under teacher forcing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

from canonlab.errors import InputError, require_integer
from canonlab.tasks.base import Model, Task

Predict = Callable[[np.ndarray], np.ndarray]
"""Tokens (batch, time) -> predictions (batch, time): entry t is made from the tokens before t, and is -1 at t = 0."""


@contextmanager
def predictor(model: Model, vocabulary_size: int) -> Iterator[Predict]:
    """Yield the function from tokens to the model's most likely tokens (argmax over the whole vocabulary).

    A module runs where its parameters are, in eval mode, and gets its former mode back; any other callable gets ids on
    the CPU. InputError when the logits' shape is not (batch, time, vocabulary size or, if padded, more).
    """
    module = model if isinstance(model, nn.Module) else None
    state = next(chain(module.parameters(), module.buffers()), None) if module else None
    device = torch.device("cpu") if state is None else state.device
    modes = {part: part.training for part in module.modules()} if module else {}

    def predict(tokens: np.ndarray) -> np.ndarray:
        ids = torch.from_numpy(tokens.astype(np.int64)).to(device)
        with torch.inference_mode():
            logits = _logits(model(ids), (*tokens.shape, vocabulary_size))
            best = logits[:, :-1].argmax(dim=-1).cpu().numpy()
        return np.pad(best, ((0, 0), (1, 0)), constant_values=-1)

    try:
        if module:
            module.eval()
        yield predict
    finally:
        for part, training in modes.items():
            part.training = training


def _logits(output: object, shape: tuple[int, ...]) -> Tensor:
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
