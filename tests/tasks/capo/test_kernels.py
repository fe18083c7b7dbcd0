"""Capo's generator: token for token its plain twin, every person once per exposure, and lawful."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from canonlab.tasks.base import SPLITS, Split
from canonlab.tasks.capo import Capo, kernels
from canonlab.tasks.capo.lengths import mean
from canonlab.tasks.capo.pieces import BEFORE, EOS
from canonlab.tasks.capo.tokenizer import byte_symbols
from canonlab.tasks.capo.words import ATTRIBUTES, load_words
from laws import assert_uniform
from plain_capo import encode, plain_block, plain_tokens
from redraws import OftenRedrawing

TASKS = [
    *(Capo(N=N, simple=simple) for N in (1, 5, 100) for simple in (False, True)),
    Capo(N=40, context=97),
    Capo(N=3, context=2),
    *(Capo(N=50, paraphrases=paraphrases, permute=permute) for paraphrases in (0, 1, 4) for permute in (False, True)),
    Capo(N=50, simple=True, permute=False),
]
SIZES = [1, 5, 100, 2047, 2048, 2049, 5000]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", TASKS, ids=str)
def test_windows_are_those_of_the_plain_twin(task: Capo, split: Split) -> None:
    windows = task.windows_per_exposure
    for seed, exposure in ((0, 0), (0, 1), (123, 10**12)):
        found = task.windows(seed, exposure * windows, windows, split)
        texts = plain_block(task, task.stream_key(seed), exposure, split, 0)
        tokens, mask = plain_tokens(task, texts, windows)
        assert found.tokens.tolist() == tokens
        assert found.mask.tolist() == mask


@pytest.mark.parametrize("simple", [False, True])
def test_blocks_are_those_of_the_plain_twin(simple: bool) -> None:
    task = Capo(N=2 * 2048 + 30, simple=simple)
    full = Capo(N=2048).windows_per_exposure
    last = Capo(N=30).windows_per_exposure
    assert task.windows_per_exposure == 2 * full + last
    for block, start, count in ((1, full, full), (2, 2 * full, last)):
        texts = plain_block(task, task.stream_key(4), 3, "train", block)
        tokens, mask = plain_tokens(task, texts, count)
        found = task.windows(4, 3 * task.windows_per_exposure + start, count)
        assert found.tokens.tolist() == tokens
        assert found.mask.tolist() == mask


@pytest.mark.parametrize("variety", [{}, {"simple": True}, {"paraphrases": 3, "permute": False}], ids=str)
def test_words_and_blocks_are_drawn_anew(variety: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for the shorter half of all blocks, and limits that reject every second word."""
    monkeypatch.setattr("plain_capo.Random", OftenRedrawing)
    task = Capo(N=20, **variety, context=8)
    windows = round(20 * mean(task.lengths) / 8)
    law = task.law._replace(
        block_windows=windows,
        last_windows=windows,
        redraw_person=np.uint64(1 << 63),
        redraw_description=np.uint64(1 << 63),
    )
    out = task.windows(0, 0, windows)
    anew = 0
    for exposure in range(8):
        key = task.stream_key(exposure)
        kernels.fill(*out, np.uint64(key), exposure * windows, 1, law)
        texts = plain_block(task, key, exposure, "eval", 0, room=8 * windows)
        assert (out.tokens.tolist(), out.mask.tolist()) == plain_tokens(task, texts, windows)
        anew += texts != plain_block(task, key, exposure, "eval", 0)
    assert 0 < anew < 8


def biographies(task: Capo, tokens: np.ndarray) -> list[str]:
    """The texts in a whole number of exposures."""
    return [text for text in task.pieces.decode(tokens.ravel().tolist()).split("<eos>") if text]


def names(task: Capo, texts: list[str]) -> Counter[str]:
    return Counter(" ".join(text.split(" ", 3)[:3]) for text in texts)


def taught(task: Capo, seed: int) -> Counter[str]:
    people = task.people(seed, np.arange(task.N))
    return Counter(task.pieces.decode([i for kind in range(3) for i in task.pieces.of(kind, p[kind])]) for p in people)


@pytest.mark.parametrize("N", SIZES)
def test_each_person_comes_once_per_exposure(N: int) -> None:
    task = Capo(N=N)
    everybody = taught(task, 6)
    assert len(everybody) == N and set(everybody.values()) == {1}
    windows, orders = task.windows_per_exposure, set()
    for split in SPLITS:
        for exposure in (0, 1, 10**6):
            texts = biographies(task, task.windows(6, exposure * windows, windows, split).tokens)
            assert names(task, texts) == everybody
            orders.add(tuple(names(task, texts)))
    assert len(orders) == 6 or N < 6


