"""What tasks that measure knowledge share: asking a model about people by prompts, and turning losses into bits."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from canonlab.tasks.base import Model
from canonlab.tasks.evaluation import checked_logits, in_eval_mode
from canonlab.tasks.metrics import Z95, Metric

PEOPLE = 8192
"""How many are asked about by default."""


class Questions(NamedTuple):
    """Prompts with their answers, as many of each person.

    `tokens` int32 (people, questions, time) are <eos>, the name, the rest of the prompt, the answer, and <eos>, which
    has the id 0, up to the end. A person's name is tokens 1 .. name - 1 of each question, `name` (people,); the answer
    to question q is tokens start[q] .. stop[q] - 1, both (people, questions). `first` (people, questions) is where the
    first part of each answer ends; None where answers have no parts.
    """

    tokens: NDArray[np.int32]
    name: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    first: NDArray[np.int64] | None = None


class Answers(NamedTuple):
    """By person: losses (nats) of the name (people,), of each answer and of its first part; whether answers are right.

    All but the first are (people, questions).
    """

    name: NDArray[np.float64]
    values: NDArray[np.float64]
    right: NDArray[np.bool_]
    first: NDArray[np.float64]


def answers(model: Model, ask: Callable[[int, int], Questions], people: int, at_once: int, vocabulary: int) -> Answers:
    """What `model` makes of the questions to people 0 .. people - 1 of a sample.

    Args:
        ask: from a place in the sample and a number of people to the questions to these.
        at_once: how many people's questions go through the model at once.
        vocabulary: how many tokens there are.
    """
    parts = []
    measure = with_prefix if hasattr(model, "init_state") else without_prefix
    with in_eval_mode(model) as device, torch.inference_mode():
        for first in range(0, people, at_once):
            parts.append(measure(model, ask(first, min(at_once, people - first)), vocabulary, device))
    return Answers(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def parameter_count(model: Model, vocabulary: int) -> int:
    """The parameters of a module, each tensor once; 0 for any other callable.

    Rows of an embedding beyond the vocabulary are not counted, nor those of a head with as many rows as it.
    """
    if not isinstance(model, nn.Module):
        return 0
    tensors = {id(p): p for p in model.parameters()}
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    padded = {e.num_embeddings for e in embeddings if e.num_embeddings > vocabulary}
    counted = 0
    for module in model.modules():
        if isinstance(module, nn.Embedding | nn.Linear) and len(module.weight) in padded:
            for p in (module.weight, getattr(module, "bias", None)):
                if p is not None and tensors.pop(id(p), None) is not None:
                    counted += p[:vocabulary].numel()
    return counted + sum(p.numel() for p in tensors.values())


def mean_bits(most: float, losses: NDArray[np.float64], people: int) -> Metric:
    """The mean of most - loss / ln 2 over a sample drawn without replacement from `people` people."""
    n = len(losses)
    value = most - float(losses.mean()) / math.log(2)
    half = 0.0 if n == people else math.nan
    if 1 < n < people:
        half = Z95 * float(losses.std(ddof=1)) / math.log(2) * math.sqrt((1 - n / people) / n)
    return Metric(value, None, n, value - half, value + half, n)


def scaled(metric: Metric, factor: float) -> Metric:
    value, low, high = (factor * number for number in (metric.value, metric.low, metric.high))
    return Metric(value, metric.right, metric.count, low, high, metric.clusters)


def without_prefix(model: Model, questions: Questions, vocabulary: int, device: torch.device) -> Answers:
    """The losses by one pass over every prompt with its answer."""
    people, each, time = questions.tokens.shape
    ids = torch.from_numpy(questions.tokens.reshape(-1, time)).to(device, torch.int64)
    logits = checked_logits(model(ids), (*ids.shape, vocabulary))
    at = np.arange(time)
    named = np.zeros((people, each, time), np.uint8)
    named[:, 0] = (at >= 1) & (at < questions.name[:, None])
    name, _, _ = _losses(logits, ids, named)
    return Answers(name[:, 0], *_losses(logits, ids, _answered(questions, at)))


def with_prefix(model: Any, questions: Questions, vocabulary: int, device: torch.device) -> Answers:
    """The same, for a model with a cached state: <eos> and the name go through it once for all questions of a person.

    Names are padded on the left with segment -1, which nothing sees.
    """
    people, each, time = questions.tokens.shape
    longest, shortest = int(questions.name.max()), int(questions.name.min())
    at = np.arange(longest) - (longest - questions.name)[:, None]
    names = np.where(at >= 0, np.take_along_axis(questions.tokens[:, 0], np.maximum(at, 0), axis=1), 0)
    ids = torch.from_numpy(names).to(device, torch.int64)
    segments = torch.from_numpy(np.where(at >= 0, 0, -1)).to(device)
    state = model.init_state(people, longest + time - shortest)
    logits = checked_logits(model(ids, segments, state), (*ids.shape, vocabulary))
    name, _, _ = _losses(logits, ids, (at >= 1).astype(np.uint8))
    last = logits[:, -1:].repeat_interleave(each, dim=0)
    state = state.repeat(each)
    rest = np.arange(time - shortest) + questions.name[:, None, None]
    tokens = np.take_along_axis(questions.tokens, np.minimum(rest, time - 1), axis=2).reshape(people * each, -1)
    ids = torch.from_numpy(tokens).to(device, torch.int64)
    logits = checked_logits(model(ids, torch.zeros_like(ids), state), (*ids.shape, vocabulary))
    # The name's last logits predict the first of these tokens.
    logits, ids = torch.cat([last, logits], dim=1), torch.cat([ids[:, :1], ids], dim=1)
    asked = np.pad(_answered(questions, rest), ((0, 0), (0, 0), (1, 0)))
    return Answers(name, *_losses(logits, ids, asked))


def _answered(questions: Questions, at: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Which of the positions `at` of each prompt are those of its answer: 1, or 2 in the answer's first part."""
    inside = (at >= questions.start[..., None]) & (at < questions.stop[..., None])
    first = questions.stop if questions.first is None else questions.first
    return inside.astype(np.uint8) + (inside & (at < first[..., None]))


def _losses(
    logits: Tensor, ids: Tensor, chosen: NDArray[np.uint8]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """By row: the summed losses of the chosen tokens, in nats, whether each is the likeliest, and those of the 2s.

    `chosen` (..., time) are as many rows as `ids` (rows, time), and results (...,) are in its shape. The loss of a
    token is that of the logits before it, over all that a model has, in double precision.
    """
    shape, chosen = chosen.shape[:-1], chosen.reshape(len(ids), -1)
    rows, columns = np.nonzero(chosen)
    rows_there, before = (torch.from_numpy(index).to(logits.device) for index in (rows, columns - 1))
    scores = logits[rows_there, before].double()
    target = ids[rows_there, before + 1]
    losses = nn.functional.cross_entropy(scores, target, reduction="none").cpu().numpy()
    wrong = (scores.argmax(-1) != target).cpu().numpy()
    first = np.where(chosen[rows, columns] == 2, losses, 0.0)

    def by_row(numbers: NDArray[Any]) -> NDArray[np.float64]:
        return np.bincount(rows, numbers, len(ids)).astype(np.float64).reshape(shape)

    return by_row(losses), by_row(wrong) == 0, by_row(first)
