"""How many bits a model knows about the people. Source: arXiv 2404.05405, definitions 4.1 and 4.3.

With N people, N0 names and S0 combinations of values, p1 the mean loss (nats) of a name right after <eos> and p2 the
mean over people of the summed losses of the six values, each asked for by itself (see `questions`):

    bits = N log2(N0 / e^p1) + N log2(S0 / e^p2)

A model that knows the lists that names and values come from, but not the people, has 0 bits, and one that doesn't even
know the lists fewer: neither is knowledge. A model that knows all has the bits at which R = R_max.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from canonlab.errors import require_integer, require_seed
from canonlab.tasks.base import Evaluation, Model
from canonlab.tasks.capo.lengths import mean
from canonlab.tasks.capo.pieces import EOS
from canonlab.tasks.capo.questions import ASKED, QUESTIONS, Questions, ask
from canonlab.tasks.capo.words import DATES, N0, PRONOUNS, S0, SIZES
from canonlab.tasks.evaluation import checked_logits, in_eval_mode, marked_loss
from canonlab.tasks.metrics import Z95, Metric, share

if TYPE_CHECKING:
    from canonlab.tasks.capo.task import Capo

PEOPLE = 8192
"""How many are asked about by default."""

KINDS = (DATES, *(SIZES[values] for values in ("cities", "universities", "majors", "employers")), len(PRONOUNS))
"""How many values each question has."""


class Answers(NamedTuple):
    """By person: losses (nats) of the name (people,) and of each asked value (people, 6); whether values are right."""

    name: NDArray[np.float64]
    values: NDArray[np.float64]
    right: NDArray[np.bool_]


def evaluate(task: "Capo", model: Model, *, seed: int, windows: int | None = None, batch: int = 32) -> Evaluation:
    """What `model` knows about the people of `seed`, from a keyed sample of them, with its standard error.

    Metrics, in bits about all N people: `bits`, and its parts `bits_names` and `bits_values`; `bits_per_parameter`, the
    headline, where the model is a module; by attribute, in bits about one person, `bits_<attribute>`; the share of
    people whose value is right, each token the most likely one, `accuracy_<attribute>`; `loss`, in nats per marked
    token of windows that show as many people. Notes: N, people asked about, p1, p2, and, where parameters are known,
    parameters and r_max.

    Args:
        windows: as many people are asked about as this many windows show; 8192 by default, at most all.
        batch: how many windows' worth of tokens go through the model at once, about.
    """
    require_seed(seed)
    require_integer("batch", batch, 1)
    if windows is not None:
        require_integer("windows", windows, 1)
    people = PEOPLE if windows is None else round(windows * _people_in_a_window(task))
    people = min(task.N, max(1, people))
    name, values, right = _answers(task, model, seed, people, batch)
    metrics = _metrics(task.N, name, values)
    for attribute, hits in zip(ASKED, right.T, strict=True):
        metrics[f"accuracy_{attribute}"] = share(int(hits.sum()), people)
    metrics |= marked_loss(task, model, seed, windows or task.default_windows, batch)
    notes: dict[str, float] = {"N": task.N, "people": people}
    notes |= {"p1": float(name.mean()), "p2": float(values.sum(axis=1).mean())}
    parameters = parameter_count(model, len(task.vocabulary))
    if not parameters:
        return Evaluation(metrics, ("bits",), notes)
    metrics = {"bits_per_parameter": _scaled(metrics["bits"], 1 / parameters), **metrics}
    notes |= {"parameters": parameters, "r_max": most_bits(task.N) / parameters}
    return Evaluation(metrics, ("bits_per_parameter", "bits"), notes)


def _people_in_a_window(task: "Capo") -> float:
    return task.context / mean(task.lengths)


def windows_of(task: "Capo", people: int) -> int:
    """How many windows it takes to show that many people, about."""
    return math.ceil(people / _people_in_a_window(task))


def most_bits(people: int) -> float:
    """The bits of a model that knows everything about that many people."""
    return people * math.log2(N0 / people) + people * math.log2(S0)


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


def _metrics(people: int, name: NDArray[np.float64], values: NDArray[np.float64]) -> dict[str, Metric]:
    """The bits about all people and, by attribute, about one, from the losses of a sample."""
    parts = {"bits": name + values.sum(axis=1), "bits_names": name, "bits_values": values.sum(axis=1)}
    most = {"bits": math.log2(N0) + math.log2(S0), "bits_names": math.log2(N0), "bits_values": math.log2(S0)}
    found = {part: _scaled(_mean_bits(most[part], losses, people), people) for part, losses in parts.items()}
    by_attribute = (_mean_bits(math.log2(kinds), losses, people) for kinds, losses in zip(KINDS, values.T, strict=True))
    return found | {f"bits_{attribute}": metric for attribute, metric in zip(ASKED, by_attribute, strict=True)}


def _mean_bits(most: float, losses: NDArray[np.float64], people: int) -> Metric:
    """The mean of most - loss / ln 2 over a sample drawn without replacement from `people` people."""
    n = len(losses)
    value = most - float(losses.mean()) / math.log(2)
    half = 0.0 if n == people else math.nan
    if 1 < n < people:
        half = Z95 * float(losses.std(ddof=1)) / math.log(2) * math.sqrt((1 - n / people) / n)
    return Metric(value, None, n, value - half, value + half, n)


def _scaled(metric: Metric, factor: float) -> Metric:
    value, low, high = (factor * number for number in (metric.value, metric.low, metric.high))
    return Metric(value, metric.right, metric.count, low, high, metric.clusters)


def _answers(task: "Capo", model: Model, seed: int, people: int, batch: int) -> Answers:
    """The losses of the first `people` people of the sample."""
    parts = []
    with in_eval_mode(model) as device, torch.inference_mode():
        for first, count in _chunks(people, max(1, batch * task.context // (QUESTIONS * task.law.longest))):
            questions = ask(task.stream_key(seed), task.law, first, count)
            measure = with_prefix if hasattr(model, "init_state") else without_prefix
            parts.append(measure(model, questions, len(task.vocabulary), device))
    return Answers(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _chunks(total: int, size: int) -> Iterator[tuple[int, int]]:
    for first in range(0, total, size):
        yield first, min(size, total - first)


def without_prefix(model: Model, questions: Questions, vocabulary: int, device: torch.device) -> Answers:
    """The losses by one pass over every prompt with its answer."""
    people, _, time = questions.tokens.shape
    ids = torch.from_numpy(questions.tokens.reshape(-1, time)).to(device, torch.int64)
    logits = checked_logits(model(ids), (*ids.shape, vocabulary))
    at = np.arange(time)
    named = np.zeros((people, QUESTIONS, time), bool)
    named[:, 0] = (at >= 1) & (at < questions.name[:, None])
    name, _ = _losses(logits, ids, named.reshape(-1, time))
    values, right = _losses(logits, ids, _answered(questions, at).reshape(-1, time))
    shape = (people, QUESTIONS)
    return Answers(name.reshape(shape)[:, 0], values.reshape(shape), right.reshape(shape))


def with_prefix(model: Any, questions: Questions, vocabulary: int, device: torch.device) -> Answers:
    """The same, for a model with a cached state: <eos> and the name go through it once for all questions of a person.

    Names are padded on the left with segment -1, which nothing sees.
    """
    people, _, time = questions.tokens.shape
    longest, shortest = int(questions.name.max()), int(questions.name.min())
    at = np.arange(longest) - (longest - questions.name)[:, None]
    names = np.where(at >= 0, np.take_along_axis(questions.tokens[:, 0], np.maximum(at, 0), axis=1), EOS)
    ids = torch.from_numpy(names).to(device, torch.int64)
    segments = torch.from_numpy(np.where(at >= 0, 0, -1)).to(device)
    state = model.init_state(people, longest + time - shortest)
    logits = checked_logits(model(ids, segments, state), (*ids.shape, vocabulary))
    name, _ = _losses(logits, ids, at >= 1)
    last = logits[:, -1:].repeat_interleave(QUESTIONS, dim=0)
    state = state.repeat(QUESTIONS)
    rest = np.arange(time - shortest) + questions.name[:, None, None]
    tokens = np.take_along_axis(questions.tokens, np.minimum(rest, time - 1), axis=2).reshape(people * QUESTIONS, -1)
    ids = torch.from_numpy(tokens).to(device, torch.int64)
    logits = checked_logits(model(ids, torch.zeros_like(ids), state), (*ids.shape, vocabulary))
    # The name's last logits predict the first of these tokens.
    logits, ids = torch.cat([last, logits], dim=1), torch.cat([ids[:, :1], ids], dim=1)
    asked = np.pad(_answered(questions, rest).reshape(len(tokens), -1), ((0, 0), (1, 0)))
    values, right = _losses(logits, ids, asked)
    return Answers(name, values.reshape(people, QUESTIONS), right.reshape(people, QUESTIONS))


def _answered(questions: Questions, at: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the positions `at` of each prompt are those of its answer."""
    return (at >= questions.start[..., None]) & (at < questions.stop[..., None])


def _losses(logits: Tensor, ids: Tensor, chosen: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """By row: the summed losses of the chosen tokens, in nats, and whether each of them is the most likely one.

    The loss of a token is that of the logits before it, over all that a model has, in double precision.
    """
    rows, columns = np.nonzero(chosen)
    rows_there, before = (torch.from_numpy(index).to(logits.device) for index in (rows, columns - 1))
    scores = logits[rows_there, before].double()
    target = ids[rows_there, before + 1]
    losses = nn.functional.cross_entropy(scores, target, reduction="none").cpu().numpy()
    wrong = (scores.argmax(-1) != target).cpu().numpy()
    total = np.bincount(rows, losses, len(chosen)).astype(np.float64)
    return total, np.bincount(rows, wrong, len(chosen)) == 0