@pytest.mark.parametrize("N", SIZES)
def test_any_split_into_calls_gives_the_same(N: int) -> None:
    task = Capo(N=N)
    count = 2 * task.windows_per_exposure + 3
    start = 5 * task.windows_per_exposure - 2
    whole = task.windows(1, start, count)
    cuts = np.unique([0, *np.random.default_rng(N).integers(0, count, 12), count])
    with ThreadPoolExecutor(3) as pool:
        parts = list(pool.map(lambda a, b: task.windows(1, start + a, b - a), cuts[:-1].tolist(), cuts[1:].tolist()))
    for whole_array, *arrays in zip(whole, *parts, strict=True):
        assert np.array_equal(np.concatenate(arrays), whole_array)
    for i in range(0, count, max(1, count // 7)):
        alone = task.windows(1, start + i, 1)
        assert np.array_equal(alone.tokens[0], whole.tokens[i]) and np.array_equal(alone.mask[0], whole.mask[i])


def test_workers_that_take_turns_give_the_same() -> None:
    """Two ranks with halves of every batch, as in `canonlab.data.batches`."""
    task = Capo(N=300)
    whole = task.windows(1, 0, 4 * 37).tokens
    halves = [
        task.windows(1, batch * 37 + first, size).tokens for batch in range(4) for first, size in ((0, 18), (18, 19))
    ]
    assert np.array_equal(np.concatenate(halves), whole)


def test_tokens_are_those_of_the_text() -> None:
    task = Capo(N=2049)
    tokens = task.windows(8, 0, task.windows_per_exposure).tokens.ravel()
    texts = biographies(task, tokens)
    assert len(texts) == 2049
    stops = np.flatnonzero(tokens == EOS)
    parts = [tokens[a + 1 : b].tolist() for a, b in zip(stops, [*stops[1:], len(tokens)], strict=True) if b > a + 1]
    assert parts == [encode("own", text) for text in texts]


def test_another_tokenizer(tmp_path: Path) -> None:
    """One that joins no bytes."""
    vocabulary = [*byte_symbols(), "<eos>"]
    content = {
        "model": {"type": "BPE", "vocab": {symbol: i for i, symbol in enumerate(vocabulary)}, "merges": []},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
        "added_tokens": [{"id": 256, "content": "<eos>"}],
    }
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content))
    task = Capo(N=100, tokenizer=str(path))
    assert task.stream_key(0) != Capo(N=100).stream_key(0)
    texts = plain_block(task, task.stream_key(0), 0, "train", 0)
    found = task.windows(0, 0, task.windows_per_exposure)
    assert (found.tokens.tolist(), found.mask.tolist()) == plain_tokens(task, texts, task.windows_per_exposure)
    assert found.mask.sum() > 100 * 250


@pytest.mark.parametrize("N", [7, 2048 + 7])
def test_all_but_the_rest_of_a_block_is_marked(N: int) -> None:
    task = Capo(N=N)
    found = task.windows(3, 0, task.windows_per_exposure)
    starts = [0, task.windows_per_exposure - Capo(N=7).windows_per_exposure] if N > 2048 else [0]
    for start, stop in zip(starts, [*starts[1:], len(found.tokens)], strict=True):
        tokens, place = found.tokens[start:stop].ravel(), np.arange((stop - start) * task.context)
        end = np.flatnonzero(tokens != EOS)[-1] + 1
        assert tokens[0] == EOS
        assert np.array_equal(found.mask[start:stop].ravel(), (place < end) & (place % task.context > 0))


def test_simple_biographies_never_change() -> None:
    """The same in every exposure and both splits; else other templates and orders each time."""
    for simple in (True, False):
        task = Capo(N=60, simple=simple)
        windows = task.windows_per_exposure
        shown = [task.windows(2, exposure * windows, windows, split) for exposure in (0, 9) for split in SPLITS]
        common = set.intersection(*(set(biographies(task, tokens)) for tokens, _ in shown))
        assert len(common) == (60 if simple else 0)


def test_people_have_so_many_biographies() -> None:
    """Each exposure shows one of three, all alike often, in both splits."""
    task = Capo(N=40, paraphrases=3)
    windows = task.windows_per_exposure
    shown: dict[str, Counter[str]] = {}
    for exposure in range(60):
        for split in SPLITS:
            for text in biographies(task, task.windows(2, exposure * windows, windows, split).tokens):
                shown.setdefault(" ".join(text.split(" ", 3)[:3]), Counter())[text] += 1
    assert len(shown) == 40 and {len(texts) for texts in shown.values()} == {3}
    assert_uniform([count for texts in shown.values() for count in texts.values()])


def test_one_biography_is_bios_simple() -> None:
    simple, one = Capo(N=30, simple=True), Capo(N=30, paraphrases=1)
    assert simple.identity == one.identity
    assert np.array_equal(simple.windows(0, 5, 9).tokens, one.windows(0, 5, 9).tokens)


def test_sentences_in_the_order_of_the_attributes() -> None:
    task = Capo(N=30, permute=False)
    texts = biographies(task, task.windows(0, 0, task.windows_per_exposure).tokens)
    templates = load_words().templates
    for text in texts:
        sentences = text.removesuffix(".").split(". ")
        assert len(sentences) == 6
        for sentence, attribute in zip(sentences, ATTRIBUTES, strict=True):
            assert any(template.before in sentence for template in templates[attribute])


def test_law_of_descriptions() -> None:
    """Orders of sentences and templates are uniform, and templates of two attributes independent."""
    task = Capo(N=2048)
    orders, templates = Counter(), []
    plans, offsets = np.empty((2048, kernels.PIECES), np.int64), np.empty(2049, np.int64)
    room = task.windows_per_exposure * task.context
    for exposure in range(10):
        count = kernels.plan_block(plans, offsets, np.uint64(5), exposure, 0, 0, task.law, room)
        assert count == 2048
        kinds = np.searchsorted(task.pieces.base, plans, side="right") - 1
        sentence = (kinds >= BEFORE) & (kinds < BEFORE + 6)
        order = kinds[sentence].reshape(-1, 6) - BEFORE
        orders.update(map(tuple, order.tolist()))
        drawn = (plans - task.pieces.base[kinds])[sentence].reshape(-1, 6)
        templates.append(np.take_along_axis(drawn, np.argsort(order), axis=1))
    assert_uniform([orders[order] for order in permutations(range(6))])
    found = np.concatenate(templates)
    for attribute, size in enumerate(task.law.templates.tolist()):
        assert_uniform(np.bincount(found[:, attribute], minlength=size).tolist())
    first, second = found[:, 0] % 10, found[:, 5] % 10
    if all(size % 10 == 0 for size in task.law.templates):
        assert_uniform(np.bincount(first * 10 + second, minlength=100).tolist())
