"""The Depo task: its parameters, vocabulary, windows and evaluation."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np

from canonlab.errors import InputError, require_integer
from canonlab.tasks.base import Evaluation, Example, Generate, Model, Role, Split, Task, Verdict, Vocabulary, Windows
from canonlab.tasks.depo import kernels
from canonlab.tasks.depo.score import judge
from canonlab.tasks.evaluation import Losses, evaluation_windows, teaching
from canonlab.tasks.metrics import count_for_half_width, share, union_bound
from canonlab.tasks.names import SMALLEST, Names, require_lengths, require_names, size_thresholds
from canonlab.tasks.prompts import instances

LIMIT = 10**6
"""The largest N, K and V: far beyond use, and small enough for the kernels' integers."""

SAMPLE_TOKENS = 1 << 20
"""How many tokens of the evaluation stream a measured property of the task is measured on."""


@dataclasses.dataclass(frozen=True)
class Depo(Task):
    """Reasoning depth (arXiv 2512.17351, section 2): a directed cycle's edges in random order, then queries about it.

        <bos> x y x y ... <query_k1> q1 <ans> a1 ... <query_kt> qt <ans> at

    asks min(10, n) times for the k-th successor of a node, each time another one. <ans> and the answers are marked.
    In training the number of nodes n has Pr[n] proportional to 1 / (sqrt(N) + n) on 3..N and k is uniform in 1..K; in
    evaluation n = N and k is uniform over `evaluated_hops`.

    Args:
        N: the most nodes.
        K: the most steps that a query asks for.
        V: the size of the mini-vocabulary that names are made of.
        lengths: the fewest and the most tokens of a name.
        context: the window length in tokens.
    """

    N: int = 225
    K: int = 8
    V: int = 50
    lengths: tuple[int, int] = (1, 2)
    context: int = 2048

    name: ClassVar[str] = "depo"
    version: ClassVar[int] = 1
    difficulty_parameter: ClassVar[str | None] = "N"

    def __post_init__(self) -> None:
        require_integer("N", self.N, SMALLEST, LIMIT)
        require_integer("K", self.K, 1, LIMIT)
        require_integer("V", self.V, 1, LIMIT)
        object.__setattr__(self, "lengths", require_lengths("lengths", self.lengths))
        require_names(self.names, self.N)
        require_integer("context", self.context, 1)
        if self.context < (needed := self.shortest_instance(self.N)):
            allowed = f"at least {needed}, which the shortest instance of N = {self.N} nodes needs"
            raise InputError(f"context = {self.context}: must be {allowed}")

    @property
    def names(self) -> Names:
        """The nodes' names."""
        return Names(self.V, *self.lengths, first=kernels.QUERY + self.K + 1)

    def shortest_instance(self, n: int) -> int:
        """The fewest tokens that an instance of n nodes can have: short names, and queries about the shortest."""
        names, queries = self.names, min(kernels.QUERIES, n)
        return 1 + 2 * names.least_tokens(n) + names.least_tokens(queries) + queries * (2 + names.shortest)

    @property
    def longest_instance(self) -> int:
        """The most tokens that an instance of N nodes can have, if enough names are of the greatest length."""
        return 1 + 2 * self.N * self.lengths[1] + min(kernels.QUERIES, self.N) * (2 + 2 * self.lengths[1])

    @property
    def evaluated_hops(self) -> list[int]:
        """The k of evaluation: powers of two up to K, K itself, and 24 when K = 32."""
        powers = {1 << i for i in range(self.K.bit_length())}
        return sorted(powers | {self.K} | ({24} if self.K == 32 else set()))

    @cached_property
    def vocabulary(self) -> Vocabulary:  # type: ignore[override]
        """<bos>, <ans>, <query_1>, ..., <query_K>, and the names' tokens."""

        def entries() -> Iterator[tuple[str, Role, int | None]]:
            yield "<bos>", "special", None
            yield "<ans>", "special", None
            for k in range(1, self.K + 1):
                yield f"<query_{k}>", "query", k
            yield from self.names.entries()

        return Vocabulary(entries())

    @cached_property
    def _laws(self) -> dict[Split, kernels.DepoLaw]:
        """What the kernels take, by split."""
        hops, evaluated = (np.array(k, np.int64) for k in (range(1, self.K + 1), self.evaluated_hops))
        names, no_choice = self.names.law(), np.empty(0, np.uint64)
        return {
            "train": kernels.DepoLaw(SMALLEST, self.N, size_thresholds(self.N), hops, names),
            "eval": kernels.DepoLaw(self.N, self.N, no_choice, evaluated, names),
        }

    def fill(self, out: Windows, seed: int, start: int, split: Split = "train") -> None:
        key, number = self.stream(out, seed, start, split)
        kernels.fill(out.tokens, out.mask, key, start, number, self._laws[split])

    @cached_property
    def default_windows(self) -> int:
        """How many evaluation windows give each `accuracy_k<k>` a half-width of at most one point.

        Windows differ in how many answers for a k they hold, so four standard deviations are added to the trials.
        """
        sample = self._sample()
        answers = len(find_answers(sample, self.names).hops)
        if answers == 0:
            raise InputError(f"context = {self.context}: must be longer, {len(sample)} windows hold no whole answer")
        trials = count_for_half_width(0.01)
        return math.ceil((trials + 4 * math.sqrt(trials)) * len(self.evaluated_hops) * len(sample) / answers)

    def evaluate(
        self,
        model: Model,
        *,
        seed: int,
        windows: int | None = None,
        batch: int = 32,
        generate: Generate | None = None,
    ) -> Evaluation:
        """Score `model`: metrics `accuracy_k<k>` over answers, and `token_accuracy` over their tokens.

        An answer is right when every token of it is the argmax given the true tokens before it; <ans> doesn't count,
        nor do answers that the window's end cuts. `loss` is in nats per marked token, `loss_k<k>` per token of the
        answers. Notes: windows, instances (cut ones included), queries, cut_answers,
        and self_answers, those counted although the answer is the queried node itself (k = 0 mod n).
        """
        windows = self.default_windows if windows is None else windows
        counts, rights, token_counts, tokens_right = ([] for _ in range(4))
        instances = queries = 0
        losses = Losses()
        with teaching(model, len(self.vocabulary)) as teach:
            for tokens, mask in evaluation_windows(self, seed, windows, batch):
                answers, taught = find_answers(tokens, self.names), teach(tokens)
                losses.add("loss", taught.loss, mask)
                hops = hops_of_tokens(answers, tokens)
                for k in self.evaluated_hops:
                    losses.add(f"loss_k{k}", taught.loss, hops == k)
                length, hits = answers.stop - answers.start, count_right(answers, taught.best == tokens)
                windows_of = answers.start // self.context
                counts.append(self._by_window(windows_of, answers.hops, len(tokens)))
                rights.append(self._by_window(windows_of[hits == length], answers.hops[hits == length], len(tokens)))
                token_counts.append(np.bincount(windows_of, length, len(tokens)).astype(np.int64))
                tokens_right.append(np.bincount(windows_of, hits, len(tokens)).astype(np.int64))
                instances, queries = instances + int((tokens == kernels.BOS).sum()), queries + answers.queries
        count, right = np.concatenate(counts), np.concatenate(rights)
        metrics = {f"accuracy_k{k}": share(right[:, k], count[:, k]) for k in self.evaluated_hops}
        metrics["token_accuracy"] = share(np.concatenate(tokens_right), np.concatenate(token_counts))
        metrics |= losses.metrics
        notes: dict[str, float] = {
            "windows": windows,
            "instances": instances,
            "queries": queries,
            "cut_answers": queries - int(count.sum()),
            "self_answers": int(count[:, :: self.N].sum()),
        }
        headline = [k for k in (self.K, self.K / 2) if k in self.evaluated_hops]
        return Evaluation(metrics, tuple(f"accuracy_k{int(k)}" for k in headline), notes)

    def _by_window(self, window: np.ndarray, hops: np.ndarray, windows: int) -> np.ndarray:
        """How many answers of each number of hops each window has: (windows, K + 1)."""
        cells = window * (self.K + 1) + hops
        return np.bincount(cells, minlength=windows * (self.K + 1)).reshape(windows, self.K + 1)

    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> Verdict:
        """Judge one answer, the tokens after a prompt's last <ans>: right if it is the name asked for and no more.

        The prompt is one instance up to an <ans>; earlier queries in it may have any answer, n may be 3..N.
        """
        return judge(self.vocabulary, self.names, self.N, prompt, answer)

    def examples(self, tokens: Sequence[int]) -> list[Example]:
        """The queries of a window, each with all that precedes it in its instance, whose answers are whole."""
        found = []
        for instance in instances(tokens, kernels.BOS):
            for position, token in enumerate(instance, start=1):
                if token == kernels.ANSWER:
                    with suppress(ValueError):  # the window's end cuts the answer
                        found.append(Example(instance[:position], list(self.names.read(instance, position))))
        return found

    def warnings(self) -> list[str]:
        """A line with the share of evaluation instances that no window can hold whole, if there are any."""
        if self.longest_instance <= self.context:
            return []
        sample = self._sample()
        answers = np.bincount(find_answers(sample, self.names).start // self.context, minlength=len(sample))
        alone = (sample == kernels.BOS).sum(axis=1) == 1
        cut = float((alone & (answers < min(kernels.QUERIES, self.N))).mean())
        return [
            f"context = {self.context}: about {cut:.0%} of the evaluation instances (N = {self.N}) are longer and lose "
            f"answers; {self.longest_instance} holds all"
        ]

    def coincidence(self, training_windows: int) -> float:
        """At most this share of the evaluation instances has its list of edges anywhere in the training windows.

        A training instance lists the same edges in the same order with probability at most Pr[n = N] / ((N-1)! N!),
        names and queries left aside. The bound adds this up over all instances of a window that start early enough.
        """
        smaller = [0, *self._laws["train"].thresholds.tolist()][-1]
        log_chance = math.log(((1 << 64) - smaller) / (1 << 64)) - math.lgamma(self.N) - math.lgamma(self.N + 1)
        latest = self.context - 1 - 2 * self.names.least_tokens(self.N)
        return union_bound(training_windows * (1 + latest // self.shortest_instance(SMALLEST)), log_chance)

    def _sample(self) -> np.ndarray:
        """The tokens of some evaluation windows, for what is measured rather than derived."""
        return self.windows(0, 0, max(SAMPLE_TOKENS // self.context, 64), "eval").tokens


class Answers(NamedTuple):
    """All whole answers of some windows, in order: flat[start:stop] of the flattened windows answers `hops` steps.

    `queries` counts the queries that begin in the windows, so also those whose answer the window's end cuts.
    """

    hops: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    queries: int


def hops_of_tokens(answers: Answers, tokens: np.ndarray) -> np.ndarray:
    """For each of the tokens (count, context), the hops of the answer that it is part of; 0 where it is of none."""
    edges = np.zeros(tokens.size + 1, np.int64)
    edges[answers.start] += answers.hops
    np.add.at(edges, answers.stop, -answers.hops)
    return np.cumsum(edges[:-1]).reshape(tokens.shape)


def find_answers(tokens: np.ndarray, names: Names) -> Answers:
    """The answers in `tokens` (count, context): each follows <ans> and ends with the next end token of its window."""
    flat, context = tokens.ravel(), tokens.shape[1]
    marker = np.flatnonzero(flat == kernels.ANSWER)
    query = np.flatnonzero((flat > kernels.QUERY) & (flat < names.first))
    ends = np.append(np.flatnonzero(flat >= names.end.start), flat.size)
    stop = ends[np.searchsorted(ends, marker)]
    hops = flat[query[np.searchsorted(query, marker) - 1]] - kernels.QUERY
    whole = stop // context == marker // context
    return Answers(hops[whole], marker[whole] + 1, stop[whole] + 1, len(query))


def count_right(answers: Answers, hits: np.ndarray) -> np.ndarray:
    """How many tokens of each answer are right, `hits` (count, context) telling whether each token is."""
    before = np.concatenate(([0], np.cumsum(hits)))
    return before[answers.stop] - before[answers.start]
