"""The Lano task: its parameters, vocabulary, windows, evaluation and scorer."""

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from canonlab.errors import InputError, require_integer
from canonlab.tasks.base import (
    Evaluation,
    Example,
    Generate,
    Model,
    Role,
    Split,
    Task,
    Verdict,
    Vocabulary,
    Windows,
    plain_ids,
    require_token_ids,
)
from canonlab.tasks.evaluation import evaluation_batches, forward, generator, marked_loss
from canonlab.tasks.lano import kernels
from canonlab.tasks.lano.evaluate import divergences, first_sentences, judge_written
from canonlab.tasks.lano.grammar import Grammar, read_grammar
from canonlab.tasks.lano.parser import Parser
from canonlab.tasks.metrics import count_for_half_width, mean, share
from canonlab.tasks.prompts import instances
from canonlab.typed import user_path

CUT = 50
"""How many tokens of a sentence a continuation is given; half of the sentence when that is less."""

RARE = 0.01
"""The share of sentences that no window can hold whole from which on it is worth a warning."""


@dataclasses.dataclass(frozen=True)
class Lano(Task):
    """Hierarchical structure (arXiv 2512.17351, section 2): sentences of a level-structured context-free grammar.

        <bos> 3 1 2 2 ... 1 <bos> 2 3 ...

    The rules of a symbol are equally likely. All tokens are marked but the first, which nothing precedes. Training and
    evaluation draw from the same law.

    Args:
        grammar: the name of a shipped grammar, such as cfg3f, or the path of a JSON file of the same form.
        context: the window length in tokens.
    """

    grammar: str = "cfg3f"
    context: int = 512

    name: ClassVar[str] = "lano"
    version: ClassVar[int] = 1
    difficulty_parameter: ClassVar[str | None] = "grammar"

    def __post_init__(self) -> None:
        require_integer("context", self.context, 1)
        needed = self.definition.lengths[self.definition.root][0] + 2
        if self.context < needed:
            allowed = f"at least {needed}, which the shortest sentence between two <bos> needs"
            raise InputError(f"context = {self.context}: must be {allowed}")

    @cached_property
    def definition(self) -> Grammar:
        """The grammar, as it was when the task was made."""
        return read_grammar(self.grammar)

    @cached_property
    def parser(self) -> Parser:
        """The grammar's parser."""
        return Parser(self.definition)

    @property
    def files(self) -> dict[str, Path]:
        return {"grammar": user_path(self.grammar)} if self.grammar.endswith(".json") else {}

    @property
    def identity(self) -> dict[str, Any]:
        """As for any task, but a grammar is known by its rules, wherever they came from."""
        return {**super().identity, "parameters": {"grammar": self.definition.sha256}}

    @cached_property
    def vocabulary(self) -> Vocabulary:  # type: ignore[override]
        """<bos>, 1, ..., T."""

        def entries() -> Iterator[tuple[str, Role, int | None]]:
            yield "<bos>", "special", None
            for terminal in range(1, self.definition.terminals + 1):
                yield str(terminal), "terminal", None

        return Vocabulary(entries())

    @cached_property
    def _law(self) -> kernels.LanoLaw:
        return kernels.generator_law(self.definition)

    def fill(self, out: Windows, seed: int, start: int, split: Split = "train") -> None:
        key, number = self.stream(out, seed, start, split)
        kernels.fill(out.tokens, out.mask, key, start, number, self._law)

    @property
    def default_windows(self) -> int:
        """How many sentences, one a window, give the accuracy a half-width of at most one point."""
        return count_for_half_width(0.01)

    def evaluate(
        self,
        model: Model,
        *,
        seed: int,
        windows: int | None = None,
        batch: int = 32,
        generate: Generate | None = None,
    ) -> Evaluation:
        """Score `model` by what it writes, and by how far its predictions are from the true ones.

        Metrics: `accuracy`, the share of sentences, sampled from <bos> at temperature 1 until the next <bos>, that
        parse; those that the context's end leaves unfinished are wrong. `continuation_accuracy`, the same given the
        first 50 tokens of a sentence of the grammar (half of it when that is less). `kl`, KL(true || model) in nats per
        token of whole sentences, their ends included; the model is normalised over terminals and <bos>, and sentences
        are what the interval is over. `loss`, in nats per marked token of the windows.

        One sentence is written for each window, and the true ones are the windows' first, if whole. What is written
        depends on `batch` too. Notes: windows, unfinished, unfinished_continuations, cut_sentences (the windows whose
        first sentence isn't whole).
        """
        windows = self.default_windows if windows is None else windows
        free, continued = np.zeros((2, 3), np.int64)
        sums, counts = [np.empty(0)], [np.empty(0)]
        size = len(self.vocabulary)
        with forward(model, size) as logits_of, generator(model, size, generate) as write:
            for number, tokens in enumerate(evaluation_batches(self, seed, windows, batch)):
                true = first_sentences(tokens)
                draw = (self.stream_key(seed) + 2 * number) % (1 << 63)
                free += np.array(judge_written(self.parser, write, [[]] * len(tokens), self.context, draw))
                cut = [sentence[: min(CUT, len(sentence) // 2)].tolist() for sentence in true]
                continued += np.array(judge_written(self.parser, write, cut, self.context, draw + 1))
                if true:
                    given = np.zeros((len(true), 1 + max(map(len, true))), np.int32)
                    for row, sentence in zip(given, true, strict=True):
                        row[1 : 1 + len(sentence)] = sentence
                    sums.append(divergences(self.parser, true, logits_of(given)))
                    counts.append(np.array([1 + len(sentence) for sentence in true]))
        metrics = {
            "accuracy": share(int(free[0]), int(free[1])),
            "continuation_accuracy": share(int(continued[0]), int(continued[1])),
            "kl": mean(np.concatenate(sums), np.concatenate(counts)),
            **marked_loss(self, model, seed, windows, batch),
        }
        notes: dict[str, float] = {
            "windows": windows,
            "unfinished": int(free[2]),
            "unfinished_continuations": int(continued[2]),
            "cut_sentences": windows - int(continued[1]),
        }
        return Evaluation(metrics, ("accuracy",), notes)

    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> Verdict:
        """Judge a sentence: right if prompt and answer together parse. The answer is terminals only, with no <bos>.

        The prompt is empty, or <bos> and maybe the beginning of a sentence, which the answer then continues.
        """
        begun = require_token_ids("prompt", prompt, self.vocabulary)
        if begun[:1] not in ([], [kernels.BOS]):
            raise InputError(f"prompt[0]: must be <bos>, not {self.vocabulary.decode(begun[:1])!r}")
        if (fitting := self.parser.fitting(begun[1:])) < len(begun) - 1:
            raise InputError(f"prompt[{fitting + 1}]: no sentence begins with these {fitting + 1} tokens after <bos>")
        given = plain_ids(answer)
        for position, token in enumerate(given):
            if token not in range(1, len(self.vocabulary)):
                shown = self.vocabulary.names(answer[position : position + 1])[0]
                return Verdict(False, f"token {position + 1} of the answer is {shown}, no terminal")
        sentence = [*begun[1:], *(int(token) for token in given)]  # type: ignore[call-overload]
        if not sentence:
            return Verdict(False, "empty answer")
        if self.parser.recognise(sentence):
            return Verdict(True, f"a sentence of {len(sentence)} tokens")
        fitting, edits = self.parser.fitting(sentence), self.parser.edits(sentence)
        what = "unfinished" if fitting == len(sentence) else f"no sentence begins with its first {fitting + 1} tokens"
        return Verdict(False, f"{what}; {edits} edit{'s' * (edits > 1)} away from a sentence")

    def examples(self, tokens: Sequence[int]) -> list[Example]:
        """The whole sentences of a window, each after <bos> alone."""
        return [Example(part[:1], part[1:]) for part in instances(tokens, kernels.BOS)[:-1]]

    def warnings(self) -> list[str]:
        """A line with the share of sentences that no window can hold whole, if it is not small."""
        cut = 1 - float(self.definition.length_law(self.context - 2).sum())
        if cut < RARE:
            return []
        return [f"context = {self.context}: {cut:.0%} of the sentences of {self.grammar} don't fit and are always cut"]
