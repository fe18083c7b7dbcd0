"""The mixture's parameters, vocabulary, windows and evaluation."""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from canonlab.errors import InputError, require_integer, shown
from canonlab.tasks.base import Evaluation, Example, Generate, Model, Role, Split, Task, Verdict, Vocabulary, Windows
from canonlab.tasks.metrics import Metric
from canonlab.tasks.mixture.layout import lay_out
from canonlab.tasks.mixture.words import Words

MOST_SHARES = 1 << 20
"""Windows of a block."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A task of a mixture.

    Args:
        task: a preset, such as capo.
        set: the parameters that differ from the preset's, but for the context, which is the mixture's.
        share: how many windows it has in each block, so many parts of all tokens.
        name: what its metrics end in; letters, by default the task's name. The first part's metrics have no ending.
        domain: what opens its instances is a token of its own, which says that they are this part's.
    """

    task: str
    set: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    share: int = 1
    name: str = ""
    domain: bool = False


@dataclasses.dataclass(frozen=True)
class Mixture(Task):
    """Windows of several tasks, each window all of one: useful text in between of junk (arXiv 2404.05405, section 10).

    In every block of as many windows as the shares add up to, each part has exactly its share of them, in an order
    drawn for the block, and the windows are those that the part has by itself, one after another. A part with `domain`
    opens its instances with a token of its own in place of its separator: Capo's biographies then begin with <capo>
    where they began with <eos>.

    Parts whose tokens are the same share them; others have tokens of their own, called mano:+ and so on.

    The first part is what the mixture is about: an exposure is an exposure of it, and its metrics are the mixture's.
    Those of another part end in its name: `loss_junk`.

    Args:
        parts: two or more.
        context: the window length in tokens, of all parts.
    """

    parts: tuple[Part, ...]
    context: int = 512

    name: ClassVar[str] = "mixture"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        require_integer("context", self.context, 2)
        if len(self.parts) < 2:
            raise InputError(f"parts: {len(self.parts)} given, must be two or more")
        for i, part in enumerate(self.parts):
            require_integer(f"parts[{i}].share", part.share, 1, MOST_SHARES)
            if part.name and not re.fullmatch("[a-z]+", part.name):
                raise InputError(f"parts[{i}].name = {shown(part.name)}: must be of lower-case letters")
            if "context" in part.set:
                raise InputError(f"parts[{i}].set.context: is the mixture's; set that")
        for i, task in enumerate(self.tasks):
            if self.parts[i].domain and task.separator_id is None:
                raise InputError(f"parts[{i}].domain = true: nothing opens an instance of {task.name}")
            if self.names.index(self.names[i]) < i:
                raise InputError(f"parts[{i}].name: two parts are called {self.names[i]}; name them")
            if task.files:
                raise InputError(f"parts[{i}]: {', '.join(task.files)}: a mixture takes no files of a user's own")
            if any(task.identity == other.identity for other in self.tasks[:i]):
                raise InputError(f"parts[{i}] = {shown(self.parts[i].task)}: is the same stream as another part")

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """The parts' tasks."""
        from canonlab.tasks.catalog import TASKS, build_task  # the catalog has mixtures too

        found = []
        for i, part in enumerate(self.parts):
            if part.task in TASKS and issubclass(TASKS[part.task].task, Mixture):
                raise InputError(f"parts[{i}].task = {shown(part.task)}: is a mixture itself")
            try:
                found.append(build_task(part.task, {**part.set, "context": self.context}))
            except InputError as error:
                raise InputError(f"parts[{i}]: {error}") from None
        return tuple(found)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What the parts are called."""
        return tuple(part.name or task.name for part, task in zip(self.parts, self.tasks, strict=True))

    @property
    def identity(self) -> dict[str, Any]:
        """With the identities of the parts, and what the mixture makes of them."""
        parts = [
            {"share": part.share, "domain": part.domain, **task.identity}
            for part, task in zip(self.parts, self.tasks, strict=True)
        ]
        return {**super().identity, "parameters": {"parts": parts}}

    @cached_property
    def words(self) -> tuple[Words, ...]:
        """Each part's tokens among the mixture's."""
        ids, size = self._merged[1], len(self._merged[0])
        return tuple(Words(own, size) for own in ids)

    @property
    def vocabulary(self) -> Vocabulary:  # type: ignore[override]
        """The parts' tokens, then what opens instances of parts with `domain`."""
        return self._merged[0]

    @cached_property
    def _merged(self) -> tuple[Vocabulary, list[list[int]]]:
        """All tokens, and by part the ids of its own."""
        entries: list[tuple[str, Role, int | None]] = []
        begins: dict[tuple[Any, ...], int] = {}
        ids: list[list[int]] = []
        for name, task in zip(self.names, self.tasks, strict=True):
            own = task.vocabulary.tokens
            if own not in begins:
                prefix = f"{name}:" if entries else ""
                begins[own] = len(entries)
                entries += [(f"{prefix}{token.name}", token.role, token.value) for token in own]
            ids.append(list(range(begins[own], begins[own] + len(own))))
        for name, part, task, own_ids in zip(self.names, self.parts, self.tasks, ids, strict=True):
            if part.domain and task.separator_id is not None:
                own_ids[task.separator_id] = len(entries)
                entries.append((f"<{name}>", "special", None))
        return Vocabulary(entries), ids

    @property
    def separator(self) -> str | None:  # type: ignore[override]
        """That of all parts; None where they have different ones."""
        found = {
            None if task.separator_id is None else self.vocabulary[words.ids[task.separator_id]].name
            for task, words in zip(self.tasks, self.words, strict=True)
        }
        return found.pop() if len(found) == 1 else None

    @cached_property
    def shares(self) -> np.ndarray:
        """How many windows of a block each part has: int64 (parts,)."""
        return np.array([part.share for part in self.parts], np.int64)

    @property
    def windows_per_exposure(self) -> int | None:
        """The windows, rounded up, in which the first part has as many as its exposure takes."""
        own = self.tasks[0].windows_per_exposure
        return None if own is None else math.ceil(own * int(self.shares.sum()) / self.parts[0].share)

    @property
    def default_windows(self) -> int | None:
        return self.tasks[0].default_windows

    def fill(self, out: Windows, seed: int, start: int, split: Split = "train") -> None:
        key, number = self.stream(out, seed, start, split)
        parts = np.empty(len(out.tokens), np.int64)
        first = lay_out(parts, key, start, number, self.shares)
        for i, (task, words) in enumerate(zip(self.tasks, self.words, strict=True)):
            rows = np.flatnonzero(parts == i)
            made = task.windows(seed, int(first[i]), len(rows), split)
            out.tokens[rows] = words.ids[made.tokens]
            out.mask[rows] = made.mask

    def evaluate(
        self,
        model: Model,
        *,
        seed: int,
        windows: int | None = None,
        batch: int = 32,
        generate: Generate | None = None,
    ) -> Evaluation:
        """Each part's evaluation, on as many windows of its own; the headline is the first part's."""
        found = [
            task.evaluate(
                words.model(model), seed=seed, windows=windows, batch=batch, generate=words.generate(generate)
            )
            for task, words in zip(self.tasks, self.words, strict=True)
        ]
        metrics: dict[str, Metric] = {}
        notes: dict[str, float] = {}
        for i, (name, each) in enumerate(zip(self.names, found, strict=True)):
            ending = f"_{name}" if i else ""
            metrics |= {f"{key}{ending}": metric for key, metric in each.metrics.items()}
            notes |= {f"{key}{ending}": note for key, note in each.notes.items()}
        return Evaluation(metrics, found[0].headline, notes)

    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> Verdict:
        """The verdict of the part whose tokens the prompt is of; the first of several."""
        for task, words in zip(self.tasks, self.words, strict=True):
            if set(prompt) <= set(words.ids.tolist()):
                known = [int(words.back[i]) if i in range(words.size) else i for i in answer]
                return task.score([int(words.back[i]) for i in prompt], known)
        raise InputError("prompt: must be of one part's tokens")

    def examples(self, tokens: Sequence[int]) -> list[Example]:
        """The prompts with their answers of the part whose tokens the window is of; of several the first that has
        any."""
        for task, words in zip(self.tasks, self.words, strict=True):
            if set(tokens) <= set(words.ids.tolist()):
                found = task.examples([int(words.back[i]) for i in tokens])
                if found:
                    return [Example(*(words.ids[ids].tolist() for ids in example)) for example in found]
        return []

    def facts(self) -> list[str]:
        """The parts with their shares of the tokens, and what each says of itself."""
        total = int(self.shares.sum())

        def lines() -> Iterator[str]:
            for name, part, task in zip(self.names, self.parts, self.tasks, strict=True):
                settings = ", ".join(f"{key} = {value}" for key, value in part.set.items())
                yield f"{name}: {part.share} of {total} windows, {part.task}{f' ({settings})' if settings else ''}"
                yield from (f"{name}: {fact}" for fact in task.facts())

        return list(lines())

    def warnings(self) -> list[str]:
        return [
            f"{name}: {line}" for name, task in zip(self.names, self.tasks, strict=True) for line in task.warnings()
        ]

    def coincidence(self, training_windows: int) -> float | None:
        """That of the first part."""
        return self.tasks[0].coincidence(math.ceil(training_windows * self.parts[0].share / int(self.shares.sum())))
