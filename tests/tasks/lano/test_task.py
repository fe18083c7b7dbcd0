"""The Lano task: evaluation of models with known results, scoring, identity, errors."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from canonlab.errors import InputError
from canonlab.tasks.catalog import build_task
from canonlab.tasks.lano import Lano, Parser, read_grammar
from canonlab.tasks.lano.evaluate import divergences, first_sentences
from canonlab.tasks.lano.grammar import FOLDER
from canonlab.tasks.metrics import count_for_half_width
from plain_lano import TINY, recognise


@pytest.fixture
def tiny(tmp_path: Path) -> Lano:
    """The task of the tiny grammar, from a file."""
    path = tmp_path / "tiny.json"
    content = {"root": TINY.root, "levels": TINY.levels, "rules": {str(s): sides for s, sides in TINY.rules.items()}}
    path.write_text(json.dumps(content))
    task = build_task("lano-cfg3f", {"grammar": str(path), "context": 48})
    assert isinstance(task, Lano) and task.definition == TINY
    return task


def truth(task: Lano) -> Callable[[Tensor], Tensor]:
    """The model that knows the grammar: the true logits after <bos> and each token; 0 after what can't be."""

    def model(ids: Tensor) -> Tensor:
        logits = torch.zeros(*ids.shape, len(task.vocabulary), dtype=torch.float64)
        for row, out in zip(ids.tolist(), logits, strict=True):
            sentence = row[1 : row.index(0, 1)] if 0 in row[1:] else row[1:]
            sentence = sentence[: task.parser.fitting(sentence)]
            out[: len(sentence) + 1] = torch.from_numpy(task.parser.distributions(sentence)).log()
        return logits

    return model


def test_the_truth_is_perfect(tiny: Lano) -> None:
    found = tiny.evaluate(truth(tiny), seed=0, windows=40, batch=16)
    assert found.headline == ("accuracy",)
    assert found.metrics["accuracy"].value == found.metrics["continuation_accuracy"].value == 1.0
    kl = found.metrics["kl"]
    assert abs(kl.value) < 1e-14 and kl.right is None and kl.low <= kl.value <= kl.high
    true = first_sentences(tiny.windows(0, 0, 40, "eval").tokens)
    assert kl.count == sum(len(sentence) + 1 for sentence in true)
    assert found.notes == {"windows": 40, "unfinished": 0, "unfinished_continuations": 0, "cut_sentences": 0}
    assert found.metrics["accuracy"].count == found.metrics["continuation_accuracy"].count == 40


def test_a_model_that_knows_nothing(tiny: Lano) -> None:
    """A padded vocabulary: the divergence is over the four tokens that there are."""

    def uniform(ids: Tensor) -> Tensor:
        return torch.nn.functional.pad(torch.zeros(*ids.shape, 4), (0, 3), value=5.0)

    found = tiny.evaluate(uniform, seed=1, windows=60, batch=32)
    total = tokens = 0.0
    for sentence in first_sentences(tiny.windows(1, 0, 60, "eval").tokens):
        for p in tiny.parser.distributions(sentence):
            total += sum(x * math.log(4 * x) for x in p if x > 0)
            tokens += 1
    assert found.metrics["kl"].value == pytest.approx(total / tokens, rel=1e-12)
    assert found.metrics["kl"].low < total / tokens < found.metrics["kl"].high
    assert found.metrics["accuracy"].value < 0.2


