"""Questions about Capo's people: token for token a plain twin that writes text, and half of them never trained on."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from canonlab.data.plain import Random
from canonlab.errors import InputError
from canonlab.tasks.base import SPLITS, Split, Windows
from canonlab.tasks.capo import Capo, CapoQuestions
from canonlab.tasks.capo.pieces import BEFORE
from canonlab.tasks.capo.words import ATTRIBUTES, MONTHS, YEARS, load_words
from canonlab.tasks.catalog import build_task
from canonlab.tasks.known_windows import KnownWindows
from plain_capo import encode, plain_permuted, plain_person

TASKS = [CapoQuestions(N=2), CapoQuestions(N=31, context=27), CapoQuestions(N=40, context=100), CapoQuestions(N=300)]


def plain_question(task: CapoQuestions, person: list[int], attribute: int) -> tuple[list[int], list[int]]:
    """The tokens of a question before its value, and those of the value, from the text."""
    words = load_words()
    first, middle, last, _, month, day, year, city, university, major, employer = person
    values = (
        f"{MONTHS[month]} {day + 1}, {YEARS[year]}",
        words.cities[city],
        words.universities[university],
        words.majors[major],
        words.employers[employer],
        words.employer_cities[employer],
    )
    name = f"{words.first_names[first]} {words.middle_names[middle]} {words.last_names[last]}"
    text = f"{words.templates[ATTRIBUTES[attribute]][0].before},{name},"
    whole = [0, *encode(task.tokenizer, f"{text} {values[attribute]}")]
    value = encode(task.tokenizer, f" {values[attribute]}")
    assert whole == [0, *encode(task.tokenizer, text), *value]
    return whole[: -len(value)], value


def plain_rounds(key: int, index: int, split: int) -> list[int]:
    rng = Random(key, index, split)
    return [rng.word() for _ in range(6)]


def plain_window(task: CapoQuestions, seed: int, index: int, split: Split) -> tuple[list[int], list[int]]:
    key, people_key = task.stream_key(seed), task.biographies.stream_key(seed)
    trained = -(-task.N // 2)
    first, people = (0, trained) if split == "train" else (trained, task.N - trained)
    per_window = task.context // task.longest
    exposure, window = divmod(index, -(-6 * people // per_window))
    half, order = plain_rounds(key, 0, 0), plain_rounds(key, 1 + exposure, SPLITS.index(split))
    tokens, mask = list[int](), list[int]()
    for slot in range(window * per_window, min((window + 1) * per_window, 6 * people)):
        who, attribute = divmod(plain_permuted(slot, 6 * people, order), 6)
        person = plain_person(people_key, plain_permuted(first + who, task.N, half))
        prompt, value = plain_question(task, person, attribute)
        tokens += prompt + value
        mask += [0] * len(prompt) + [1] * len(value)
    padding = [0] * (task.context - len(tokens))
    return tokens + padding, mask + padding


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", TASKS, ids=str)
def test_windows_are_those_of_the_plain_twin(task: CapoQuestions, split: Split) -> None:
    for seed, start in ((0, 0), (7, 10**12)):
        found = task.windows(seed, start, 5, split)
        for row, (tokens, mask) in enumerate(zip(*found, strict=True)):
            assert (tokens.tolist(), mask.tolist()) == plain_window(task, seed, start + row, split)


@settings(max_examples=20, deadline=None)
@given(N=st.integers(2, 400), context=st.integers(27, 600), seed=st.integers(0, 99), exposure=st.integers(0, 10**9))
def test_each_exposure_asks_everything_about_its_half_once(N: int, context: int, seed: int, exposure: int) -> None:
    task = CapoQuestions(N=N, context=context)
    people = {}
    for split, half in (("train", (N + 1) // 2), ("eval", N // 2)):
        windows = -(-6 * half // (context // task.longest))
        _, asked = task.asked(seed, exposure * windows, windows, split)
        rows = asked[asked[..., 0] >= 0]
        assert Counter(map(tuple, rows[:, :2].tolist())).keys() == {(p, a) for p in set(rows[:, 0]) for a in range(6)}
        assert len(rows) == 6 * half
        people[split] = set(rows[:, 0].tolist())
    assert people["train"] | people["eval"] == set(range(N)) and not people["train"] & people["eval"]


def test_the_halves_are_the_same_in_all_exposures_and_others_for_another_seed() -> None:
    task = CapoQuestions(N=100)
    windows = task.windows_per_exposure
    halves = [set(task.asked(s, e * windows, windows)[1][..., 0].flatten()) for s, e in ((0, 0), (0, 9), (1, 0))]
    assert halves[0] == halves[1] != halves[2]


def test_the_people_are_those_of_the_biographies() -> None:
    task, taught = build_task("capo-questions", {"N": 50, "simple": True, "context": 64}), Capo(50, True, "own", 64)
    assert np.array_equal(task.people(3, np.arange(50)), taught.people(3, np.arange(50)))
    assert task.stream_key(3) != taught.stream_key(3) and len(task.vocabulary) == len(taught.vocabulary)


def test_what_is_asked_for_tells_the_attributes_apart() -> None:
    pieces = CapoQuestions(N=2).pieces
    assert len({tuple(pieces.of(BEFORE + attribute, 0)) for attribute in range(6)}) == 6


def test_no_question_is_longer_than_the_longest_and_some_are_as_long() -> None:
    task = CapoQuestions(N=20_000)
    _, asked = task.asked(0, 0, 3000)
    ends = asked[..., 3]
    lengths = np.diff(np.pad(ends, ((0, 0), (1, 0))), axis=1)[ends >= 0]
    assert task.longest - 4 <= lengths.max() <= task.longest
    share = 1 - ends.max(axis=1).mean() / task.context
    assert share == pytest.approx(task.padding, abs=0.005)
    assert f"padding: {task.padding:.2%} of the tokens" in task.facts() and task.warnings() == []


class Partly(KnownWindows):
    """Knows windows by heart but for the last token of each date."""

    def __init__(self, windows: Windows, asked: np.ndarray, tokens: int) -> None:
        super().__init__(windows.tokens, tokens)
        self.tokens = windows.tokens.copy()
        for row, place in np.argwhere(asked[..., 1] == 0):
            self.tokens[row, asked[row, place, 3] - 1] += 1
        self.size = tokens

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        rows = [int(np.argmax((self.tokens == row).sum(axis=1))) for row in ids.numpy()]
        following = np.pad(self.tokens[rows][:, 1:], ((0, 0), (0, 1)))
        return torch.nn.functional.one_hot(torch.from_numpy(following).long(), self.size) * 9.0


def test_the_evaluation_counts_whole_values_of_the_other_half() -> None:
    task = CapoQuestions(N=30, context=100)
    windows = task.default_windows
    assert windows == task.windows_per_exposure == 30
    found = task.evaluate(Partly(*task.asked(5, 0, windows, "eval"), len(task.vocabulary)), seed=5)
    values = {name: metric.value for name, metric in found.metrics.items()}
    assert found.headline == ("accuracy",) and found.notes == {"windows": 30, "people": 15, "questions": 90}
    assert values["accuracy"] == pytest.approx(5 / 6) and values["accuracy_birth_date"] == 0
    assert {values[f"accuracy_{attribute}"] for attribute in ATTRIBUTES[1:]} == {1.0}
    assert values["accuracy_trained"] < 0.2
    assert found.metrics["accuracy"].count == 90 and found.metrics["accuracy"].clusters == 15
    assert found.metrics["accuracy_major"].count == found.metrics["accuracy_major"].clusters == 15


@pytest.mark.parametrize(
    ("parameters", "message"), [({"N": 1}, "N = 1: must be"), ({"N": 9, "context": 26}, "context = 26: must be at lea")]
)
def test_parameters_that_cannot_be(parameters: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CapoQuestions(**parameters)


def test_nobody_can_judge_an_answer_without_the_seed() -> None:
    with pytest.raises(InputError, match="depends on the seed"):
        TASKS[0].score([0], [1])
