"""Brevo: evaluation of models with known accuracy, default counts, warnings, errors."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from canonlab.errors import InputError
from canonlab.tasks.brevo import Brevo
from canonlab.tasks.catalog import build_task
from canonlab.tasks.metrics import count_for_half_width
from plain_brevo import Instance, depth, read_window

SMALL = Brevo(N=20, context=200)
TWO = Brevo(N=12, V=4, lengths=(2, 4), query="last", context=500)
ROWS = ["accuracy", *(f"accuracy_depth{d}" for d in range(1, 6)), "accuracy_deeper"]

Prompts = Sequence[Sequence[int]]


def no_logits(ids: Tensor) -> Tensor:
    """All tokens alike: what is written is asked of `generate` where there is one."""
    return torch.zeros(*ids.shape, 300)


class Writer:
    """A `generate` that works out a right answer, in another order than the data's; `spoil` may change it."""

    def __init__(self, task: Brevo, spoil: Callable[[Instance, list[int]], list[int]] | None = None) -> None:
        self.task, self.spoil = task, spoil
        self.calls: list[tuple[int, int]] = []

    def __call__(self, prompts: Prompts, max_new: int, stop: int | None = None, **_: Any) -> list[list[int]]:
        self.calls.append((len(prompts), max_new))
        assert stop == 3
        return [self.answer(list(prompt))[:max_new] for prompt in prompts]

    def answer(self, prompt: list[int]) -> list[int]:
        """Depth first, parents before the vertex."""
        [asked] = read_window(self.task, np.array([*prompt, 3]))
        listed, edges = list[tuple[str, ...]](), sorted(asked.edges)

        def visit(vertex: tuple[str, ...]) -> None:
            for parent, child in edges:
                if child == vertex and parent not in listed:
                    visit(parent)
            listed.append(vertex)

        visit(asked.query)
        ids = [self.task.vocabulary.id(token) for name in listed for token in name] + [3]
        return self.spoil(asked, ids) if self.spoil else ids


def counted_depths(task: Brevo, windows: int) -> Counter[int]:
    """How many first instances are of each depth, 6 for deeper ones."""
    firsts = [read_window(task, window)[0] for window in task.windows(3, 0, windows, "eval").tokens]
    return Counter(min(depth(first.edges, first.query), 6) for first in firsts)


@pytest.mark.parametrize("task", [SMALL, TWO], ids=str)
def test_counts_and_a_perfect_model(task: Brevo) -> None:
    writer = Writer(task)
    evaluation = task.evaluate(no_logits, seed=3, windows=70, batch=32, generate=writer)
    depths = counted_depths(task, 70)
    firsts = [read_window(task, window)[0] for window in task.windows(3, 0, 70, "eval").tokens]
    lengths = [first.stop - first.start for first in firsts]
    assert writer.calls == [(32, max(lengths[:32])), (32, max(lengths[32:64])), (6, max(lengths[64:]))]
    losses = ["loss", *(row.replace("accuracy", "loss") for row in ROWS[1:])]
    assert list(evaluation.metrics) == [*ROWS, *losses] and evaluation.headline == ("accuracy",)
    shares = [evaluation.metrics[row] for row in ROWS]
    assert [metric.count for metric in shares] == [70, *(depths[d] for d in range(1, 7))]
    assert all(metric.right == metric.count for metric in shares)
    assert evaluation.metrics["loss"].count == task.windows(3, 0, 70, "eval").mask.sum()
    assert sum(evaluation.metrics[name].count for name in losses[1:]) == sum(lengths)
    assert evaluation.metrics["loss"].value == pytest.approx(math.log(300))
    assert evaluation.notes == {"windows": 70, "cut_instances": 0}


