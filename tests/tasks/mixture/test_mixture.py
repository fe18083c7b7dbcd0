"""Mixtures: exact shares, the parts' own windows, and their own evaluations of a model of all tokens."""

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from canonlab.data.plain import Random
from canonlab.errors import InputError
from canonlab.models.config import ModelConfig
from canonlab.models.decoder import Decoder
from canonlab.models.generate import generate
from canonlab.tasks.base import SPLITS
from canonlab.tasks.catalog import build_task
from canonlab.tasks.copy import Copy
from canonlab.tasks.known_windows import KnownWindows
from canonlab.tasks.mixture import Mixture, Part
from canonlab.tasks.mixture.layout import lay_out
from canonlab.tasks.mixture.words import Words

PEOPLE = Part("capo", {"N": 40}, share=1)
JUNK = Part("capo", {"N": 100_000_000}, share=7, name="junk")
SKILLS = Mixture((Part("lano-mini", share=2), Part("mano", {"L": 3, "P": 5}, share=3)), context=64)
KNOWLEDGE = Mixture((PEOPLE, JUNK), context=64)
LABELLED = Mixture((dataclasses.replace(PEOPLE, domain=True), JUNK), context=64)
MIXTURES = {"skills": SKILLS, "knowledge": KNOWLEDGE, "labelled": LABELLED}


def plain_layout(key: int, blocks: int, split: int, shares: list[int]) -> list[int]:
    """Whose the windows of the first blocks are."""
    found: list[int] = []
    for block in range(blocks):
        order = [part for part, share in enumerate(shares) for _ in range(share)]
        Random(key, block, split).shuffle(order)
        found += order
    return found


@given(
    st.integers(0, 2**64 - 1),
    st.integers(0, 1),
    st.lists(st.integers(1, 5), min_size=2, max_size=4),
    st.integers(0, 30),
    st.integers(1, 30),
)
def test_the_layout_is_the_plain_one(key: int, split: int, shares: list[int], start: int, count: int) -> None:
    plain = plain_layout(key, 61, split, shares)
    found = np.empty(count, np.int64)
    first = lay_out(found, np.uint64(key), start, split, np.array(shares))
    assert found.tolist() == plain[start : start + count]
    assert first.tolist() == [plain[:start].count(part) for part in range(len(shares))]


@pytest.mark.parametrize("mixture", MIXTURES.values(), ids=MIXTURES)
@pytest.mark.parametrize("split", SPLITS)
def test_windows_are_the_parts_own_in_exact_shares(mixture: Mixture, split: Any) -> None:
    block = int(mixture.shares.sum())
    tokens, mask = mixture.windows(3, 2 * block, 5 * block, split)
    key, number = mixture.stream_key(3), SPLITS.index(split)
    layout = np.array(plain_layout(key, 7, number, mixture.shares.tolist())[2 * block :])
    for i, (task, words) in enumerate(zip(mixture.tasks, mixture.words, strict=True)):
        share = mixture.parts[i].share
        assert [Counter(of.tolist())[i] for of in layout.reshape(5, block)] == [share] * 5
        own = task.windows(3, 2 * share, 5 * share, split)
        assert np.array_equal(tokens[layout == i], words.ids[own.tokens])
        assert np.array_equal(mask[layout == i], own.mask)


@pytest.mark.parametrize(("N", "share", "junk"), [(1, 1, 1), (40, 1, 7), (300, 2, 5), (2049, 3, 1)])
def test_an_exposure_shows_every_useful_person_once(N: int, share: int, junk: int) -> None:
    useful = Part("capo", {"N": N}, share=share, domain=True)
    mixture = Mixture((useful, dataclasses.replace(JUNK, share=junk)), context=128)
    (own, _), (words, _) = mixture.tasks, mixture.words
    needed = mixture.windows_per_exposure
    assert needed is not None and own.windows_per_exposure is not None
    assert 0 <= needed * share - own.windows_per_exposure * (share + junk) < share + junk
    opens = words.ids[0]
    tokens, _ = mixture.windows(0, 0, needed + share + junk)
    useful_rows = tokens[(tokens == opens).any(axis=1)][: own.windows_per_exposure]
    expected = own.windows(0, 0, own.windows_per_exposure).tokens
    assert np.array_equal(useful_rows, words.ids[expected])
    text = own.vocabulary.decode(expected.reshape(-1))
    assert text.count("<eos>") >= N  # one a person, and the rest of each block


def test_domains_and_vocabularies() -> None:
    capo, mano, lano = build_task("capo"), SKILLS.tasks[1], SKILLS.tasks[0]
    assert KNOWLEDGE.vocabulary.tokens == capo.vocabulary.tokens and all(words.same for words in KNOWLEDGE.words)
    assert (KNOWLEDGE.separator, KNOWLEDGE.separator_id) == ("<eos>", 0)
    names = [token.name for token in LABELLED.vocabulary]
    assert names == [*(token.name for token in capo.vocabulary), "<capo>"]
    assert LABELLED.separator is None and LABELLED.separator_id is None
    tokens = LABELLED.windows(0, 0, 8).tokens
    opened = (tokens == len(names) - 1).any(axis=1)
    assert opened.sum() == 1 and not (tokens[opened] == 0).any() and (tokens[~opened] == 0).any()
    assert len(SKILLS.vocabulary) == len(lano.vocabulary) + len(mano.vocabulary)
    assert SKILLS.vocabulary[len(lano.vocabulary)].name == f"mano:{mano.vocabulary[0].name}"