def test_written_sentences_are_judged(tiny: Lano) -> None:
    """What is written is as told; prompts, room, temperature and seeds are as documented."""
    asked: list[tuple[list[list[int]], int, int]] = []
    good = first_sentences(tiny.windows(9, 0, 50, "eval").tokens)

    def write(
        prompts: Sequence[Sequence[int]],
        max_new: int,
        stop: int | None = None,
        *,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[int]]:
        assert stop == 0 and temperature == 1.0
        asked.append(([list(prompt) for prompt in prompts], max_new, seed))
        if all(len(prompt) == 1 for prompt in prompts):
            answers = [[0], [1, 0], [1] * 47, [5, 0], [*good[0].tolist(), 0], [*good[1].tolist(), 0]]
            return [answers[i % 6] for i in range(len(prompts))]
        return [[3] * max_new for _ in prompts]

    found = tiny.evaluate(lambda ids: torch.zeros(*ids.shape, 4), seed=9, windows=24, batch=12, generate=write)
    assert (found.metrics["accuracy"].right, found.metrics["accuracy"].count) == (8, 24)
    assert found.metrics["continuation_accuracy"].right == 0
    assert (found.notes["unfinished"], found.notes["unfinished_continuations"]) == (4, 24)
    (free, room, first), (continued, less, second), *_ = asked
    assert free == [[0]] * 12 and room == 47 and len({seed for _, _, seed in asked}) == 4
    assert continued == [[0, *s[: min(50, len(s) // 2)].tolist()] for s in good[:12]]
    assert less == 48 - max(map(len, continued))
    assert 0 <= first < second < 1 << 63


def test_long_sentences_are_continued_after_50_tokens() -> None:
    prompts: list[int] = []

    def write(given: Sequence[Sequence[int]], max_new: int, stop: int | None = None, **_: object) -> list[list[int]]:
        prompts.extend(map(len, given))
        return [[0] for _ in given]

    task = Lano("cfg3b", 512)
    task.evaluate(lambda ids: torch.zeros(*ids.shape, 4), seed=0, windows=4, generate=write)  # type: ignore[arg-type]
    assert prompts == [1] * 4 + [51] * 4


def test_cut_sentences_are_left_out() -> None:
    def write(given: Sequence[Sequence[int]], *_: object, **__: object) -> list[list[int]]:
        return [[0] for _ in given]

    task = Lano("cfg3f", 250)
    found = task.evaluate(lambda ids: torch.zeros(*ids.shape, 4), seed=0, windows=30, generate=write)
    whole = len(first_sentences(task.windows(0, 0, 30, "eval").tokens))
    assert 0 < whole < 30 and found.metrics["continuation_accuracy"].count == whole
    assert found.notes["cut_sentences"] == 30 - whole
    shorter = Lano("cfg3f", 100).evaluate(lambda ids: torch.zeros(*ids.shape, 4), seed=0, windows=2, generate=write)
    assert shorter.notes["cut_sentences"] == 2 and math.isnan(shorter.metrics["kl"].value)
    nothing = {"value": None, "right": None, "count": 0, "low": None, "high": None, "clusters": 0}
    assert shorter.plain()["metrics"]["kl"] == nothing


def test_divergence_of_a_false_prefix_is_an_error() -> None:
    parser = Parser(read_grammar("cfg3b"))
    with pytest.raises(InputError, match=r"sentence\[\d\] = 1: no sentence of the grammar begins"):
        divergences(parser, [np.array([1, 1, 1, 1, 1])], torch.zeros(1, 6, 4))


@pytest.mark.parametrize("name", ["cfg3b", "cfg3f", "cfg3k"])
def test_score_accepts_what_is_generated(name: str) -> None:
    task = build_task(f"lano-{name}")
    for sentence in first_sentences(task.windows(0, 0, 5, "eval").tokens):
        assert task.score([], sentence) == task.score([0], sentence) == (True, f"a sentence of {len(sentence)} tokens")
        assert task.score([0, *sentence[:50]], sentence[50:]).right
        verdict = task.score([], sentence[:-1])
        assert verdict == (recognise(task.definition, sentence[:-1].tolist()), verdict.why)


def test_score_rejects(tiny: Lano) -> None:
    task = Lano("cfg3b", 512)
    [sentence] = first_sentences(task.windows(0, 0, 1, "eval").tokens)
    good = sentence.tolist()
    for answer, why in [
        ([], "empty answer"),
        ([*good, 0], f"token {len(good) + 1} of the answer is <bos>, no terminal"),
        ([1, 7], "token 2 of the answer is ?7, no terminal"),
        ([1, "2"], "token 2 of the answer is ?'2', no terminal"),
        (good[:-1], "unfinished; 1 edit away from a sentence"),
        ([*good, 1], f"no sentence begins with its first {len(good) + 1} tokens; 1 edit away from a sentence"),
    ]:
        assert task.score([], answer) == (False, why)
    assert task.score([0, *good[:-1]], good[-1:]).right and not task.score([0, *good[:-1]], [2, 2]).right


@pytest.mark.parametrize(
    ("prompt", "complaint"),
    [
        ([1], r"prompt\[0\]: must be <bos>, not '1'"),
        ([4], r"prompt\[0\] = 4: must be a token id from 0 to 3"),
        ([0, 1, 1, 1, 1, 1], r"prompt\[\d\]: no sentence begins with these \d tokens"),
        ([0, 0], r"prompt\[1\]: no sentence begins with these 1 tokens after <bos>"),
    ],
)
def test_malformed_prompts(prompt: list[int], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        Lano("cfg3b", 512).score(prompt, [1])


def test_identity_is_the_rules(tmp_path: Path) -> None:
    copy = tmp_path / "copy.json"
    copy.write_bytes((FOLDER / "cfg3f.json").read_bytes())
    named, filed = Lano("cfg3f", 512), Lano(str(copy), 512)
    assert named.identity == filed.identity and str(copy) not in json.dumps(filed.identity)
    assert np.array_equal(named.windows(0, 0, 3).tokens, filed.windows(0, 0, 3).tokens)
    copy.write_text(copy.read_text().replace("[3, 3, 1]", "[3, 3, 2]"))
    assert Lano(str(copy), 512).definition != filed.definition
    assert Lano(str(copy), 512).identity != filed.identity
    assert Lano(str(copy), 512).stream_key(0) != filed.stream_key(0)


def test_vocabulary_and_defaults() -> None:
    task = build_task("lano-cfg3f")
    assert [(t.name, t.role) for t in task.vocabulary] == [
        ("<bos>", "special"), ("1", "terminal"), ("2", "terminal"), ("3", "terminal")
    ]  # fmt: skip
    assert isinstance(task, Lano) and task.default_windows == count_for_half_width(0.01)
    assert task.coincidence(10**6) is None


def test_warnings() -> None:
    for letter in "bfghijk":
        assert build_task(f"lano-cfg3{letter}").warnings() == []
    [line] = build_task("lano-cfg3j").__class__("cfg3j", 512).warnings()
    windows = Lano("cfg3j", 512).windows(0, 0, 4000).tokens
    share = int(line.split("%")[0].split()[-1]) / 100
    assert share == pytest.approx(1 - len(first_sentences(windows)) / 4000, abs=0.03)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"grammar": "cfg3"}, "unknown grammar 'cfg3'; did you mean 'cfg3"),
        ({"grammar": "none.json"}, "grammar = 'none.json': cannot read none.json"),
        ({"context": 65}, "context = 65: must be at least 66"),
        ({"context": 0}, "context = 0"),
        ({"grammer": "cfg3f"}, "unknown task parameter 'grammer'; did you mean 'grammar'"),
    ],
)
def test_wrong_settings(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        build_task("lano-cfg3f", settings)