def test_deeper_ones_have_their_own_row() -> None:
    """With 110 vertices one query in fifty has more than five edges between it and any leaf."""
    task = Brevo(N=110, query="last", context=1024)
    evaluation = task.evaluate(no_logits, seed=3, windows=150, generate=Writer(task))
    assert evaluation.metrics["accuracy_deeper"].count == counted_depths(task, 150)[6] > 0
    assert evaluation.plain()["metrics"]["accuracy_deeper"]["value"] == 1.0


def test_wrong_models() -> None:
    for spoil in (
        lambda asked, ids: ids[:-1],
        lambda asked, ids: ids[::-1],
        lambda asked, ids: [*ids[:-1], ids[-2], 3],
        lambda asked, ids: ids[1:],
        lambda asked, ids: [],
        lambda asked, ids: [3],
        lambda asked, ids: [*ids[:-1], 99, 3],
    ):
        metrics = SMALL.evaluate(no_logits, seed=3, windows=40, generate=Writer(SMALL, spoil)).metrics
        assert metrics["accuracy"].value == 0.0 and metrics["accuracy_depth2"].value == 0.0


def test_depths_are_told_apart() -> None:
    def spoil(asked: Instance, ids: list[int]) -> list[int]:
        return ids[:-1] if depth(asked.edges, asked.query) == 2 else ids

    metrics = SMALL.evaluate(no_logits, seed=3, windows=70, generate=Writer(SMALL, spoil)).metrics
    depths = counted_depths(SMALL, 70)
    assert [metrics[f"accuracy_depth{d}"].value for d in (1, 2, 3)] == [1, 0, 1]
    assert metrics["accuracy"].right == 70 - depths[2] < 70


@pytest.mark.parametrize("task", [SMALL, TWO], ids=str)
def test_without_generate_the_logits_are_enough(task: Brevo) -> None:
    """A model that continues the evaluation windows, by their prompts; it forgets how for every third."""
    windows = task.windows(3, 0, 30, "eval").tokens
    known = {tuple(window[:12].tolist()): window for window in windows[np.arange(30) % 3 > 0]}

    def model(ids: Tensor) -> Tensor:
        logits = torch.zeros(*ids.shape, len(task.vocabulary))
        for row, out in zip(ids.tolist(), logits, strict=True):
            window = known.get(tuple(row[:12]))
            if window is not None:
                after = torch.from_numpy(window[1 : len(row) + 1].astype(np.int64))
                out[torch.arange(len(after)), after] = 1.0
        return logits

    metrics = task.evaluate(model, seed=3, windows=30, batch=8).metrics
    assert (metrics["accuracy"].right, metrics["accuracy"].count) == (20, 30)


def test_instances_that_do_not_fit_are_left_out_and_warned_of() -> None:
    task = Brevo(N=20, context=105)
    assert task.shortest_instance(20) <= 105 < task.longest_instance
    evaluation = task.evaluate(no_logits, seed=3, windows=200, batch=50, generate=Writer(task))
    cut = sum(not read_window(task, window) for window in task.windows(3, 0, 200, "eval").tokens)
    assert evaluation.notes == {"windows": 200, "cut_instances": cut} and 20 < cut < 180
    assert evaluation.metrics["accuracy"].count == evaluation.metrics["accuracy"].right == 200 - cut
    [line] = task.warnings()
    share = float(line.split("%")[0].split()[-1]) / 100
    assert abs(share - cut / 200) < 0.12
    assert line.startswith("context = 105: about") and f"{task.longest_instance} holds all" in line
    assert task.default_windows > 1.1 * count_for_half_width(0.01)
    nothing = Brevo(N=20, context=46)
    with pytest.raises(InputError, match="context = 46: must be longer, no sampled instance of N = 20 fits"):
        nothing.evaluate(no_logits, seed=0, generate=Writer(nothing))
    assert nothing.evaluate(no_logits, seed=0, windows=9, generate=Writer(nothing)).metrics["accuracy"].count == 0


