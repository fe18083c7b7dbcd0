"""Depo: evaluation of models with known accuracy, default counts, warnings, errors."""

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from canonlab.errors import InputError
from canonlab.tasks.catalog import build_task
from canonlab.tasks.depo import Depo
from canonlab.tasks.metrics import count_for_half_width
from plain_depo import read_window

LAPTOP = Depo(N=10, K=4, V=50, lengths=(1, 1), context=96)
TWO = Depo(N=20, K=6, V=4, lengths=(1, 2), context=200)
TASKS = [LAPTOP, TWO, build_task("depo1"), build_task("depo2")]
WINDOWS = 60


def oracle(task: Depo, spoil: Callable[[np.ndarray], np.ndarray] = lambda tokens: tokens) -> Callable[[Tensor], Tensor]:
    """A model that knows the answers, being shown whole windows; `spoil` may change what it says."""

    def model(ids: Tensor) -> Tensor:
        said = torch.from_numpy(spoil(ids.numpy().copy())).roll(-1, dims=1)
        return torch.nn.functional.one_hot(said, len(task.vocabulary)).to(torch.float16)

    return model


def values(task: Depo, model: Callable[[Tensor], Tensor]) -> dict[str, float]:
    metrics = task.evaluate(model, seed=3, windows=WINDOWS, batch=25).metrics
    return {name: metric.value for name, metric in metrics.items() if metric.right is not None}


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_counts_are_those_of_the_plain_reader(task: Depo) -> None:
    evaluation = task.evaluate(oracle(task), seed=3, windows=WINDOWS, batch=25)
    whole, cut, tokens, instances = Counter(), 0, 0, 0
    for window in task.windows(3, 0, WINDOWS, "eval").tokens:
        found = read_window(task, window)
        instances += len(found)
        for query in (query for instance in found for query in instance.queries):
            if query.stop is None:
                cut += 1
            else:
                whole[query.k] += 1
                tokens += query.stop - query.start
        last = found[-1]  # a query that is cut before its <ans> is not in the reader's list
        tail = window[last.queries[-1].stop or task.context :] if last.queries else window[last.begin :]
        cut += int(((tail > 1) & (tail < task.names.first)).sum())
    assert {k: evaluation.metrics[f"accuracy_k{k}"].count for k in task.evaluated_hops} == whole
    assert evaluation.metrics["token_accuracy"].count == tokens
    assert all(metric.value == 1.0 for metric in evaluation.metrics.values() if metric.right is not None)
    assert sum(evaluation.metrics[f"loss_k{k}"].count for k in task.evaluated_hops) == tokens
    assert evaluation.metrics["loss"].count == task.windows(3, 0, WINDOWS, "eval").mask.sum()
    assert evaluation.notes == {
        "windows": WINDOWS,
        "instances": instances,
        "queries": whole.total() + cut,
        "cut_answers": cut,
        "self_answers": 0,
    }


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_a_model_that_knows_nothing(task: Depo) -> None:
    assert set(values(task, lambda ids: torch.zeros(*ids.shape, len(task.vocabulary))).values()) == {0.0}


def test_an_answer_needs_all_of_its_tokens() -> None:
    """A model that never says b1: wrong are the answers that end so, and of their tokens just the last."""
    b1 = TWO.names.end.start
    ends, tokens, wrong = Counter(), 0, Counter()
    for window in TWO.windows(3, 0, WINDOWS, "eval").tokens:
        for query in (query for instance in read_window(TWO, window) for query in instance.queries if query.stop):
            ends[query.k] += 1
            wrong[query.k] += int(window[query.stop - 1] == b1)
            tokens += query.stop - query.start
    model = oracle(TWO, lambda said: np.where(said == b1, b1 + 1, said))
    metrics = TWO.evaluate(model, seed=3, windows=WINDOWS).metrics
    assert {k: metrics[f"accuracy_k{k}"].right for k in ends} == {k: ends[k] - wrong[k] for k in ends}
    assert 0.2 < wrong.total() / ends.total() < 0.4
    assert metrics["token_accuracy"].right == tokens - wrong.total()


def test_hops_are_told_apart() -> None:
    """A model that is wrong after <query_2> until the next query."""

    def spoil(said: np.ndarray) -> np.ndarray:
        for window in said:
            active = 0
            for i, token in enumerate(window):
                active = token if 1 < token < TWO.names.first else active
                if active == TWO.vocabulary.id("<query_2>") and token >= TWO.names.first:
                    window[i] = 0
        return said

    got = values(TWO, oracle(TWO, spoil))
    assert {k: got[f"accuracy_k{k}"] for k in TWO.evaluated_hops} == {1: 1.0, 2: 0.0, 4: 1.0, 6: 1.0}


def test_ans_does_not_count() -> None:
    assert set(values(TWO, oracle(TWO, lambda said: np.where(said == 1, 0, said))).values()) == {1.0}


def test_self_answers_are_counted() -> None:
    task = Depo(N=4, K=8, V=8, lengths=(1, 1), context=64)
    evaluation = task.evaluate(oracle(task), seed=0, windows=50)
    metrics = evaluation.metrics
    assert evaluation.notes["self_answers"] == metrics["accuracy_k4"].count + metrics["accuracy_k8"].count > 0


@pytest.mark.parametrize(
    ("K", "hops", "headline"),
    [
        (1, [1], (1,)),
        (2, [1, 2], (2, 1)),
        (6, [1, 2, 4, 6], (6,)),
        (8, [1, 2, 4, 8], (8, 4)),
        (32, [1, 2, 4, 8, 16, 24, 32], (32, 16)),
    ],
)
def test_evaluated_hops_and_headline(K: int, hops: list[int], headline: tuple[int, ...]) -> None:
    task = Depo(N=10, K=K, V=50, lengths=(1, 1), context=96)
    assert task.evaluated_hops == hops
    evaluation = task.evaluate(oracle(task), seed=0, windows=20)
    assert evaluation.headline == tuple(f"accuracy_k{k}" for k in headline)
    losses = ["loss", *(f"loss_k{k}" for k in hops)]
    assert list(evaluation.metrics) == [*(f"accuracy_k{k}" for k in hops), "token_accuracy", *losses]


