"""Bits of bioD, term by term: exact for models given as tables, nothing for ignorance, never more than there is."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from canonlab.models.config import ModelConfig
from canonlab.tasks.biod import BioD
from canonlab.tasks.biod.bits import TERMS, most_bits
from plain_biod import Stream

TASK = BioD(N=12, K=3, C=2, D=3, L=2, T=4, N0=60, context=64)
SIZE = len(TASK.vocabulary)
TOKENS = range(1 + TASK.K, SIZE)
Tokens = tuple[int, ...]
Law = dict[Tokens, float]


def mixture(known: Iterable[Tokens], share: float, length: int) -> Law:
    """By beginning, its probability: `share` is spread over what is known, the rest over all strings of T tokens."""
    law: Law = {}
    known = list(known)
    for end in range(length + 1):
        for whole in known:
            law[whole[:end]] = law.get(whole[:end], 0) + share / len(known)
    return law


class Table:
    """A model, ids -> logits, given by tables: it knows names and values with these shares, and else only the tokens.

    Where the share is 1, it knows which names there are, or the value of each attribute of each person.
    """

    def __init__(self, task: BioD, seed: int, names: float, values: float) -> None:
        stream = Stream(task, task.stream_key(seed))
        people = [tuple(stream.name(index)) for index in range(task.N)]
        self.task, self.shares = task, (names, values)
        self.names = mixture(people, names, task.digits)
        self.values = {
            (*name, 1 + attribute): mixture([tuple(value)], values, len(value))
            for index, name in enumerate(people)
            for attribute, value in enumerate(stream.values(index))
        }

    def __call__(self, ids: Tensor) -> Tensor:
        logits = torch.full((*ids.shape, SIZE), -math.inf, dtype=torch.float64)
        named = self.task.digits
        for row, tokens in enumerate(ids.tolist()):
            for end in range(1, len(tokens) + 1):
                seen = tuple(tokens[1:end])
                if len(seen) < named:
                    law, prefix, share = self.names, seen, self.shares[0]
                elif seen[: named + 1] in self.values and len(seen) - named - 1 < self.task.C * self.task.L:
                    law, prefix, share = self.values[seen[: named + 1]], seen[named + 1 :], self.shares[1]
                else:
                    continue
                for token in TOKENS:
                    rest = (1 - share) / self.task.T ** (len(prefix) + 1)
                    probability = law.get((*prefix, token), 0.0) + rest
                    logits[row, end - 1, token] = math.log(probability) if probability else -math.inf
        return logits


class Module(nn.Module):
    """A callable as a module with so many parameters."""

    def __init__(self, model: Callable[[Tensor], Tensor], parameters: int) -> None:
        super().__init__()
        self.model, self.weight = model, nn.Parameter(torch.zeros(parameters))

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(ids)


def values(found: Any) -> dict[str, float]:
    return {name: metric.value for name, metric in found.metrics.items()}


def exactly(value: float) -> Any:
    return pytest.approx(value, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("names", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("knows", [0.0, 0.3, 0.9, 1.0])
def test_a_table_has_the_bits_of_the_closed_form(names: float, knows: float) -> None:
    found = TASK.evaluate(Table(TASK, 3, names, knows), seed=3)
    value = values(found)
    name = names / 12 + (1 - names) / 4**3
    whole, first = (knows + (1 - knows) / 4**length for length in (4, 2))
    terms = 12 * math.log2(60 * name), 36 * math.log2(3**2 * whole), 9 * math.log2(4**2 / 3 * first)
    for term, expected in zip(TERMS, terms, strict=True):
        assert value[term] == exactly(max(0, expected)), term
    assert value["bits"] == exactly(sum(max(0, term) for term in terms))
    assert found.notes == {
        "N": 12,
        "people": 12,
        "p1": exactly(-math.log(name)),
        "p2": exactly(-math.log(whole)),
        "p3": exactly(-math.log(first)),
    }
    assert found.headline == ("bits",)
    assert found.metrics["bits"].low == value["bits"] == found.metrics["bits"].high, "all people are asked"
    if knows == 1:
        assert value["accuracy"] == 1 and found.metrics["accuracy"].count == 36


def test_a_model_that_knows_everything_has_all_there_is() -> None:
    found = TASK.evaluate(Module(Table(TASK, 0, 1, 1), 7), seed=0)
    most = 12 * math.log2(60 / 12), 36 * 2 * math.log2(3), 9 * math.log2(4**2 / 3)
    assert list(most_bits(TASK.law).values()) == [exactly(term) for term in most]
    value = values(found)
    assert [value[term] for term in TERMS] == [exactly(term) for term in most]
    assert value["bits"] == exactly(sum(most)) and found.notes["r_max"] == exactly(sum(most) / 7)
    assert value["bits_per_parameter"] == exactly(found.notes["r_max"]) and found.notes["parameters"] == 7
    assert found.headline == ("bits_per_parameter", "bits") and next(iter(value)) == "bits_per_parameter"


@pytest.mark.parametrize("padding", [0, 12])
def test_a_uniform_model_knows_nothing(padding: int) -> None:
    found = TASK.evaluate(lambda ids: torch.zeros(*ids.shape, SIZE + padding), seed=0)
    value = values(found)
    assert [value[name] for name in ("bits", *TERMS)] == [0, 0, 0, 0]
    assert found.notes["p1"] == exactly(3 * math.log(SIZE + padding))
    assert found.notes["p3"] == exactly(2 * math.log(SIZE + padding))
    assert value["loss"] == pytest.approx(math.log(SIZE + padding))


@given(st.integers(0, 1000), st.sampled_from([1e-3, 1.0, 30.0, 1e4]))
@settings(max_examples=20, deadline=None)
def test_no_model_has_more_than_there_is(seed: int, scale: float) -> None:
    """Losses are within the limits by themselves: all names of people together have at most the probability 1."""
    weights = scale * torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    found = TASK.evaluate(lambda ids: weights[ids], seed=seed)
    value, most = values(found), most_bits(TASK.law)
    assert found.notes["p1"] >= math.log(12) - 1e-9 and found.notes["p2"] >= found.notes["p3"] >= 0
    assert all(0 <= value[term] <= most[term] for term in TERMS)
    assert 0 <= value["bits"] <= sum(most.values())


def test_a_sample_says_how_sure_it_is() -> None:
    task = BioD(N=300, K=3, C=2, D=3, L=2, T=4, N0=4096, context=64)
    table = Table(task, 0, 0.5, 0.5)
    tilt = 0.3 * torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    part, whole = (task.evaluate(lambda ids: table(ids) + tilt[ids], seed=0, windows=w) for w in (30, None))
    assert whole.notes["people"] == 300 and part.notes["people"] == 30 * 64 // task.length
    for name in ("bits", *TERMS):
        assert whole.metrics[name].low == whole.metrics[name].value == whole.metrics[name].high > 0
        half = part.metrics[name].high - part.metrics[name].value
        assert half > 0 and abs(part.metrics[name].value - whole.metrics[name].value) < 2 * half
    one = task.evaluate(table, seed=0, windows=1)
    assert one.notes["people"] == 2


def test_a_cached_prefix_and_batches_change_nothing() -> None:
    built = ModelConfig(model="llama-rope", size="2L64D2H", canon="ABCD").decoder(SIZE).build(1).double()
    cached, plain, small = (
        values(TASK.evaluate(model, seed=2, batch=batch))
        for model, batch in ((built, 32), (lambda ids: built(ids).logits, 32), (built, 1))
    )
    for name, value in plain.items():
        assert cached[name] == small[name] == pytest.approx(value, rel=1e-9)