@pytest.mark.parametrize("name", ["brevo1", "brevo2"])
def test_published_defaults(name: str) -> None:
    task = build_task(name)
    assert isinstance(task, Brevo) and task.default_windows == count_for_half_width(0.01)
    sizes = {"brevo1": (70, 90, 110), "brevo2": (30, 40, 50)}[name]
    for N in sizes:
        assert build_task(name, {"N": N}).warnings() == []


def test_the_default_counts_run() -> None:
    task = Brevo(N=3, context=14)
    evaluation = task.evaluate(no_logits, seed=1, batch=1000, generate=Writer(task))
    assert evaluation.metrics["accuracy"].count == count_for_half_width(0.01)


def test_the_bounds_of_instances() -> None:
    """Three vertices: two edges or three, and two or three vertices in the answer."""
    task = Brevo(N=3, query="last", context=14)
    assert (task.shortest_instance(3), task.longest_instance) == (11, 14)
    lengths = {read_window(task, window)[0].stop for window in task.windows(0, 0, 300, "eval").tokens}
    assert lengths == {11, 12, 14}
    with pytest.raises(InputError, match="context = 10: must be at least 11, since no instance of N = 3 vertices"):
        Brevo(N=3, context=10)
    for N in (5, 9, 14):
        task = Brevo(N=N, context=400)
        lengths = {read_window(task, window)[0].stop for window in task.windows(0, 0, 500, "eval").tokens}
        assert task.shortest_instance(N) <= min(lengths) <= max(lengths) <= task.longest_instance


def test_names() -> None:
    assert [token.role for token in Brevo(N=4).vocabulary] == ["special"] * 4 + ["name_end"] * 4
    words = build_task("brevo2").vocabulary
    assert words.decode(range(12)) == "<bos> <query> <ans> <eos> a1 a2 a3 a4 b1 b2 b3 b4" and len(words) == 12
    assert len(build_task("brevo1", {"N": 110}).vocabulary) == 114
    assert len(build_task("brevo1", {"V": 100}).vocabulary) == 104


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"N": 2}, "N = 2: must be an integer from 3"),
        ({"N": 10.5}, "N = 10.5: must be an integer"),
        ({"V": 0}, "V = 0: must be an integer from 1"),
        ({"V": 69}, r"N = 70: must be at most 69, the number of names \(V = 69, lengths 1 to 1\)"),
        ({"lengths": [2, 1]}, r"lengths\[1\] = 1"),
        ({"query": "lst"}, r"unknown query 'lst'; did you mean 'last'\? \(allowed: last, last-quarter\)"),
        ({"query": None}, "unknown query None"),
        ({"query": ["last"]}, "unknown query"),
        ({"context": 100}, "context = 100: must be at least 111, since no"),
        ({"K": 5}, "unknown task parameter 'K'"),
    ],
)
def test_wrong_settings(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        build_task("brevo1", settings)
    assert "\n" not in str(caught.value)


def test_settings_from_files() -> None:
    task = build_task("brevo2", {"lengths": [2, 3], "N": 40, "query": "last"})
    assert task == Brevo(40, 4, (2, 3), "last", 1536) and hash(task) == hash(Brevo(40, 4, (2, 3), "last", 1536))
    assert build_task("brevo1") == Brevo()


def test_coincidence_bounds_what_happens() -> None:
    """Three vertices: two or three edges, so at most half of the instances with the same edges list them alike."""
    task = Brevo(N=3, context=30)
    assert task.coincidence(0) == 0.0 and task.coincidence(10) == 1.0
    small = Brevo(N=9, context=60)
    fresh = [window[1 : read_window(small, window)[0].start] for window in small.windows(0, 0, 200, "eval").tokens]
    texts = [" ".join(map(str, window)) for window in small.windows(0, 0, 100).tokens]
    met = np.mean([any(" ".join(map(str, edges)) in text for text in texts) for edges in fresh])
    assert met <= small.coincidence(100) < 1
    for name in ("brevo1", "brevo2"):
        assert 0 < build_task(name).coincidence(10**8) < 1e-10