@pytest.mark.parametrize("task", [LAPTOP, TWO], ids=str)
def test_default_windows_give_one_point_for_every_k(task: Depo) -> None:
    evaluation = task.evaluate(oracle(task), seed=8, batch=500)
    assert evaluation.notes["windows"] == task.default_windows
    counts = [evaluation.metrics[f"accuracy_k{k}"].count for k in task.evaluated_hops]
    assert count_for_half_width(0.01) <= min(counts) <= max(counts) < 1.1 * count_for_half_width(0.01)


def test_published_defaults_have_nothing_to_warn_of() -> None:
    assert build_task("depo1") == build_task("depo") == Depo()
    for task in (build_task("depo1"), build_task("depo2"), build_task("depo1", {"N": 375}), LAPTOP):
        assert task.warnings() == []


def test_warning_tells_the_share_that_is_cut() -> None:
    task = Depo(N=20, K=4, V=20, lengths=(1, 2), context=115)
    assert task.shortest_instance(20) <= 115 < task.longest_instance == 141
    [line] = task.warnings()
    lost = 0
    for window in task.windows(77, 0, 2000, "eval").tokens:
        lost += not read_window(task, window)[0].whole
    share = int(line.split("%")[0].split()[-1]) / 100
    assert "context = 115" in line and "141 holds all" in line
    assert 0.05 < share < 0.95 and abs(share - lost / 2000) < 0.03


def test_the_shortest_instance_exists_and_fits() -> None:
    """All names have one token, and nothing else varies: the bound is exact there and one token less is an error."""
    assert LAPTOP.shortest_instance(10) == LAPTOP.longest_instance == 61
    with pytest.raises(InputError, match=r"^context = 60: must be at least 61, which the shortest instance of N = 10"):
        Depo(N=10, K=4, V=50, lengths=(1, 1), context=60)
    windows = Depo(N=10, K=4, V=50, lengths=(1, 1), context=61).windows(0, 0, 50, "eval").tokens
    assert (windows == 0).sum() == 50


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"N": 2}, "N = 2: must be an integer from 3"),
        ({"N": 10.5}, "N = 10.5: must be an integer"),
        ({"K": 0}, "K = 0: must be an integer from 1"),
        ({"K": "x"}, "K = 'x': must be an integer"),
        ({"V": 0}, "V = 0"),
        ({"lengths": [2, 1]}, r"lengths\[1\] = 1: must be an integer from 2 to 62"),
        ({"lengths": 2}, "lengths = 2: must be a list of 2"),
        ({"lengths": [1, 1]}, r"N = 225: must be at most 50, the number of names \(V = 50, lengths 1 to 1\)"),
        ({"lengths": [1, 40]}, r"2\^62"),
        ({"context": 500}, "context = 500: must be at least"),
        ({"context": -1}, "context = -1"),
        ({"n": 5}, "unknown task parameter 'n'; did you mean 'N'"),
        ({"length": 5}, "unknown task parameter 'length'; did you mean 'lengths'"),
    ],
)
def test_wrong_settings(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        build_task("depo1", settings)
    assert "\n" not in str(caught.value)


def test_settings_from_files() -> None:
    task = build_task("depo2", {"lengths": [5, 6], "N": 30})
    assert isinstance(task, Depo) and task.lengths == (5, 6) and task.context == 2048
    assert task.parameters == {"N": 30, "K": 16, "V": 4, "lengths": (5, 6)}
    assert task == Depo(30, 16, 4, (5, 6)) and hash(task) == hash(Depo(30, 16, 4, (5, 6)))


def test_vocabulary() -> None:
    tokens = Depo(N=3, K=2, V=2, lengths=(1, 2), context=50).vocabulary
    assert [(t.name, t.role, t.value) for t in tokens] == [
        ("<bos>", "special", None),
        ("<ans>", "special", None),
        ("<query_1>", "query", 1),
        ("<query_2>", "query", 2),
        ("a1", "name", None),
        ("a2", "name", None),
        ("b1", "name_end", None),
        ("b2", "name_end", None),
    ]
    assert Counter(token.role for token in LAPTOP.vocabulary) == {"special": 2, "query": 4, "name_end": 50}
    assert len(build_task("depo1").vocabulary) == 110


def test_coincidence_bounds_what_happens() -> None:
    """N = 4 out of four names: 3! 4! lists of edges, so that twenty windows of a few instances meet many of them."""
    task = Depo(N=4, K=1, V=4, lengths=(1, 1), context=60)
    fresh = [tuple(window[1:9]) for window in task.windows(0, 0, 1000, "eval").tokens]
    met = []
    for start in range(0, 1000, 20):
        windows = task.windows(0, start, 20).tokens
        texts = [" ".join(map(str, window)) for window in windows]
        met.append(np.mean([any(" ".join(map(str, edges)) in text for text in texts) for edges in fresh[:200]]))
    assert np.mean(met) <= task.coincidence(20) <= 3 * np.mean(met)
    weights = [1 / (2 + n) for n in (3, 4)]
    chance = weights[1] / sum(weights) / math.factorial(4) / math.factorial(3)
    assert task.coincidence(1) == pytest.approx(3 * chance)  # it may start at 0, 19 and 38, after instances of 3 nodes
    assert 0 < build_task("depo1").coincidence(10**8) < 1e-300
