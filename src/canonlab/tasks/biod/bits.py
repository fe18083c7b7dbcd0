"""How many bits a model knows of bioD. Source: arXiv 2404.05405, definitions 2.2 and 4.3.

With N people out of N0 names, K attributes, values of C chunks out of an attribute's D strings of L tokens out of T;
p1 the mean loss (nats) of a name right after <eos>, p2 that of a value after `<eos> name attribute` and p3 that of the
value's first chunk there, both means over people and attributes:

    names      N log2(N0 / e^p1)            at most   N log2(N0 / N)
    values     N K log2(D^C / e^p2)                   N K C log2 D
    diversity  K D log2(T^L / (D e^p3))               K D log2(T^L / D)

Each is how much shorter the model makes the encoding of one part of the data than the uniform code of that part: of the
names, of which strings a value is made of, of the strings. So each bounds from below what is known, and so does 0, as
who encodes a part may take its uniform code instead: no term is below 0, and a uniform model knows 0 bits. None is
above its maximum either, which a model reaches that knows all; of a sample of people, chance could put it there.
"""

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from canonlab.errors import require_integer, require_seed
from canonlab.tasks.base import Evaluation, Model
from canonlab.tasks.biod.kernels import BioLaw, ask
from canonlab.tasks.evaluation import marked_loss
from canonlab.tasks.knowledge import PEOPLE, Answers, answers, mean_bits, parameter_count, scaled
from canonlab.tasks.metrics import Metric, share

if TYPE_CHECKING:
    from canonlab.tasks.biod.task import BioD

TERMS = ("bits_names", "bits_values", "bits_diversity")


def evaluate(task: "BioD", model: Model, *, seed: int, windows: int | None = None, batch: int = 32) -> Evaluation:
    """What `model` knows about the people of `seed`, from a keyed sample of them, each asked for all attributes.

    Metrics, in bits: `bits`, and its terms `bits_names`, `bits_values` and `bits_diversity`; `bits_per_parameter`, the
    headline, where the model is a module; `accuracy`, the share of values that are right, each token the most likely
    one; `loss`, in nats per marked token of windows that show as many people. Notes: N, people asked about, p1, p2, p3,
    and, where parameters are known, parameters and r_max.

    Args:
        windows: as many people are asked about as this many windows show; 8192 by default, at most all.
        batch: how many windows' worth of tokens go through the model at once, about.
    """
    require_seed(seed)
    require_integer("batch", batch, 1)
    if windows is not None:
        require_integer("windows", windows, 1)
    people = PEOPLE if windows is None else windows * task.context // task.length
    people = min(task.N, max(1, people))
    at_once = max(1, batch * task.context // (task.K * task.length))
    asking = partial(ask, task.stream_key(seed), task.law)
    found = answers(model, asking, people, at_once, len(task.vocabulary))
    metrics = measured(task.law, found)
    metrics["accuracy"] = share(found.right.sum(axis=1), np.full(people, task.K))
    metrics |= marked_loss(task, model, seed, windows or task.default_windows, batch)
    notes: dict[str, float] = {"N": task.N, "people": people}
    notes |= {"p1": float(found.name.mean()), "p2": float(found.values.mean()), "p3": float(found.first.mean())}
    parameters = parameter_count(model, len(task.vocabulary))
    if not parameters:
        return Evaluation(metrics, ("bits",), notes)
    metrics = {"bits_per_parameter": scaled(metrics["bits"], 1 / parameters), **metrics}
    notes |= {"parameters": parameters, "r_max": sum(most_bits(task.law).values()) / parameters}
    return Evaluation(metrics, ("bits_per_parameter", "bits"), notes)


def most_bits(law: BioLaw) -> dict[str, float]:
    """By term, the bits of a model that knows everything."""
    people, facts, sets = law.people, law.people * law.attributes, law.attributes * law.variety
    each = (math.log2(law.names / law.people), law.chunks * math.log2(law.variety), _diversity(law))
    return {term: count * bits for term, count, bits in zip(TERMS, (people, facts, sets), each, strict=True)}


def _diversity(law: BioLaw) -> float:
    """log2(T^L / D)."""
    return law.width * math.log2(law.alphabet) - math.log2(law.variety)


def measured(law: BioLaw, found: Answers) -> dict[str, Metric]:
    """`bits` and its terms from the answers of a sample, with intervals over people."""
    counts = law.people, law.people * law.attributes, law.attributes * law.variety
    uniform = math.log2(law.names), law.chunks * math.log2(law.variety), _diversity(law)
    losses = found.name, found.values.mean(axis=1), found.first.mean(axis=1)
    terms: dict[str, Metric] = {}
    known, all_losses = 0.0, np.zeros(len(found.name))
    for (term, most), count, each, loss in zip(most_bits(law).items(), counts, uniform, losses, strict=True):
        terms[term] = _within(scaled(mean_bits(each, loss, law.people), count), most)
        if terms[term].value > 0:  # at 0 the model is not asked
            known, all_losses = known + count * each, all_losses + count * loss
    spread = mean_bits(known, all_losses, law.people)
    half, value = spread.high - spread.value, sum(metric.value for metric in terms.values())
    bits = Metric(value, None, spread.count, value - half, value + half, spread.clusters)
    return {"bits": _within(bits, sum(most_bits(law).values())), **terms}


def _within(metric: Metric, most: float) -> Metric:
    """With value and interval in 0 .. most; what isn't known stays so."""
    value, low, high = (float(np.clip(number, 0, most)) for number in (metric.value, metric.low, metric.high))
    return Metric(value, metric.right, metric.count, low, high, metric.clusters)
