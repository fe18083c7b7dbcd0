"""The Brevo task: its parameters, vocabulary, windows and evaluation."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from canonlab.errors import InputError, require_integer, unknown
from canonlab.tasks.base import Evaluation, Example, Generate, Model, Role, Split, Task, Verdict, Vocabulary, Windows
from canonlab.tasks.brevo import kernels
from canonlab.tasks.brevo.kernels import ANSWER, BOS, DEGREE, EOS
from canonlab.tasks.brevo.score import judge, read_prompt
from canonlab.tasks.evaluation import Losses, evaluation_windows, generator, teaching
from canonlab.tasks.metrics import count_for_half_width, share, union_bound
from canonlab.tasks.names import SMALLEST, Names, require_lengths, require_names, size_thresholds
from canonlab.tasks.prompts import instances

Query = Literal["last-quarter", "last"]

QUERIES: tuple[Query, ...] = ("last-quarter", "last")

DEPTHS = range(1, 6)
"""The depths that evaluation tells apart."""

SAMPLE_TOKENS = 1 << 20
"""How many tokens of the evaluation stream a measured property of the task is measured on."""


@dataclasses.dataclass(frozen=True)
class Brevo(Task):
    """Reasoning breadth (arXiv 2512.17351, section 2): a graph's edges in random order, then all a vertex depends on.

        <bos> x1 y1 ... xm ym <query> q <ans> a1 ... ap <eos>

    An edge x y says that y depends on x, its parent. The answer is q's ancestors and q itself, each once and after its
    parents. <ans>, the answer and <eos> are marked.

    Of the graph's n vertices the first ones, as many as uniform in 1..floor((n-1)/4)+1, are leaves. Every later one, in
    turn, takes as parents a random subset, of a size uniform from 1 to 4 (or to as many as there are), of the earlier
    vertices with fewer than 4 children. A vertex in no edge doesn't appear. Answers in the data are not uniform over
    all right orders, but made backwards: from q on, always remove a random vertex among those on which nothing that is
    left depends. In training Pr[n] is proportional to 1 / (sqrt(N) + n) on 3..N; in evaluation n = N.

    Args:
        N: the most vertices.
        V: the size of the mini-vocabulary that names are made of; None for N.
        lengths: the fewest and the most tokens of a name.
        query: last-quarter: q is a random vertex among the positions floor(3n/4)..n-1, as in the paper; last: always
            the last vertex, as in the published generator.
        context: the window length in tokens.
    """

    N: int = 70
    V: int | None = None
    lengths: tuple[int, int] = (1, 1)
    query: Query = "last-quarter"
    context: int = 1024

    name: ClassVar[str] = "brevo"
    version: ClassVar[int] = 1
    difficulty_parameter: ClassVar[str | None] = "N"

    def __post_init__(self) -> None:
        require_integer("N", self.N, SMALLEST, kernels.LARGEST)
        if self.V is not None:
            require_integer("V", self.V, 1, 10**6)
        object.__setattr__(self, "lengths", require_lengths("lengths", self.lengths))
        require_names(self.names, self.N)
        if self.query not in QUERIES:
            raise unknown("query", self.query, QUERIES)
        require_integer("context", self.context, 1)
        if self.context < (needed := self.shortest_instance(self.N)):
            allowed = f"at least {needed}, since no instance of N = {self.N} vertices is shorter"
            raise InputError(f"context = {self.context}: must be {allowed}")

    @property
    def names(self) -> Names:
        """The vertices' names."""
        return Names(self.N if self.V is None else self.V, *self.lengths, first=kernels.FIRST_NAME)

    def shortest_instance(self, n: int) -> int:
        """No instance of n vertices has fewer tokens: one parent a vertex, short names, two vertices in the answer."""
        return 4 + (2 * least_edges(n) + 3) * self.lengths[0]

    @property
    def longest_instance(self) -> int:
        """No instance of N vertices has more tokens: all the parents that can be, long names, all in the answer."""
        edges = sum(min(DEGREE, earlier) for earlier in range(self.N))
        return 4 + (2 * edges + 1 + self.N) * self.lengths[1]

    @cached_property
    def vocabulary(self) -> Vocabulary:  # type: ignore[override]
        """<bos>, <query>, <ans>, <eos>, and the names' tokens."""

        def entries() -> Iterator[tuple[str, Role, int | None]]:
            for special in ("<bos>", "<query>", "<ans>", "<eos>"):
                yield special, "special", None
            yield from self.names.entries()

        return Vocabulary(entries())

    @cached_property
    def _laws(self) -> dict[Split, kernels.BrevoLaw]:
        """What the kernels take, by split."""
        rest = self.names.law(), self.query == "last", kernels.redraw_table(self.N)
        return {
            "train": kernels.BrevoLaw(SMALLEST, self.N, size_thresholds(self.N), *rest),
            "eval": kernels.BrevoLaw(self.N, self.N, np.empty(0, np.uint64), *rest),
        }

    def fill(self, out: Windows, seed: int, start: int, split: Split = "train") -> None:
        key, number = self.stream(out, seed, start, split)
        kernels.fill(out.tokens, out.mask, key, start, number, self._laws[split])

    @cached_property
    def default_windows(self) -> int:
        """How many evaluation windows give `accuracy` a half-width of at most one point.

        A window whose first instance is too long for it doesn't count. If there are such, more windows make up for
        them, four standard deviations of their number included.
        """
        trials, cut = count_for_half_width(0.01), self._cut_share
        if cut == 1:
            raise InputError(f"context = {self.context}: must be longer, no sampled instance of N = {self.N} fits")
        return math.ceil((trials + 4 * math.sqrt(trials * cut)) / (1 - cut))

    def evaluate(
        self,
        model: Model,
        *,
        seed: int,
        windows: int | None = None,
        batch: int = 32,
        generate: Generate | None = None,
    ) -> Evaluation:
        """Let `model` answer, greedily, and judge as `score` does: the share of right answers.

        The first instance of each window, up to <ans>, is a prompt. Metrics: `accuracy`, the headline; for prompts of
        each depth, the fewest edges from q to a vertex without parents, `accuracy_depth1` to `accuracy_depth5`; for the
        rest `accuracy_deeper`; `loss` in nats per marked token, and that of these answers by depth (`loss_depth1` ...),
        as the generator has them, which draws one of several right ones. All right answers to a prompt are of one
        length, so generation stops at the longest such of the batch: what has not come to <eos> by then is wrong.
        Notes: windows, and cut_instances, those left out because they are longer than a window.
        """
        windows = self.default_windows if windows is None else windows
        count, right, losses = Counter[int](), Counter[int](), Losses()
        size = len(self.vocabulary)
        with generator(model, size, generate) as write, teaching(model, size) as teach:
            for tokens, mask in evaluation_windows(self, seed, windows, batch):
                loss, depths = teach(tokens).loss, np.zeros(tokens.shape, np.int64)
                losses.add("loss", loss, mask)
                asked = {row: whole for row, window in enumerate(tokens.tolist()) if (whole := first_instance(window))}
                prompts = [prompt for prompt, _ in asked.values()]
                longest = max((len(answer) for _, answer in asked.values()), default=0)
                answers = write(prompts, longest, EOS) if prompts else []
                for (row, (ids, true)), answer in zip(asked.items(), answers, strict=True):
                    prompt = read_prompt(self.vocabulary, self.names, self.N, ids)
                    depth = min(prompt.depth(), DEPTHS.stop)
                    depths[row, len(ids) : len(ids) + len(true)] = depth
                    count[depth] += 1
                    right[depth] += judge(self.vocabulary, self.names, prompt, answer).right
                for depth in (*DEPTHS, DEPTHS.stop):
                    losses.add(f"loss_depth{depth}" if depth in DEPTHS else "loss_deeper", loss, depths == depth)
        metrics = {"accuracy": share(right.total(), count.total())}
        metrics |= {f"accuracy_depth{depth}": share(right[depth], count[depth]) for depth in DEPTHS}
        metrics["accuracy_deeper"] = share(right[DEPTHS.stop], count[DEPTHS.stop])
        metrics |= losses.metrics
        return Evaluation(metrics, ("accuracy",), {"windows": windows, "cut_instances": windows - count.total()})

    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> Verdict:
        """Judge an answer, the tokens after <ans> with <eos>: right if it lists exactly what the query depends on.

        Each vertex once, after its parents, in any such order. The prompt is one instance up to <ans>; its graph may be
        any acyclic one of up to N vertices, so degrees may be higher than the generator's.
        """
        return judge(self.vocabulary, self.names, read_prompt(self.vocabulary, self.names, self.N, prompt), answer)

    def examples(self, tokens: Sequence[int]) -> list[Example]:
        """The whole instances of a window."""
        return [Example(*whole) for part in instances(tokens, BOS) if (whole := first_instance(part))]

    def warnings(self) -> list[str]:
        """A line with the share of evaluation instances that no window can hold whole, if a sample has any."""
        if self.longest_instance <= self.context or not self._cut_share:
            return []
        return [
            f"context = {self.context}: about {self._cut_share:.1%} of the evaluation instances (N = {self.N}) are "
            f"longer and don't count; {self.longest_instance} holds all"
        ]

    def coincidence(self, training_windows: int) -> float:
        """At most this share of the evaluation instances has its list of edges anywhere in the training windows.

        A training instance with the same m edges lists them in the same order with probability 1 / m!; the bound takes
        the fewest edges for m, all graphs for the same, and adds this up over all instances of a window that start
        early enough.
        """
        edges = least_edges(self.N)
        latest = self.context - 1 - 2 * edges * self.lengths[0]
        instances = 1 + latest // self.shortest_instance(SMALLEST)
        return union_bound(training_windows * instances, -math.lgamma(edges + 1))

    @cached_property
    def _cut_share(self) -> float:
        """The share of instances of N vertices that are longer than a window, measured."""
        sample = self.windows(0, 0, max(SAMPLE_TOKENS // self.context, 64), "eval").tokens
        return float((sample != EOS).all(axis=1).mean())


def least_edges(n: int) -> int:
    """The fewest edges of a graph of n vertices: as many leaves as can be, and one parent for every other vertex."""
    return n - (n - 1) // DEGREE - 1


def first_instance(window: list[int]) -> tuple[list[int], list[int]] | None:
    """The prompt, up to <ans>, and the answer, up to <eos>, of a window's first instance, if it is whole."""
    if EOS not in window:
        return None
    answer = window.index(ANSWER) + 1
    return window[:answer], window[answer : window.index(EOS) + 1]
