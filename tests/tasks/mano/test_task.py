"""Mano: evaluation of models with known accuracy, default counts, errors."""

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from canonlab.errors import InputError
from canonlab.tasks.catalog import build_task
from canonlab.tasks.mano import Mano
from canonlab.tasks.metrics import count_for_half_width

TASK = Mano(L=5, context=100)
WINDOWS = 23
INSTANCES = {l: 100 // (2 * l + 5) for l in range(1, 6)}


def oracle(task: Mano, spoil: Callable[[np.ndarray], np.ndarray] = lambda tokens: tokens) -> Callable[[Tensor], Tensor]:
    """A model that knows the answers, being shown whole windows; `spoil` may change what it says."""

    def model(ids: Tensor) -> Tensor:
        said = torch.from_numpy(spoil(ids.numpy().copy())).roll(-1, dims=1)
        return torch.nn.functional.one_hot(said, len(task.vocabulary)).to(torch.float16)

    return model


def test_counts_and_a_perfect_model() -> None:
    evaluation = TASK.evaluate(oracle(TASK), seed=3, windows=WINDOWS, batch=10)
    windows = dict.fromkeys(range(1, 5), 5) | {5: WINDOWS}  # ceil(23 / 5)
    for kind in ("accuracy", "loss"):
        assert {l: evaluation.metrics[f"{kind}_l{l}"].count for l in INSTANCES} == {
            l: windows[l] * INSTANCES[l] for l in INSTANCES
        }
    assert set(evaluation.metrics) == {f"{kind}_l{l}" for kind in ("accuracy", "loss") for l in INSTANCES} | {"loss"}
    assert all(metric.value == 1.0 for metric in evaluation.metrics.values() if metric.right is not None)
    assert evaluation.metrics["loss"].count == TASK.windows(3, 0, WINDOWS, "eval").mask.sum()
    assert evaluation.headline == ("accuracy_l5",)
    assert evaluation.notes == {"windows": 23, "windows_per_shorter_length": 5, "instances": 23 * 6}


def test_a_model_that_knows_nothing() -> None:
    metrics = TASK.evaluate(lambda ids: torch.zeros(*ids.shape, len(TASK.vocabulary)), seed=3, windows=WINDOWS).metrics
    assert {metric.value for metric in metrics.values() if metric.right is not None} == {0.0}
    assert {round(metric.value, 5) for metric in metrics.values() if metric.right is None} == {
        round(math.log(len(TASK.vocabulary)), 5)
    }


def test_a_model_that_always_says_zero() -> None:
    """Right where the value is 0, and nothing but the answers counts."""
    zero, said = TASK.vocabulary.id("0"), []

    def model(ids: Tensor) -> Tensor:
        said.extend(ids.tolist())
        return torch.nn.functional.one_hot(torch.full_like(ids, zero), len(TASK.vocabulary)).float()

    metrics = TASK.evaluate(model, seed=3, windows=WINDOWS).metrics
    expected, whole = Counter(), Counter()
    for window in said:
        for begin in (i for i, token in enumerate(window) if token == 0):
            l = window[begin + 1] - 27 if begin + 1 < len(window) else 0
            if l and begin + 2 * l + 5 <= len(window):
                whole[l] += 1
                expected[l] += window[begin + 2 * l + 4] == zero
    assert {l: metrics[f"accuracy_l{l}"].count for l in INSTANCES} == whole
    assert {l: metrics[f"accuracy_l{l}"].right for l in INSTANCES} == expected
    assert 0 < metrics["accuracy_l5"].value < 0.3


def test_lengths_are_told_apart() -> None:
    """A model that is wrong in windows of l = 2."""

    def spoil(said: np.ndarray) -> np.ndarray:
        return np.where(said[:, 1:2] == TASK.vocabulary.id("<len_2>"), 0, said)

    metrics = TASK.evaluate(oracle(TASK, spoil), seed=3, windows=WINDOWS).metrics
    assert [metrics[f"accuracy_l{l}"].value for l in range(1, 6)] == [1, 0, 1, 1, 1]


def test_the_headline_is_on_the_evaluation_stream() -> None:
    seen: list[np.ndarray] = []

    def model(ids: Tensor) -> Tensor:
        seen.append(ids.numpy())
        return torch.zeros(*ids.shape, len(TASK.vocabulary))

    TASK.evaluate(model, seed=3, windows=WINDOWS, batch=10)
    assert np.array_equal(np.concatenate(seen)[-WINDOWS:], TASK.windows(3, 0, WINDOWS, "eval").tokens)


@pytest.mark.parametrize("L", [1, 10, 16])
def test_default_windows_give_one_point(L: int) -> None:
    task = build_task("mano", {"L": L})
    assert isinstance(task, Mano)
    count = task.default_windows * task.instances
    assert count_for_half_width(0.01) <= count < count_for_half_width(0.01) + task.instances
    assert task.instances == 1024 // (2 * L + 5)


def test_defaults_run() -> None:
    task = Mano(L=2, context=1024)
    evaluation = task.evaluate(oracle(task), seed=0, batch=200)
    assert evaluation.notes["windows"] == task.default_windows
    metric = evaluation.metrics["accuracy_l2"]
    assert metric.count >= count_for_half_width(0.01) and metric.value == 1.0


def test_vocabulary() -> None:
    tokens = build_task("mano").vocabulary
    assert tokens.decode(range(5)) == "<bos> <ans> + - *" and len(tokens) == 2 + 3 + 23 + 10
    assert Counter(token.role for token in tokens) == {"special": 2, "operator": 3, "number": 23, "length": 10}
    numbers = [token for token in tokens if token.role == "number"]
    lengths = [token for token in tokens if token.role == "length"]
    assert [(t.name, t.value) for t in numbers] == [(str(r), r) for r in range(23)]
    assert [(t.name, t.value) for t in lengths] == [(f"<len_{l}>", l) for l in range(1, 11)]
    assert Mano(L=3).vocabulary.tokens == tokens.tokens[:31], "evaluation by l shows a model the windows of smaller L"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"L": 0}, "L = 0: must be an integer from 1"),
        ({"L": 2.5}, "L = 2.5: must be an integer"),
        ({"context": 24}, "context = 24: must be at least 25, the length of an instance of L = 10 operators"),
        ({"context": 0}, "context = 0: must be an integer of at least 1"),
        ({"N": 10}, "unknown task parameter 'N'"),
    ],
)
def test_wrong_settings(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        build_task("mano", settings)
    assert "\n" not in str(caught.value)


def test_the_shortest_context() -> None:
    windows = Mano(L=10, context=25).windows(0, 0, 50, "eval")
    assert (windows.tokens == 0).sum() == 50 and windows.mask.sum() == 50 * 24


def test_coincidence_bounds_what_happens() -> None:
    """One operator: 1587 expressions, of which twenty windows of five hold about one in sixteen."""
    task = Mano(L=1, context=35)
    fresh = [tuple(row) for row in task.windows(0, 0, 400, "eval").tokens[:, :7].tolist()]
    met = []
    for start in range(0, 1000, 20):
        known = {tuple(row) for row in task.windows(0, start, 20).tokens.reshape(-1, 7).tolist()}
        met.append(np.mean([instance in known for instance in fresh]))
    assert task.coincidence(20) == pytest.approx(100 / 1587)
    assert 0.8 * task.coincidence(20) < np.mean(met) < 1.1 * task.coincidence(20)
    assert task.coincidence(0) == 0 and Mano(L=2).coincidence(10**9) == 1.0
    assert 0 < build_task("mano").coincidence(10**7) < 1e-10


def test_a_modulus_is_part_of_the_identity_but_for_the_published_one() -> None:
    """Windows of the published modulus are those of before there was another one."""
    assert Mano(P=23) == Mano() and "P" not in Mano().identity["parameters"]
    three = Mano(L=3, context=32, P=3)
    assert three.identity["parameters"] == {"L": 3, "P": 3} and len(three.vocabulary) == 5 + 3 + 3
    assert three.score([0, three.vocabulary.id("<len_1>"), 4, 5 + 2, 5 + 2, 1], [5 + 1]).right  # 2 * 2 = 1 mod 3
    for P in (1, 1001, 2.5):
        with pytest.raises(InputError, match="P = "):
            Mano(P=P)  # type: ignore[arg-type]
