"""Bits of knowledge: exact for models whose knowledge is known, the same with a cached prefix, honest about samples."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from canonlab.errors import InputError
from canonlab.models.config import ModelConfig
from canonlab.models.decoder import Decoder
from canonlab.tasks import knowledge
from canonlab.tasks.capo import Capo, bits
from canonlab.tasks.capo.people import PRONOUN
from canonlab.tasks.capo.pieces import AFTER, BEFORE, Kind
from canonlab.tasks.capo.questions import ASKED, ask
from canonlab.tasks.capo.words import N0, S0

TASK = Capo(N=30)
PIECES = TASK.pieces
SIZE = len(TASK.vocabulary)
CPU = torch.device("cpu")
WAYS = (knowledge.with_prefix, knowledge.without_prefix)
VALUES = (Kind.CITY, Kind.UNIVERSITY, Kind.MAJOR, Kind.EMPLOYER, Kind.EMPLOYER_CITY)
Tokens = tuple[int, ...]


class Trie:
    """The uniform law over some token sequences, none of which begins another: what comes next."""

    def __init__(self, sequences: Iterable[Sequence[int]]) -> None:
        counts = Counter(tuple(s[:end]) for s in sequences for end in range(len(s) + 1))
        self.children: dict[Tokens, dict[int, int]] = {}
        for prefix, count in counts.items():
            if prefix:
                self.children.setdefault(prefix[:-1], {})[prefix[-1]] = count

    def next(self, prefix: Tokens) -> dict[int, float]:
        """The probabilities of the next token; none after a whole sequence, or what begins no sequence."""
        counts = self.children.get(prefix, {})
        return {token: count / sum(counts.values()) for token, count in counts.items()}

    def whole(self, ids: Tokens) -> int | None:
        """How many of the first ids are a whole sequence, if they are."""
        end = 0
        while ids[:end] in self.children:
            end += 1
            if end > len(ids):
                return None
        return end if ids[: end - 1] in self.children and ids[end - 1] in self.children[ids[: end - 1]] else None


def after(tries: Sequence[Trie], ids: Tokens) -> tuple[dict[int, float], Tokens | None]:
    """What comes next where ids are the beginning of one sequence of each trie; or what is left after all of them."""
    for trie in tries:
        end = trie.whole(ids)
        if end is None:
            return trie.next(ids), None
        ids = ids[end:]
    return {}, ids


@cache
def of(kind: int) -> Trie:
    """The law of a kind of piece."""
    return Trie(PIECES.of(kind, i) for i in range(PIECES.count(kind)))


@cache
def pieces(kind: int) -> list[Tokens]:
    """All pieces of a kind."""
    return [tuple(PIECES.of(kind, i)) for i in range(PIECES.count(kind))]


LISTED_NAMES = [of(Kind.FIRST), of(Kind.MIDDLE), of(Kind.LAST)]
DATE = [of(Kind.MONTH), of(Kind.DAY), of(Kind.COMMA), of(Kind.YEAR)]
LISTED_VALUES = [DATE, *([of(kind)] for kind in VALUES), [of(Kind.PRONOUN)]]
"""The law of each attribute's value, and of the pronoun, for one who doesn't know the people."""


class Student:
    """A model, ids -> logits, that knows how biographies are written and either the people or only the lists.

    At names and values its probabilities are exact; anywhere else it has none.
    """

    def __init__(self, task: Capo, knows_names: bool, knows_values: bool, seed: int = 0) -> None:
        self.knows_values = knows_values
        self.people: dict[Tokens, list[list[Trie]]] = {}
        for row in task.people(seed, np.arange(task.N)).tolist():
            parts = [tuple(PIECES.of(kind, i)) for kind, i in zip(Kind, row[:3], strict=False)]
            month, day, year, city, university, major, employer = row[PRONOUN + 1 :]
            date = ((Kind.MONTH, month), (Kind.DAY, day), (Kind.COMMA, 0), (Kind.YEAR, year))
            others = zip(VALUES, (city, university, major, employer, employer), strict=True)
            known = [[Trie([PIECES.of(*piece)]) for piece in date], *([Trie([PIECES.of(*piece)])] for piece in others)]
            self.people[sum(parts, ())] = [*known, [Trie([PIECES.of(Kind.PRONOUN, row[PRONOUN])])]]
        self.names = [Trie(self.people)] if knows_names else LISTED_NAMES

    def __call__(self, ids: Tensor) -> Tensor:
        logits = torch.full((*ids.shape, SIZE), -math.inf, dtype=torch.float64)
        for row, tokens in enumerate(ids.tolist()):
            for end in range(len(tokens)):
                for token, probability in self.next(tuple(tokens[: end + 1])).items():
                    logits[row, end, token] = math.log(probability)
        return logits

    def next(self, ids: Tokens) -> dict[int, float]:
        """The probabilities of the next token."""
        probabilities, rest = after(self.names, ids[1:])
        if rest is None:
            return probabilities
        values = self.people[ids[1 : len(ids) - len(rest)]] if self.knows_values else LISTED_VALUES
        for attribute in range(6):
            befores, afters = pieces(BEFORE + attribute), pieces(AFTER + attribute)
            for before, behind in zip(befores, afters, strict=True):
                if rest[: len(before)] == before:
                    probabilities, left = after(values[attribute], rest[len(before) :])
                    if left == behind:
                        return after(values[-1], ())[0]
                    if probabilities and attribute < 5:
                        return probabilities
        return {}


class Module(nn.Module):
    """A callable as a module with so many parameters."""

    def __init__(self, model: Callable[[Tensor], Tensor], parameters: int) -> None:
        super().__init__()
        self.model, self.weight = model, nn.Parameter(torch.zeros(parameters))

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(ids)


def decoder(model: str, canon: str = "ABCD", vocabulary: int = SIZE, tied: bool = False) -> Decoder:
    return ModelConfig(model=model, size="2L64D2H", canon=canon, tied=tied).decoder(vocabulary).build(1)


def values(found: Any) -> dict[str, float]:
    return {name: metric.value for name, metric in found.metrics.items()}


def exactly(value: float) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("simple", [False, True])
def test_a_model_that_knows_everything(simple: bool) -> None:
    task = Capo(N=30, simple=simple)
    student = Student(task, knows_names=True, knows_values=True)
    found = bits.evaluate(task, Module(student, 7), seed=0)
    value = values(found)
    assert value["bits"] == exactly(bits.most_bits(30))
    assert bits.most_bits(30) == exactly(30 * math.log2(N0 / 30) + 30 * math.log2(S0))
    assert value["bits_per_parameter"] == exactly(found.notes["r_max"]) == exactly(bits.most_bits(30) / 7)
    assert found.headline == ("bits_per_parameter", "bits")
    assert value["bits_names"] == exactly(30 * math.log2(N0 / 30)) and value["bits_values"] == exactly(
        30 * math.log2(S0)
    )
    for attribute, kinds in zip(ASKED, (12 * 28 * 200, 200, 300, 100, 263, 2), strict=True):
        assert value[f"bits_{attribute}"] == exactly(math.log2(kinds))
        accuracy = found.metrics[f"accuracy_{attribute}"]
        assert (accuracy.value, accuracy.right, accuracy.count, accuracy.clusters) == (1, 30, 30, 30)
    assert found.notes == {
        "N": 30,
        "people": 30,
        "p1": exactly(math.log(30)),
        "p2": exactly(0),
        "parameters": 7,
        "r_max": exactly(bits.most_bits(30) / 7),
    }


@pytest.mark.parametrize("knows_names", [False, True])
@pytest.mark.parametrize("knows_values", [False, True])
def test_partial_knowledge(knows_names: bool, knows_values: bool) -> None:
    """Who knows the lists, but not the people, has no bits of them."""
    found = TASK.evaluate(Student(TASK, knows_names, knows_values), seed=0)
    value, names = values(found), 30 * math.log2(N0 / 30) * knows_names
    assert found.headline == ("bits",)
    assert value["bits_names"] == exactly(names)
    assert value["bits_values"] == exactly(30 * math.log2(S0) * knows_values)
    assert value["bits"] == exactly(names + 30 * math.log2(S0) * knows_values)
    for attribute, kinds in zip(ASKED, bits.KINDS, strict=True):
        assert value[f"bits_{attribute}"] == exactly(math.log2(kinds) * knows_values)
        assert knows_values == (value[f"accuracy_{attribute}"] == 1)


@pytest.mark.parametrize("padding", [0, 12])
def test_a_model_that_knows_no_lists_is_far_below_zero(padding: int) -> None:
    """Uniform over all tokens that the model has, those beyond the vocabulary too."""
    found = TASK.evaluate(lambda ids: torch.zeros(*ids.shape, SIZE + padding), seed=0)
    questions = ask(TASK.stream_key(0), TASK.law, 0, 30)
    per_token = math.log2(SIZE + padding)
    names, answers = int((questions.name - 1).sum()), int((questions.stop - questions.start).sum())
    value = values(found)
    assert value["bits_names"] == exactly(30 * math.log2(N0) - names * per_token)
    assert value["bits_values"] == exactly(30 * math.log2(S0) - answers * per_token)
    assert value["bits"] == exactly(value["bits_names"] + value["bits_values"]) and value["bits"] < -30 * 50
    assert all(value[f"accuracy_{attribute}"] == 0 for attribute in ASKED)


@given(st.integers(0, 1000), st.sampled_from([1e-3, 1.0, 30.0, 1e4]))
@settings(max_examples=10)
def test_no_model_has_more_than_all_bits(seed: int, scale: float) -> None:
    weights = scale * torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    value = values(TASK.evaluate(lambda ids: weights[ids], seed=seed))
    assert value["bits"] <= 30 * (math.log2(N0) + math.log2(S0))
    assert all(
        value[f"bits_{attribute}"] <= math.log2(kinds) for attribute, kinds in zip(ASKED, bits.KINDS, strict=True)
    )


CACHED = [
    *(("llama-rope", "ABCD"), ("llama-rope", "none"), ("gpt2-original", "none"), ("llama-alibi", "ABCD")),
    *(("gla", "AbCD"), ("mamba2", "AbCD"), ("gdn", "AbCD"), ("gdn", "ABCD")),
]


@pytest.mark.parametrize(("model", "canon"), CACHED)
def test_a_cached_prefix_changes_nothing(model: str, canon: str) -> None:
    built = decoder(model, canon).double().eval()
    for simple, first in ((False, 0), (True, 7)):
        task = Capo(N=30, simple=simple)
        questions = ask(task.stream_key(1), task.law, first, 8)
        assert len(set(questions.name)) > 1
        with torch.inference_mode():
            cached, plain = (way(built, questions, SIZE, CPU) for way in WAYS)
        assert np.abs(cached.name - plain.name).max() < 1e-9 and np.abs(cached.values - plain.values).max() < 1e-9
        assert np.array_equal(cached.right, plain.right)
        assert plain.name.std() > 0.01


def test_a_cached_prefix_of_one_person() -> None:
    built = decoder("llama-rope").double().eval()
    for first in range(3):
        questions = ask(TASK.stream_key(1), TASK.law, first, 1)
        with torch.inference_mode():
            cached, plain = (way(built, questions, SIZE, CPU) for way in WAYS)
        assert np.allclose(cached.name, plain.name, rtol=1e-12) and np.allclose(cached.values, plain.values, rtol=1e-12)


def test_who_has_no_cache_is_asked_without(monkeypatch: pytest.MonkeyPatch) -> None:
    built = decoder("llama-rope")
    cached = TASK.evaluate(built, seed=3)

    def never(*_: object) -> None:
        raise AssertionError("takes the other path")

    monkeypatch.setattr(knowledge, "with_prefix", never)
    plain = TASK.evaluate(lambda ids: built(ids).logits, seed=3)
    with pytest.raises(AssertionError, match="the other path"):
        TASK.evaluate(built, seed=3)
    assert built.training, "in the mode that it was in"
    for name, metric in plain.metrics.items():
        assert cached.metrics[name].value == pytest.approx(metric.value, rel=1e-4)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("model", ["llama-rope", "gpt2-original", "gdn"])
def test_rows_beyond_the_vocabulary_are_not_counted(model: str, tied: bool) -> None:
    exact, padded = (decoder(model, vocabulary=size, tied=tied) for size in (SIZE, SIZE + 40))
    wanted = sum(p.numel() for p in exact.parameters())
    assert knowledge.parameter_count(exact, SIZE) == knowledge.parameter_count(padded, SIZE) == wanted
    assert sum(p.numel() for p in padded.parameters()) == wanted + 40 * 64 * (1 if tied else 2)


def test_a_head_with_a_bias_and_what_is_no_module() -> None:
    model = nn.Sequential(nn.Embedding(110, 4), nn.Linear(4, 8), nn.Linear(8, 110))
    assert knowledge.parameter_count(model, 100) == 400 + (32 + 8) + (800 + 100)
    assert knowledge.parameter_count(model, 110) == sum(p.numel() for p in model.parameters())
    assert knowledge.parameter_count(nn.Sequential(model, model), 100) == knowledge.parameter_count(model, 100)
    assert knowledge.parameter_count(lambda ids: ids, 100) == 0
    model[0].weight.requires_grad = False
    assert knowledge.parameter_count(model, 100) == 1340, "frozen ones hold knowledge too"


def test_the_interval_of_a_sample() -> None:
    """Covers what asking everybody gives, about 95 times in 100, and is as wide as samples differ."""
    rng = np.random.default_rng(0)
    losses = rng.exponential(2.0, 500)
    whole = knowledge.mean_bits(17.0, losses, 500)
    assert whole.low == whole.value == whole.high == exactly(17.0 - losses.mean() / math.log(2))
    found = [knowledge.mean_bits(17.0, rng.choice(losses, 250, replace=False), 500) for _ in range(200)]
    assert sum(metric.low <= whole.value <= metric.high for metric in found) >= 180
    spread = np.std([metric.value for metric in found])
    assert np.mean([metric.high - metric.value for metric in found]) == pytest.approx(1.96 * spread, rel=0.15)
    one = knowledge.mean_bits(17.0, losses[:1], 500)
    assert math.isnan(one.low) and math.isnan(one.high) and one.count == 1


def test_a_sample_says_how_sure_it_is() -> None:
    task = Capo(N=300)
    weights = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    student = Module(lambda ids: weights[ids], 5)
    part, whole = (task.evaluate(student, seed=0, windows=windows) for windows in (10, None))
    assert whole.notes["people"] == 300 and part.notes["people"] == round(10 * 512 / 64.67087)
    for name in ("bits_per_parameter", "bits", "bits_names", "bits_values", "bits_major"):
        assert whole.metrics[name].low == whole.metrics[name].high
        half = part.metrics[name].high - part.metrics[name].value
        assert half > 0 and abs(part.metrics[name].value - whole.metrics[name].value) < 2 * half
    assert part.metrics["bits"].high == exactly(5 * part.metrics["bits_per_parameter"].high)
    one = Capo(N=1).evaluate(student, seed=0).metrics["bits"]
    assert one.low == one.value == one.high, "all people there are"


def test_batches_change_nothing() -> None:
    built = decoder("llama-rope").double()
    first, *others = (values(TASK.evaluate(built, seed=2, batch=batch)) for batch in (1, 3, 32))
    assert all(other == pytest.approx(first, rel=1e-12) for other in others)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"batch": 0}, "batch = 0: must be an integer of at least 1"),
        ({"windows": 0}, "windows = 0: must be an integer of at least 1"),
        ({"windows": 2.0}, "windows = 2.0"),
        ({"seed": -1}, "seed = -1: must be an integer of at least 0"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        bits.evaluate(TASK, lambda ids: torch.zeros(*ids.shape, SIZE), **{"seed": 0, **arguments})


def test_wrong_logits() -> None:
    with pytest.raises(InputError, match="the model's logits have shape"):
        TASK.evaluate(lambda ids: torch.zeros(*ids.shape, SIZE - 1), seed=0)
