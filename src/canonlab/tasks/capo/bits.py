"""How many bits a model knows about the people. Source: arXiv 2404.05405, definitions 4.1 and 4.3.

With N people, N0 names and S0 combinations of values, p1 the mean loss (nats) of a name right after <eos> and p2 the
mean over people of the summed losses of the six values, each asked for by itself (see `questions`):

    bits = N log2(N0 / e^p1) + N log2(S0 / e^p2)

A model that knows the lists that names and values come from, but not the people, has 0 bits, and one that doesn't even
know the lists fewer: neither is knowledge. A model that knows all has the bits at which R = R_max.
"""

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from canonlab.errors import require_integer, require_seed
from canonlab.tasks.base import Evaluation, Model
from canonlab.tasks.capo.lengths import mean
from canonlab.tasks.capo.questions import ASKED, QUESTIONS, ask
from canonlab.tasks.capo.words import DATES, N0, PRONOUNS, S0, SIZES
from canonlab.tasks.evaluation import marked_loss
from canonlab.tasks.knowledge import PEOPLE, answers, mean_bits, parameter_count, scaled
from canonlab.tasks.metrics import Metric, share

if TYPE_CHECKING:
    from canonlab.tasks.capo.task import Capo

KINDS = (DATES, *(SIZES[values] for values in ("cities", "universities", "majors", "employers")), len(PRONOUNS))
"""How many values each question has."""


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
    at_once = max(1, batch * task.context // (QUESTIONS * task.law.longest))
    asking = partial(ask, task.stream_key(seed), task.law)
    name, values, right, _ = answers(model, asking, people, at_once, len(task.vocabulary))
    metrics = _metrics(task.N, name, values)
    for attribute, hits in zip(ASKED, right.T, strict=True):
        metrics[f"accuracy_{attribute}"] = share(int(hits.sum()), people)
    metrics |= marked_loss(task, model, seed, windows or task.default_windows, batch)
    notes: dict[str, float] = {"N": task.N, "people": people}
    notes |= {"p1": float(name.mean()), "p2": float(values.sum(axis=1).mean())}
    parameters = parameter_count(model, len(task.vocabulary))
    if not parameters:
        return Evaluation(metrics, ("bits",), notes)
    metrics = {"bits_per_parameter": scaled(metrics["bits"], 1 / parameters), **metrics}
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


def _metrics(people: int, name: NDArray[np.float64], values: NDArray[np.float64]) -> dict[str, Metric]:
    """The bits about all people and, by attribute, about one, from the losses of a sample."""
    parts = {"bits": name + values.sum(axis=1), "bits_names": name, "bits_values": values.sum(axis=1)}
    most = {"bits": math.log2(N0) + math.log2(S0), "bits_names": math.log2(N0), "bits_values": math.log2(S0)}
    found = {part: scaled(mean_bits(most[part], losses, people), people) for part, losses in parts.items()}
    by_attribute = (mean_bits(math.log2(kinds), losses, people) for kinds, losses in zip(KINDS, values.T, strict=True))
    return found | {f"bits_{attribute}": metric for attribute, metric in zip(ASKED, by_attribute, strict=True)}
