"""bioD's generator: token for token its plain twin, every person once per exposure, and lawful."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from canonlab.tasks.base import SPLITS, Split
from canonlab.tasks.biod import BioD
from canonlab.tasks.biod.kernels import EOS, ask
from laws import assert_uniform
from plain_biod import Stream

TASKS = [
    BioD(N=40),
    BioD(N=1, K=1, D=1, T=2, N0=1, context=2),
    BioD(N=30, K=3, C=2, D=5, L=3, T=7, N0=30, context=97),
    BioD(N=25, K=2, C=3, D=9, L=2, T=3, N0=1000, context=500),
    BioD(N=20, K=2, C=1, D=50, L=6, T=40_000),
    BioD(N=20, K=50, C=2, D=50, L=2, T=10, context=64),
    BioD(N=7, K=1, C=1, D=3, L=62, T=2, context=33),
    BioD(N=7, K=1, C=1, D=3, L=63, T=2, context=33),
]
SIZES = [1, 2, 7, 100, 2049]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", TASKS, ids=str)
def test_windows_are_those_of_the_plain_twin(task: BioD, split: Split) -> None:
    windows = task.windows_per_exposure
    for seed, exposure in ((0, 0), (0, 1), (123, 10**12)):
        found = task.windows(seed, exposure * windows, windows, split)
        tokens, mask = Stream(task, task.stream_key(seed)).exposure(exposure, split)
        assert found.tokens.tolist() == tokens
        assert found.mask.tolist() == mask


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_questions_are_those_of_the_plain_twin(task: BioD) -> None:
    key = task.stream_key(5)
    plain = Stream(task, key)
    first = task.N // 3
    found = ask(key, task.law, first, task.N - first)
    for i, index in enumerate(plain.sample()[first:]):
        name, values = plain.name(index), plain.values(index)
        assert found.name[i] == 1 + len(name)
        for attribute, value in enumerate(values):
            prompt = [EOS, *name, 1 + attribute]
            assert found.tokens[i, attribute].tolist() == [*prompt, *value]
            assert (found.start[i, attribute], found.stop[i, attribute]) == (len(prompt), len(prompt) + len(value))
            assert found.first is not None and found.first[i, attribute] == len(prompt) + task.L


def records(task: BioD, tokens: np.ndarray) -> np.ndarray:
    """The records (N, length) of a whole exposure."""
    return tokens.ravel()[: task.N * task.length].reshape(task.N, task.length)


@pytest.mark.parametrize("N", SIZES)
def test_each_person_comes_once_per_exposure(N: int) -> None:
    task = BioD(N=N, K=3, C=2, D=20, T=30)
    facts, orders = set(), set()
    for split in SPLITS:
        for exposure in (0, 1, 10**6):
            windows = task.windows(6, exposure * task.windows_per_exposure, task.windows_per_exposure, split)
            found = records(task, windows.tokens)
            assert np.array_equal(found == EOS, np.arange(task.length) == np.zeros((N, 1)))
            names = list(map(tuple, found[:, 1 : 1 + task.digits].tolist()))
            assert len(set(names)) == N
            groups = found[:, 1 + task.digits :].reshape(N, task.K, -1)
            assert np.array_equal(np.sort(groups[..., 0], axis=1), np.tile([1, 2, 3], (N, 1)))
            known = zip(names, groups.tolist(), strict=True)
            facts.add(frozenset((name, frozenset(map(tuple, group))) for name, group in known))
            orders.add(tuple(names))
            assert windows.tokens.ravel()[N * task.length :].sum() == 0 == windows.mask.ravel()[N * task.length :].sum()
    assert len(facts) == 1, "people are the same in every exposure of both splits"
    assert len(orders) == 6 or N < 6


@pytest.mark.parametrize("N", SIZES)
def test_any_split_into_calls_gives_the_same(N: int) -> None:
    task = BioD(N=N, context=150)
    count = 2 * task.windows_per_exposure + 3
    start = 5 * task.windows_per_exposure - 2
    whole = task.windows(1, start, count)
    cuts = np.unique([0, *np.random.default_rng(N).integers(0, count, 12), count])
    with ThreadPoolExecutor(3) as pool:
        parts = list(pool.map(lambda a, b: task.windows(1, start + a, b - a), cuts[:-1].tolist(), cuts[1:].tolist()))
    for whole_array, *arrays in zip(whole, *parts, strict=True):
        assert np.array_equal(np.concatenate(arrays), whole_array)


def test_millions_of_people_need_no_table() -> None:
    task = BioD(N=20_000_000, K=50, C=2, D=10_000, L=50, T=40_000)
    found = task.windows(0, 10**12, 2)
    assert found.mask[:, 1:].all() and found.tokens.max() > 1000


def test_strings_of_an_attribute_are_distinct_and_all_used() -> None:
    """Also where they are all strings that there are."""
    for D in (1, 30, 81):
        task = BioD(N=2000, K=2, C=1, D=D, L=4, T=3, N0=10_000)
        found = records(task, task.windows(0, 0, task.windows_per_exposure).tokens)
        groups = found[:, 1 + task.digits :].reshape(-1, 1 + task.L)
        for attribute in (1, 2):
            strings = Counter(map(tuple, groups[groups[:, 0] == attribute][:, 1:].tolist()))
            assert len(strings) == D
            if D > 1:
                assert_uniform(list(strings.values()))


def test_orders_of_attributes_are_uniform() -> None:
    task = BioD(N=3000, K=4, D=4, T=5)
    found = records(task, task.windows(0, 0, task.windows_per_exposure).tokens)
    orders = found[:, 1 + task.digits :].reshape(3000, 4, -1)[..., 0]
    counts = Counter(map(tuple, orders.tolist()))
    assert len(counts) == 24
    assert_uniform(list(counts.values()))
