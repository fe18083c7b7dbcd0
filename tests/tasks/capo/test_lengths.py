"""How many windows a block needs."""

import math
from fractions import Fraction

import numpy as np
import pytest

from canonlab.tasks.capo import Capo, kernels
from canonlab.tasks.capo.lengths import OVERFLOW, length_law, mean, windows_for
from canonlab.tasks.capo.pieces import EOS, load_pieces
from canonlab.tasks.capo.words import N0
from laws import assert_follows

LAW = length_law(load_pieces())


def distinct(people: int) -> Fraction:
    """The probability that independent names differ."""
    return math.prod((Fraction(N0 - i, N0) for i in range(people)), start=Fraction(1))


def test_law_of_lengths() -> None:
    """The lengths of many biographies, those before <eos>."""
    task = Capo(N=20_480)
    tokens = task.windows(0, 0, task.windows_per_exposure).tokens.ravel()
    lengths = np.diff(np.flatnonzero(tokens == EOS))
    lengths = lengths[lengths > 1]
    assert math.isclose(LAW.sum(), 1) and len(lengths) >= 20_480 - 10
    assert lengths.min() >= np.flatnonzero(LAW)[0] and lengths.max() < len(LAW)
    middle = np.arange(*np.searchsorted(np.cumsum(LAW), [0.002, 0.998]))
    seen = np.bincount(np.clip(lengths, middle[0] - 1, middle[-1] + 1), minlength=middle[-1] + 2)[middle[0] - 1 :]
    law = [LAW[: middle[0]].sum(), *LAW[middle], LAW[middle[-1] + 1 :].sum()]
    assert_follows(seen.tolist(), law)


@pytest.mark.parametrize("people", [1, 2, 3, 8, 60])
def test_fewest_windows_by_convolution(people: int) -> None:
    total = np.ones(1)
    for _ in range(people):
        total = np.convolve(total, LAW)
    for context in (1, 7, 512):
        windows = windows_for(LAW, people, context)
        limit = OVERFLOW * float(distinct(people))
        assert total[windows * context + 1 :].sum() < limit
        assert windows == 1 or total[(windows - 1) * context + 1 :].sum() >= limit


@pytest.mark.parametrize("people", [40, 1000, 2048])
def test_fewest_windows_exactly(people: int) -> None:
    """Coins instead of lengths: an exact count shows that the transform is precise enough."""
    tokens = windows_for(np.array([0.5, 0.5]), people, 1)
    limit = Fraction(1, 10**9) * distinct(people)

    def above(least: int) -> Fraction:
        return Fraction(sum(math.comb(people, k) for k in range(least + 1, people + 1)), 2**people)

    assert above(tokens) < limit <= above(tokens - 1)


@pytest.mark.parametrize("simple", [False, True])
def test_blocks_overflow_as_often_as_said(simple: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a probability that can be seen, over the blocks of many keys."""
    monkeypatch.setattr("canonlab.tasks.capo.lengths.OVERFLOW", 0.05)
    people, blocks = 20, 4000
    tokens = windows_for(LAW, people, 1)
    total = np.ones(1)
    for _ in range(people):
        total = np.convolve(total, LAW)
    task = Capo(N=people, simple=simple)
    plans, offsets = np.empty((people, kernels.PIECES), np.int64), np.empty(people + 1, np.int64)
    overflows = 0
    for key in range(blocks):
        kernels.plan_block(plans, offsets, np.uint64(key), 0, 0, 0, task.law, 10**9)
        overflows += offsets[-1] > tokens
    tail = float(total[tokens + 1 :].sum())
    assert 0.04 < tail < 0.05
    assert_follows([overflows, blocks - overflows], [tail, 1 - tail])


def test_one_window_at_least() -> None:
    assert windows_for(LAW, 1, 10_000) == windows_for(np.array([0.0, 1.0]), 1, 1) == 1
    assert windows_for(np.array([0.0, 0.0, 1.0]), 3, 1) == 6, "lengths that don't vary"


@pytest.mark.parametrize("N", [2048, 2 * 2048, 10 * 2048])
@pytest.mark.parametrize("tokenizer", ["own"])
def test_little_padding(N: int, tokenizer: str) -> None:
    task = Capo(N=N, tokenizer=tokenizer)
    assert 0 < task.padding <= 0.015
    windows = windows_for(LAW, 2048, 512)
    assert task.windows_per_exposure == N // 2048 * windows
    assert task.padding == pytest.approx(1 - 2048 * mean(LAW) / (512 * windows))


def test_padding_is_what_is_not_marked() -> None:
    for N, seeds in ((300, 40), (2048 + 300, 10)):
        task = Capo(N=N)
        masks = [task.windows(seed, 0, task.windows_per_exposure).mask[:, 1:] for seed in range(seeds)]
        assert 1 - np.mean(masks) == pytest.approx(task.padding, abs=2e-3)
