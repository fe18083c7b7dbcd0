"""The task of questions about Capo's people: whether what a model has stored can be asked for.

Source: arXiv 2309.14316 (Part 3.1), where a model that has read biographies is fine-tuned on questions about half of
the people and asked about the others.
"""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from canonlab.errors import InputError, require_integer
from canonlab.tasks.base import Evaluation, Example, Generate, Model, Split, Verdict, Windows
from canonlab.tasks.capo import extraction_kernels as kernels
from canonlab.tasks.capo.kernels import BIRTH_DATE, SENTENCES, VALUE_KIND
from canonlab.tasks.capo.pieces import BEFORE, Kind
from canonlab.tasks.capo.task import Capo
from canonlab.tasks.capo.words import ATTRIBUTES
from canonlab.tasks.evaluation import Losses, Teach, teaching
from canonlab.tasks.knowledge import PEOPLE
from canonlab.tasks.metrics import Metric, share


@dataclasses.dataclass(frozen=True)
class CapoQuestions(Capo):
    """Extraction of what Capo teaches (arXiv 2309.14316): questions about the people of its biographies.

        <eos> was born on,Ada Lou Ray, May 3, 1931<eos> worked for,Joe Max Hill, Acme<eos> ...

    The people are those of `capo` with the same parameters, context and seed. A question names an attribute, by what
    its first template has in front of the value, and a person; the value, alone, is marked. No biography reads so: a
    model has to learn the form from the people of the training split, half of all, and is then asked about the other
    half, of whom it has only read. Behind a comma a name has the tokens that it has at the beginning of a biography.

    Each exposure asks everything about its half once, six questions a person, in an order of its own. A window has as
    many questions as always fit, and <eos> in the rest.

    Args:
        N, simple, tokenizer, paraphrases, permute, words: as for capo.
        context: the window length in tokens, of the biographies too.
    """

    name: ClassVar[str] = "capo-questions"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer("N", self.N, 2)
        if self.context < self.longest:
            raise InputError(
                f"context = {self.context}: must be at least {self.longest}, the longest question's tokens"
            )

    @cached_property
    def biographies(self) -> Capo:
        """The task that teaches these people."""
        return Capo(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Capo)})

    def people(self, seed: int, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        return self.biographies.people(seed, indices)

    @cached_property
    def _lengths(self) -> list[list[NDArray[np.int64]]]:
        """By attribute, the lengths of all pieces that may stand in each place of a question, <eos> first."""
        lengths, base = np.diff(self.pieces.start).astype(np.int64), self.pieces.base

        def of(*kinds: int) -> list[NDArray[np.int64]]:
            return [lengths[base[kind] : base[kind + 1]] for kind in kinds]

        name = [np.ones(1, np.int64), *of(Kind.COMMA, Kind.FIRST, Kind.MIDDLE, Kind.LAST, Kind.COMMA)]
        date = of(Kind.DAY, Kind.COMMA, Kind.YEAR)
        return [
            [
                *name,
                of(BEFORE + attribute)[0][:1],
                *of(VALUE_KIND[attribute]),
                *(date if attribute == BIRTH_DATE else []),
            ]
            for attribute in range(SENTENCES)
        ]

    @property
    def longest(self) -> int:
        """The most tokens of a question, <eos> included."""
        return max(sum(int(place.max()) for place in places) for places in self._lengths)

    @property
    def padding(self) -> float:
        """The expected share of the stream's tokens that fill up windows."""
        mean = sum(float(place.mean()) for places in self._lengths for place in places) / SENTENCES
        return 1 - self._questions_law.per_window * mean / self.context

    @cached_property
    def _questions_law(self) -> kernels.QuestionLaw:
        return kernels.QuestionLaw(self.law, (self.N + 1) // 2, self.context // self.longest)

    @property
    def windows_per_exposure(self) -> int:
        """The windows that ask everything about the half that is trained on once."""
        return kernels.windows_of(self._questions_law.trained, self._questions_law.per_window)

    @property
    def default_windows(self) -> int:
        """As many as ask everything about the other half, or about 8192 people if that has more."""
        other = self.N - self._questions_law.trained
        return kernels.windows_of(min(other, PEOPLE), self._questions_law.per_window)

    def fill(self, out: Windows, seed: int, start: int, split: Split = "train") -> None:
        self._fill(out, seed, start, split)

    def _fill(self, out: Windows, seed: int, start: int, split: Split) -> NDArray[np.int64]:
        key, number = self.stream(out, seed, start, split)
        law = self._questions_law
        asked = np.empty((len(out.tokens), law.per_window, 4), np.int64)
        people_key = np.uint64(self.biographies.stream_key(seed))
        kernels.fill(out.tokens, out.mask, asked, key, people_key, start, number, law)
        return asked

    def asked(self, seed: int, start: int, count: int, split: Split = "train") -> tuple[Windows, NDArray[np.int64]]:
        """Windows as `windows`, and what they ask: int64 (count, questions, 4), see `extraction_kernels.PERSON`."""
        shape = (count, self.context)
        out = Windows(np.empty(shape, np.int32), np.empty(shape, np.uint8))
        return out, self._fill(out, seed, start, split)

    def evaluate(
        self,
        model: Model,
        *,
        seed: int,
        windows: int | None = None,
        batch: int = 32,
        generate: Generate | None = None,
    ) -> Evaluation:
        """How much of what it has read of the people of `seed` a model can be asked for.

        Metrics, shares of questions in which each token of the value is the most likely one: `accuracy`, the headline,
        about people of whom no question was in the training split; the same by attribute, `accuracy_<attribute>`;
        `accuracy_trained`, about the others. And `loss`, in nats per token of the values of the former. A person's
        answers may depend on each other, so people are the clusters of the intervals.
        """
        windows = self.default_windows if windows is None else windows
        require_integer("windows", windows, 1)
        require_integer("batch", batch, 1)
        losses = Losses()
        with teaching(model, len(self.vocabulary)) as taught:
            other = self._answers(taught, seed, windows, batch, "eval", losses)
            trained = self._answers(taught, seed, windows, batch, "train", Losses())
        metrics = {"accuracy": _share(other)}
        for number, attribute in enumerate(ATTRIBUTES):
            metrics[f"accuracy_{attribute}"] = _share(other[other[:, 1] == number])
        metrics |= {"accuracy_trained": _share(trained), **losses.metrics}
        notes: dict[str, float] = {"windows": windows, "people": len(np.unique(other[:, 0])), "questions": len(other)}
        return Evaluation(metrics, ("accuracy",), notes)

    def _answers(
        self, taught: Teach, seed: int, windows: int, batch: int, split: Split, losses: Losses
    ) -> NDArray[np.int64]:
        """Person, attribute, and whether the answer is right, of each question in the first windows of a split."""
        found = []
        for start in range(0, windows, batch):
            (tokens, mask), asked = self.asked(seed, start, min(batch, windows - start), split)
            guess = taught(tokens)
            losses.add("loss", guess.loss, mask)
            wrong = np.pad(np.cumsum(guess.best != tokens, axis=1), ((0, 0), (1, 0)))
            row, place = np.nonzero(asked[..., kernels.PERSON] >= 0)
            person, attribute, begin, end = asked[row, place].T
            found.append(np.stack([person, attribute, wrong[row, end] == wrong[row, begin]], axis=1))
        return np.concatenate(found)

    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> Verdict:
        """Always an InputError: who a person is depends on the seed, which no prompt tells."""
        raise InputError("prompt: what is right depends on the seed; `evaluate` asks the questions of one")

    def examples(self, tokens: Sequence[int]) -> list[Example]:
        return []

    def facts(self) -> list[str]:
        """What follows from the parameters, a line each: the windows of an exposure, lengths and padding."""
        law = self._questions_law
        return [
            f"an exposure: {self.windows_per_exposure} windows, which ask everything about {law.trained} people once",
            f"a window: {law.per_window} questions of at most {self.longest} tokens",
            f"padding: {self.padding:.2%} of the tokens",
        ]

    def warnings(self) -> list[str]:
        return []


def _share(answers: NDArray[np.int64]) -> Metric:
    """The share of right answers (n, 3), by person."""
    _, person = np.unique(answers[:, 0], return_inverse=True)
    return share(np.bincount(person, answers[:, 2]).astype(np.int64), np.bincount(person))
