"""Copy, a warm-up: write a sequence again."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np

from canonlab.data.jit import kernel
from canonlab.data.random import Int, shuffle, stream
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
from canonlab.tasks.evaluation import Losses, evaluation_windows, teaching
from canonlab.tasks.metrics import count_for_half_width, share, union_bound

BOS, QUERY, FIRST_NUMBER = 0, 1, 2


@kernel
def fill(tokens: np.ndarray, mask: np.ndarray, key: np.uint64, start: Int, split: Int, n: Int) -> None:
    """Write windows start, start + 1, ... of the stream `key` to the rows of `tokens` (int32) and `mask` (uint8)."""
    context = tokens.shape[1]
    length = 2 * n + 2
    row = np.empty(context + length, np.int32)
    for window in range(len(tokens)):
        rng = stream(key, start + window, split)
        for begin in range(0, context, length):
            query = begin + 1 + n
            row[begin], row[query] = BOS, QUERY
            for i in range(n):
                row[begin + 1 + i] = FIRST_NUMBER + i
            shuffle(rng, row[begin + 1 : query])
            row[query + 1 : begin + length] = row[begin + 1 : query]
        tokens[window] = row[:context]
        for position in range(context):
            mask[window, position] = position % length > n + 1


@dataclasses.dataclass(frozen=True)
class Copy(Task):
    """Copying (arXiv 2512.17351, figure 5): a random permutation of 1..N, then the same again, which is marked.

        <bos> 3 1 2 <query> 3 1 2

    Training and evaluation draw from the same law.

    Args:
        N: how many numbers there are to copy.
        context: the window length in tokens.
    """

    N: int = 500
    context: int = 1024

    name: ClassVar[str] = "copy"
    version: ClassVar[int] = 1
    difficulty_parameter: ClassVar[str | None] = "N"

    def __post_init__(self) -> None:
        require_integer("N", self.N, 2, 10**6)
        require_integer("context", self.context, 1)
        if self.context < self.length:
            raise InputError(f"context = {self.context}: must be at least {self.length}, the length of an instance")

    @property
    def length(self) -> int:
        """The tokens of an instance."""
        return 2 * self.N + 2

    @property
    def instances(self) -> int:
        """The whole instances in a window."""
        return self.context // self.length

    @cached_property
    def vocabulary(self) -> Vocabulary:  # type: ignore[override]
        """<bos>, <query>, 1, ..., N."""

        def entries() -> Iterator[tuple[str, Role, int | None]]:
            yield "<bos>", "special", None
            yield "<query>", "special", None
            for number in range(1, self.N + 1):
                yield str(number), "number", number

        return Vocabulary(entries())

    def fill(self, out: Windows, seed: int, start: int, split: Split = "train") -> None:
        key, number = self.stream(out, seed, start, split)
        fill(out.tokens, out.mask, key, start, number, self.N)

    @property
    def default_windows(self) -> int:
        """How many evaluation windows give every metric, `all` included, a half-width of at most one point."""
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
        """Score `model` on the whole instances of its windows, under teacher forcing.

        Metrics: `token_accuracy` over all copied tokens, and over instances `first_1`, `first_2`, `first_4` and `all`,
        which count an instance when its first 1, 2, 4 or N copied tokens are all right; `loss`, nats per marked token.
        Notes: windows, instances.
        """
        windows = self.default_windows if windows is None else windows
        prefixes = {f"first_{m}": m for m in (1, 2, 4) if m < self.N} | {"all": self.N}
        right: dict[str, list[np.ndarray]] = {metric: [] for metric in ("token_accuracy", *prefixes)}
        losses = Losses()
        with teaching(model, len(self.vocabulary)) as teach:
            for tokens, mask in evaluation_windows(self, seed, windows, batch):
                taught = teach(tokens)
                losses.add("loss", taught.loss, mask)
                hits = (taught.best == tokens)[:, : self.instances * self.length]
                hits = hits.reshape(len(tokens), self.instances, self.length)[..., -self.N :]
                right["token_accuracy"].append(hits.sum(axis=(1, 2)))
                for metric, m in prefixes.items():
                    right[metric].append(hits[..., :m].all(axis=-1).sum(axis=1))
        whole = np.full(windows, self.instances)
        counts = {"token_accuracy": whole * self.N} | dict.fromkeys(prefixes, whole)
        metrics = {metric: share(np.concatenate(right[metric]), counts[metric]) for metric in right} | losses.metrics
        return Evaluation(metrics, ("token_accuracy",), {"windows": windows, "instances": windows * self.instances})

    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> Verdict:
        """Judge a copy, the tokens after <query>: right if it is the prompt's permutation and no more."""
        ids = require_token_ids("prompt", prompt, self.vocabulary)
        name = self.vocabulary.decode
        for position, token in ((0, BOS), (self.N + 1, QUERY)):
            if len(ids) <= position or ids[position] != token:
                here = repr(name([ids[position]])) if position < len(ids) else "the prompt's end"
                raise InputError(f"prompt[{position}]: must be {name([token])}, not {here}")
        if len(ids) > self.N + 2:
            raise InputError(f"prompt: {len(ids)} tokens, must be {self.N + 2}, the last of them <query>")
        numbers = ids[1:-1]
        if sorted(numbers) != list(range(FIRST_NUMBER, FIRST_NUMBER + self.N)):
            raise InputError(f"prompt: between <bos> and <query> must stand each of 1..{self.N} once")
        given = plain_ids(answer)
        if given == numbers:
            return Verdict(True, f"all {self.N} numbers in order")
        if given[: self.N] == numbers:
            return Verdict(False, f"trailing tokens: {len(given) - self.N} after the whole copy")
        if given == numbers[: len(given)]:
            return Verdict(False, f"unfinished copy: {len(given)} of {self.N} numbers")
        wrong = next(i for i in range(self.N) if given[i] != numbers[i])
        found = self.vocabulary.names(answer[wrong : wrong + 1])[0]
        return Verdict(False, f"number {wrong + 1} of the copy is {name([numbers[wrong]])}, not {found}")

    def examples(self, tokens: Sequence[int]) -> list[Example]:
        """The whole copies of a window."""
        whole = [list(tokens[i * self.length : (i + 1) * self.length]) for i in range(self.instances)]
        return [Example(instance[: -self.N], instance[-self.N :]) for instance in whole]

    def coincidence(self, training_windows: int) -> float:
        """At most this share of the evaluation instances is in the training windows: their instances / N!."""
        return union_bound(training_windows * self.instances, -math.lgamma(self.N + 1))
