"""The Mano task: its parameters, vocabulary, windows and evaluation."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np

from canonlab.errors import InputError, require_integer
from canonlab.tasks.base import Evaluation, Example, Generate, Model, Role, Split, Task, Verdict, Vocabulary, Windows
from canonlab.tasks.evaluation import Losses, Teach, evaluation_windows, teaching
from canonlab.tasks.mano import kernels
from canonlab.tasks.mano.score import judge
from canonlab.tasks.metrics import Metric, count_for_half_width, share, union_bound
from canonlab.tasks.prompts import instances

MOST_NUMBERS = 1000


@dataclasses.dataclass(frozen=True)
class Mano(Task):
    """Knowledge manipulation (arXiv 2512.17351, section 2): the value of an expression, at once.

        <bos> <len_3> + * a b - c d <ans> r          r = ((a * b) + (c - d)) mod P

    An expression of l operators, in prefix order: the first is uniform in {+, -, *}, its left operand gets a uniform
    number in 0..l-1 of the other l - 1 operators and its right one the rest; an operand without operators is uniform in
    0..P-1. All tokens are marked. In training l is uniform in 1..L; in evaluation l = L.

    The published generator can replace the markers and operators by random synonyms, which is said to hardly matter and
    left out here; it also has an <ans> for each l, where this task has one.

    Args:
        L: the most operators.
        context: the window length in tokens.
        P: the modulus, 23 in the paper; less makes a task that a small model learns in seconds.
    """

    L: int = 10
    context: int = 1024
    P: int = dataclasses.field(default=23, metadata={"introduced": 23})

    name: ClassVar[str] = "mano"
    version: ClassVar[int] = 1
    difficulty_parameter: ClassVar[str | None] = "L"

    def __post_init__(self) -> None:
        require_integer("L", self.L, 1, 10**6)
        require_integer("context", self.context, 1)
        require_integer("P", self.P, 2, MOST_NUMBERS)
        if self.context < self.length:
            needed = f"at least {self.length}, the length of an instance of L = {self.L} operators"
            raise InputError(f"context = {self.context}: must be {needed}")

    @property
    def length(self) -> int:
        """The tokens of an instance of L operators."""
        return 2 * self.L + 1 + kernels.FRAME

    @property
    def instances(self) -> int:
        """The whole instances in an evaluation window."""
        return self.context // self.length

    @cached_property
    def vocabulary(self) -> Vocabulary:  # type: ignore[override]
        """<bos>, <ans>, +, -, *, 0, ..., P - 1, <len_1>, ..., <len_L>: the ids of a smaller L are the same."""

        def entries() -> Iterator[tuple[str, Role, int | None]]:
            yield "<bos>", "special", None
            yield "<ans>", "special", None
            for symbol in "+-*":
                yield symbol, "operator", None
            for number in range(self.P):
                yield str(number), "number", number
            for l in range(1, self.L + 1):
                yield f"<len_{l}>", "length", l

        return Vocabulary(entries())

    @cached_property
    def _laws(self) -> dict[Split, kernels.ManoLaw]:
        """What the kernels take, by split."""
        return {"train": kernels.law(1, self.L, self.P), "eval": kernels.law(self.L, self.L, self.P)}

    def fill(self, out: Windows, seed: int, start: int, split: Split = "train") -> None:
        key, number = self.stream(out, seed, start, split)
        kernels.fill(out.tokens, out.mask, key, start, number, self._laws[split])

    @property
    def default_windows(self) -> int:
        """How many evaluation windows give `accuracy_l<L>` a half-width of at most one point."""
        return math.ceil(count_for_half_width(0.01) / self.instances)

    def evaluate(
        self,
        model: Model,
        *,
        seed: int,
        windows: int | None = None,
        batch: int = 32,
        generate: Generate | None = None,
    ) -> Evaluation:
        """Score `model` under teacher forcing: metrics `accuracy_l<l>` for l = 1..L, the share of right answers.

        And `loss_l<l>`, their loss in nats; `loss` is that of all marked tokens of the windows for l = L. The last
        accuracy is the headline, over all whole instances of the `windows` first windows of the evaluation stream. For
        each l < L come ceil(windows / L) windows of the same kind, in which every instance has l operators: the
        evaluation stream of Mano(L=l). So they cost as much again in total, and their intervals are wider. Short
        expressions are few: a model can have met most of them in training. Notes: windows, those of each shorter l, and
        instances of l = L.
        """
        windows = self.default_windows if windows is None else windows
        shorter = -(-windows // self.L)
        metrics: dict[str, Metric] = {}
        with teaching(model, len(self.vocabulary)) as teach:
            for l in range(1, self.L + 1):
                alike = dataclasses.replace(self, L=l)
                metrics |= alike._answers(teach, seed, windows if l == self.L else shorter, batch)
        headline = f"accuracy_l{self.L}"
        notes: dict[str, float] = {
            "windows": windows,
            "windows_per_shorter_length": shorter if self.L > 1 else 0,
            "instances": metrics[headline].count,
        }
        return Evaluation(metrics, (headline,), notes)

    def _answers(self, teach: Teach, seed: int, windows: int, batch: int) -> dict[str, Metric]:
        """The share of right answers in the whole instances of the first windows of this task's evaluation stream,
        their loss, and that of all marked tokens."""
        answers = np.zeros((1, self.context), bool)
        answers[:, self.length - 1 : self.instances * self.length : self.length] = True
        right, losses = [], Losses()
        for tokens, mask in evaluation_windows(self, seed, windows, batch):
            taught = teach(tokens)
            losses.add("loss", taught.loss, mask)
            losses.add(f"loss_l{self.L}", taught.loss, np.repeat(answers, len(tokens), axis=0))
            right.append((answers & (taught.best == tokens)).sum(axis=1))
        return {f"accuracy_l{self.L}": share(np.concatenate(right), np.full(windows, self.instances)), **losses.metrics}

    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> Verdict:
        """Judge an answer, the tokens after <ans>: right if it is the number that the expression gives and no more.

        The prompt is one instance up to <ans>, of any length l in 1..L.
        """
        return judge(self.vocabulary, prompt, answer, self.P)

    def examples(self, tokens: Sequence[int]) -> list[Example]:
        """The whole expressions of a window with their values."""
        known = [instance for instance in instances(tokens, kernels.BOS) if kernels.ANSWER in instance[:-1]]
        return [Example(instance[:-1], instance[-1:]) for instance in known]

    def coincidence(self, training_windows: int) -> float:
        """At most this share of the evaluation instances occurs in the training windows.

        Given its shape, an expression is one of 3^L P^(L+1) equally probable ones, and 1 in L training instances has L
        operators; the bound takes all shapes for the same, and adds this up over all instances of a window that start
        early enough.
        """
        kinds = self.L * math.log(kernels.OPERATORS) + (self.L + 1) * math.log(self.P)
        latest, shortest = self.context - self.length, 3 + kernels.FRAME
        return union_bound(training_windows * (1 + latest // shortest), -math.log(self.L) - kinds)