class Stateless(nn.Module):
    """A decoder without its cached state, which gives logits alone."""

    def __init__(self, model: Decoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.model(ids).logits
        return logits


def decoder(mixture: Mixture) -> Decoder:
    return ModelConfig("llama-rope", "1L16D1H", tied=True).decoder(len(mixture.vocabulary)).build(5).eval()


@pytest.mark.parametrize("mixture", MIXTURES.values(), ids=MIXTURES)
def test_a_part_is_evaluated_as_by_itself(mixture: Mixture) -> None:
    """The same weights with the rows of the embedding, which is the head too, in the part's order."""
    model = decoder(mixture)

    def continued(prompts: Any, max_new: int, stop: int | None = None, **rest: Any) -> list[list[int]]:
        return generate(model, prompts, max_new, stop, **rest)

    for subject in (model, Stateless(model), lambda ids: model(ids)):
        given = continued if subject is model else None
        found = mixture.evaluate(subject, seed=1, windows=2, generate=given)
        for i, (task, words) in enumerate(zip(mixture.tasks, mixture.words, strict=True)):
            alone = decoder(mixture)
            with torch.no_grad():
                alone.embedding.weight.copy_(model.embedding.weight[torch.from_numpy(words.order)])
            by_itself = task.evaluate(alone if subject is model else Stateless(alone), seed=1, windows=2)
            ending = f"_{mixture.names[i]}" if i else ""
            for name, metric in by_itself.metrics.items():
                if task.name == "lano" and name == "accuracy":
                    continue  # sentences are sampled, and a draw goes by the order of the tokens
                if subject is model or name != "bits_per_parameter":
                    expected = pytest.approx(metric.value, rel=1e-4, abs=1e-6, nan_ok=True)
                    assert found.metrics.get(f"{name}{ending}", metric).value == expected, name
            if not i:
                assert by_itself.headline[-1:] == found.headline[-1:]


def test_who_knows_everything_is_right_in_every_part() -> None:
    windows = SKILLS.windows(2, 0, 60, "eval").tokens
    found = SKILLS.evaluate(KnownWindows(windows, len(SKILLS.vocabulary)), seed=2, windows=20)
    assert found.metrics["accuracy_l3_mano"].value == 1
    assert found.headline == SKILLS.tasks[0].evaluate(KnownWindows(windows, 9), seed=2, windows=1).headline


def test_scores_go_to_the_part_that_the_prompt_is_of() -> None:
    tokens = SKILLS.windows(0, 0, 5).tokens.tolist()
    examples = [example for row in tokens for example in SKILLS.examples(row)]
    of_mano = [e for e in examples if min(e.prompt) >= len(SKILLS.tasks[0].vocabulary)]
    assert of_mano and len(of_mano) < len(examples)
    assert all(SKILLS.score(*example).right for example in examples)
    assert not SKILLS.score(of_mano[0].prompt, [0]).right and not SKILLS.score(of_mano[0].prompt, [999]).right
    with pytest.raises(InputError, match="prompt: must be of one part's tokens"):
        SKILLS.score([0, len(SKILLS.vocabulary) - 1], [])


def test_streams_differ_by_all_that_changes_windows_and_by_no_name() -> None:
    variants = [
        KNOWLEDGE,
        LABELLED,
        Mixture((PEOPLE, dataclasses.replace(JUNK, share=6)), context=64),
        Mixture((JUNK, PEOPLE), context=64),
        Mixture((PEOPLE, Part("capo", {"N": 99}, share=7, name="junk")), context=64),
    ]
    assert len({mixture.stream_key(0) for mixture in variants}) == len(variants)
    renamed = Mixture((PEOPLE, dataclasses.replace(JUNK, name="rest")), context=64)
    assert renamed.stream_key(0) == KNOWLEDGE.stream_key(0)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ((PEOPLE,), "parts: 1 given, must be two or more"),
        ((PEOPLE, Part("cappo")), r"parts\[1\]: unknown task 'cappo'; did you mean 'capo'"),
        ((PEOPLE, Part("capo", {"n": 3})), r"parts\[1\]: unknown task parameter 'n'; did you mean 'N'"),
        ((PEOPLE, Part("mano", share=0)), r"parts\[1\].share = 0: must be an integer from 1 to 1048576"),
        ((PEOPLE, Part("mano", name="a b")), r"parts\[1\].name = 'a b': must be of lower-case letters"),
        ((PEOPLE, Part("mano", {"context": 9})), r"parts\[1\].set.context: is the mixture's"),
        ((PEOPLE, Part("capo", {"N": 41})), r"parts\[1\].name: two parts are called capo; name them"),
        ((PEOPLE, dataclasses.replace(PEOPLE, name="x")), r"parts\[1\] = 'capo': is the same stream as another part"),
        ((PEOPLE, Part("capo-junk")), r"parts\[1\].task = 'capo-junk': is a mixture itself"),
    ],
)
def test_parts_that_make_no_mixture(parts: tuple[Part, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Mixture(parts, context=64)


def test_any_separator_gives_way_to_a_domains() -> None:
    assert Copy(N=4, context=64).separator_id is not None
    part = Part("copy", {"N": 4}, domain=True)
    assert Mixture((part, PEOPLE), context=64).vocabulary[-1].name == "<copy>"


def test_facts_and_padding_of_the_parts() -> None:
    facts = KNOWLEDGE.facts()
    assert facts[0] == "capo: 1 of 8 windows, capo (N = 40)" and "junk: 7 of 8 windows, capo (N = 100000000)" in facts
    assert any(line.startswith("capo: N = 40") for line in KNOWLEDGE.warnings())
    assert KNOWLEDGE.coincidence(8) is None and KNOWLEDGE.default_windows == KNOWLEDGE.tasks[0].default_windows


def test_logits_beyond_the_tokens_stay_as_those_of_a_padded_head() -> None:
    assert Words([2, 0], 3).columns(torch.arange(5.0)).tolist() == [2, 0, 1, 3, 4]
