"""Copy: windows, evaluation of models with known accuracy, scoring, errors."""

import math
import re
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from canonlab.data.plain import Random
from canonlab.errors import InputError
from canonlab.tasks.base import SPLITS, Split
from canonlab.tasks.catalog import build_task
from canonlab.tasks.copy import Copy
from canonlab.tasks.metrics import count_for_half_width
from laws import assert_uniform

SMALL = Copy(N=5, context=30)
TASKS = [build_task("copy"), SMALL, Copy(N=2, context=6), Copy(N=64, context=140), Copy(N=3, context=17)]


def plain_window(task: Copy, seed: int, index: int, split: Split) -> tuple[list[int], list[int]]:
    """The slow twin of the generator: tokens and mask of one window."""
    rng = Random(task.stream_key(seed), index, SPLITS.index(split))
    tokens: list[int] = []
    mask: list[int] = []
    while len(tokens) < task.context:
        numbers = list(range(2, task.N + 2))
        rng.shuffle(numbers)
        tokens += [0, *numbers, 1, *numbers]
        mask += [0] * (task.N + 2) + [1] * task.N
    return tokens[: task.context], mask[: task.context]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", TASKS, ids=str)
def test_windows_are_those_of_the_plain_twin(task: Copy, split: Split) -> None:
    for seed, start in ((0, 0), (9, 2**61)):
        windows = task.windows(seed, start, 4, split)
        for i in range(4):
            tokens, mask = plain_window(task, seed, start + i, split)
            assert windows.tokens[i].tolist() == tokens
            assert windows.mask[i].tolist() == mask


def test_every_copy_is_one() -> None:
    for tokens in SMALL.windows(1, 0, 200).tokens:
        names = [SMALL.vocabulary[i].name for i in tokens]
        for begin in (0, 12):
            assert names[begin] == "<bos>" and names[begin + 6] == "<query>"
            assert names[begin + 1 : begin + 6] == names[begin + 7 : begin + 12]
            assert sorted(names[begin + 1 : begin + 6]) == ["1", "2", "3", "4", "5"]


def test_permutations_are_uniform() -> None:
    task = Copy(N=4, context=20)
    tokens = task.windows(0, 0, 4000, "eval").tokens
    seen = Counter(tuple(row) for begin in (1, 11) for row in tokens[:, begin : begin + 4].tolist())
    assert_uniform([seen[order] for order in permutations(range(2, 6))])


def next_tokens(ids: Tensor) -> Tensor:
    """Logits of a model that knows the next token: it is shown whole windows."""
    return torch.nn.functional.one_hot(ids.roll(-1, dims=1), 7).float()


def test_models_with_known_accuracy() -> None:
    def value(model: object) -> dict[str, float]:
        evaluation = SMALL.evaluate(model, seed=3, windows=50, batch=16)  # type: ignore[arg-type]
        assert evaluation.headline == ("token_accuracy",)
        assert evaluation.notes == {"windows": 50, "instances": 100}
        assert {name: metric.count for name, metric in evaluation.metrics.items()} == {
            "token_accuracy": 500, "first_1": 100, "first_2": 100, "first_4": 100, "all": 100, "loss": 500
        }  # fmt: skip
        return {name: metric.value for name, metric in evaluation.metrics.items() if name != "loss"}

    def fails_at(copied: int) -> object:
        def model(ids: Tensor) -> Tensor:
            logits = next_tokens(ids)
            logits[:, [6 + copied, 18 + copied]] = torch.tensor([9.0, 0, 0, 0, 0, 0, 0])
            return logits

        return model

    names = ("token_accuracy", "first_1", "first_2", "first_4", "all")
    assert value(next_tokens) == dict.fromkeys(names, 1.0)
    assert value(lambda ids: torch.zeros(*ids.shape, 7)) == dict.fromkeys(names, 0.0)
    assert value(fails_at(2)) == dict(zip(names, (0.8, 1.0, 1.0, 0.0, 0.0), strict=True))
    assert value(fails_at(4)) == dict(zip(names, (0.8, 1.0, 1.0, 1.0, 0.0), strict=True))
    tokens = SMALL.windows(3, 0, 50, "eval").tokens
    always_three = value(lambda ids: torch.nn.functional.one_hot(torch.full_like(ids, 4), 7))
    assert always_three["token_accuracy"] == 0.2  # each permutation has one 3
    assert always_three["first_1"] == (np.count_nonzero(tokens[:, [7, 19]] == 4)) / 100
    assert always_three["first_2"] == 0.0


