"""Mano's generator: token for token its plain twin, right by an independent solver, and lawful."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest

from canonlab.tasks.base import SPLITS, Split
from canonlab.tasks.catalog import build_task
from canonlab.tasks.mano import Mano, kernels
from laws import assert_follows, assert_uniform
from plain_mano import infix, plain_window, read_window
from redraws import OftenRedrawing, often

PUBLISHED = [build_task("mano", {"L": L}) for L in (10, 13, 16)]
TASKS = [*PUBLISHED, Mano(L=1, context=7), Mano(L=4, context=64), Mano(L=200, context=1000), Mano(L=3, context=401)]
TASKS += [Mano(L=3, context=32, P=3), Mano(L=5, context=90, P=2), Mano(L=2, context=64, P=997)]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", TASKS, ids=str)
def test_windows_are_those_of_the_plain_twin(task: Mano, split: Split) -> None:
    for seed, start, count in ((0, 0, 6), (123, 10**12, 3)):
        windows = task.windows(seed, start, count, split)
        for i in range(count):
            tokens, mask = plain_window(task, seed, start + i, split)
            assert windows.tokens[i].tolist() == tokens
            assert windows.mask[i].tolist() == mask


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", PUBLISHED, ids=str)
def test_every_answer_is_right(task: Mano, split: Split) -> None:
    lengths = set()
    for tokens in task.windows(7, 0, 60, split).tokens:
        instances = read_window(task, tokens)
        assert instances[0].begin == 0 and all(instance.answer for instance in instances[:-1])
        for instance in instances:
            if instance.answer:
                rest = list(instance.expression)
                assert int(instance.answer) == eval(infix(rest)) % task.P
                assert rest == [] and instance.length == f"<len_{len(instance.expression) // 2}>"
                lengths.add(len(instance.expression) // 2)
    assert lengths == ({task.L} if split == "eval" else set(range(1, task.L + 1)))


def test_words_are_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plain_mano.Random", OftenRedrawing)
    task, law = PUBLISHED[0], kernels.law(1, 10, 23)
    assert law.redraw.tolist() == [2**64 % 23, *(2**64 % (3 * m) for m in range(1, 11))]
    out = task.windows(0, 0, 3)
    kernels.fill(*out, np.uint64(task.stream_key(1)), 5, 0, law._replace(redraw=often(law.redraw)))
    assert out.tokens.tolist() == [plain_window(task, 1, 5 + i, "train")[0] for i in range(3)]


def test_windows_depend_on_their_index_alone() -> None:
    task = PUBLISHED[0]
    at_once = task.windows(5, 100, 24)
    with ThreadPoolExecutor(3) as pool:
        parts = list(pool.map(lambda start: task.windows(5, start, 8), (100, 108, 116)))
    assert np.array_equal(np.concatenate([part.tokens for part in parts]), at_once.tokens)
    assert not np.array_equal(at_once.tokens, task.windows(5, 100, 24, "eval").tokens)


def first_expressions(task: Mano, windows: int, split: Split) -> list[list[str]]:
    return [read_window(task, tokens)[0].expression for tokens in task.windows(1, 0, windows, split).tokens]


def test_law_of_lengths() -> None:
    task = Mano(L=10, context=25)
    lengths = Counter(len(expression) // 2 for expression in first_expressions(task, 8000, "train"))
    assert_uniform([lengths[l] for l in range(1, 11)])


def shapes(l: int) -> dict[str, Fraction]:
    """The exact law of an expression's shape, "o" for an operator and "n" for a number, by enumeration."""
    if l == 0:
        return {"n": Fraction(1)}
    law: dict[str, Fraction] = Counter()  # type: ignore[assignment]
    for left in range(l):
        for a, p in shapes(left).items():
            for b, q in shapes(l - 1 - left).items():
                law["o" + a + b] += p * q / l
    return law


def test_law_of_shapes() -> None:
    expressions = first_expressions(Mano(L=4, context=13), 8000, "eval")
    seen = Counter("".join("o" if name in "+-*" else "n" for name in expression) for expression in expressions)
    law = shapes(4)
    assert len(law) == 14 and sum(law.values()) == 1 and set(seen) <= set(law)
    assert_follows([seen[shape] for shape in law], [float(p) for p in law.values()])


def test_operators_and_numbers_are_uniform() -> None:
    """One operator: 3 x 23 x 23 equally probable expressions."""
    expressions = Counter(map(tuple, first_expressions(Mano(L=1, context=7), 20000, "eval")))
    assert_uniform([expressions[o, str(a), str(b)] for o in "+-*" for a in range(23) for b in range(23)])
    longer = first_expressions(Mano(L=5, context=15), 4000, "eval")
    names = Counter(name for expression in longer for name in expression)
    assert_uniform([names[name] for name in "+-*"])
    assert_uniform([names[str(number)] for number in range(23)])