def test_default_windows_give_one_point() -> None:
    for task in TASKS:
        assert task.default_windows * task.instances >= count_for_half_width(0.01)
    notes = SMALL.evaluate(next_tokens, seed=0, batch=500).notes
    assert notes["windows"] == SMALL.default_windows == 4802


def test_score_accepts_what_is_generated() -> None:
    task = TASKS[0]
    for tokens in task.windows(0, 0, 20, "eval").tokens:
        assert task.score(tokens[:502], tokens[502:1002]) == (True, "all 500 numbers in order")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ([], "unfinished copy: 0 of 5"),
        ([4, 2, 6, 3], "unfinished copy: 4 of 5"),
        ([4, 2, 6, 3, 5, 0], "trailing tokens: 1 after"),
        ([4, 2, 3, 6, 5], "number 3 of the copy is 5, not 2"),
        ([4, 2, 3], "number 3 of the copy is 5, not 2"),
        ([4, 2, 99, 3, 5], r"number 3 of the copy is 5, not \?99"),
        ([4, 2, 6, 3, 5.0], "number 5 of the copy is 4, not"),
    ],
)
def test_score_rejects(answer: list[int], why: str) -> None:
    verdict = SMALL.score([0, 4, 2, 6, 3, 5, 1], answer)
    assert not verdict.right
    assert re.match(why, verdict.why)


@pytest.mark.parametrize(
    ("prompt", "complaint"),
    [
        ([], r"prompt\[0\]: must be <bos>, not the prompt's end"),
        ([1, 4, 2, 6, 3, 5, 1], r"prompt\[0\]: must be <bos>, not '<query>'"),
        ([0, 4, 2, 6, 3, 5], r"prompt\[6\]: must be <query>, not the prompt's end"),
        ([0, 4, 2, 6, 3, 1], r"prompt\[6\]: must be <query>"),
        ([0, 4, 2, 6, 3, 5, 1, 4], "prompt: 8 tokens, must be 7"),
        ([0, 4, 4, 6, 3, 5, 1], "each of 1..5 once"),
        ([0, 4, 2, 7, 3, 5, 1], r"prompt\[3\] = 7: must be a token id from 0 to 6"),
    ],
)
def test_malformed_prompts(prompt: list[int], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        SMALL.score(prompt, [])


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"N": 1}, "N = 1: must be an integer from 2"),
        ({"N": 2.5}, "N = 2.5"),
        ({"N": True}, "N = True"),
        ({"N": 64, "context": 129}, "context = 129: must be at least 130"),
        ({"context": "many"}, "context = 'many': must be an integer"),
        ({"n": 5}, "unknown task parameter 'n'; did you mean 'N'"),
    ],
)
def test_wrong_settings(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        build_task("copy", settings)


def test_vocabulary_and_coincidence() -> None:
    assert [(t.name, t.role, t.value) for t in Copy(2, 6).vocabulary] == [
        ("<bos>", "special", None),
        ("<query>", "special", None),
        ("1", "number", 1),
        ("2", "number", 2),
    ]
    assert SMALL.coincidence(7) == pytest.approx(2 * 7 / math.factorial(5))
    assert SMALL.coincidence(10**6) == 1.0
    assert SMALL.warnings() == []
