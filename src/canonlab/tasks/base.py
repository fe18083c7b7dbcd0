"""What a task is: a vocabulary, windows that are a function of their index, an evaluator and a scorer.

A task knows nothing about models or training. `Task` is the base class of the built-in tasks and of a user's own.
"""

import dataclasses
import hashlib
import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, get_args

import numpy as np
from torch import Tensor

from canonlab import typed
from canonlab.errors import InputError, require_integer, require_seed, shown, unknown
from canonlab.tasks.metrics import Metric, problem

Split = Literal["train", "eval"]
Role = Literal["special", "query", "length", "operator", "number", "name", "name_end", "terminal", "text"]
Model = Callable[[Tensor], Any]
"""Token ids (batch, time) int64 -> logits (batch, time, vocabulary), or an object that has them as `.logits`."""


class Generate(Protocol):
    """Continues prompts, many at once."""

    def __call__(
        self,
        prompts: Sequence[Sequence[int]],
        max_new: int,
        stop: int | None = None,
        *,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[int]]:
        """The new tokens of each prompt, at most `max_new`, up to and including the first `stop`.

        Temperature 0 takes the most likely token; above, tokens are drawn from softmax(logits / temperature). `seed`
        makes the draw repeatable, and equal prompts of one call are answered independently; what else stands in the
        batch should not change an answer, as it does not for this package's models.
        """
        ...


SPLITS: tuple[Split, ...] = ("train", "eval")

MAX_WINDOWS = 1 << 62
"""Windows have the indices 0..MAX_WINDOWS - 1."""

MAX_COUNT = 10**7
"""Windows that are evaluated or shown at once: a thousand times those that an error of a point takes."""

MAX_CONTEXT = 1 << 24
"""Tokens of a window, far beyond use."""


@dataclasses.dataclass(frozen=True)
class Token:
    """One vocabulary entry; `value` is the k of a query, the l of a length, or the number that a number stands for."""

    id: int
    name: str
    role: Role
    value: int | None = None


class Vocabulary(Sequence[Token]):
    """All tokens of a task; entry i has id i, and names are distinct. InputError for an unknown role."""

    def __init__(self, entries: Iterable[tuple[str, Role, int | None]]) -> None:
        self.tokens = tuple(Token(i, name, role, value) for i, (name, role, value) in enumerate(entries))
        self._ids = {token.name: token.id for token in self.tokens}
        for token in self.tokens:
            if not isinstance(token.name, str):
                raise InputError(f"name of token {token.id} = {shown(token.name)}: must be text")
            if token.role not in get_args(Role):
                raise unknown(f"role of the token {token.name!r}", token.role, get_args(Role))
        if len(self._ids) != len(self.tokens):
            raise ValueError("two tokens of the vocabulary have the same name")

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: Any) -> Any:
        return self.tokens[index]

    def id(self, name: str) -> int:
        """The id of the token called `name`; KeyError when there is none."""
        return self._ids[name]

    def decode(self, ids: Iterable[int]) -> str:
        """The tokens' names, separated by spaces, for people."""
        return " ".join(self.tokens[int(i)].name for i in ids)

    def names(self, ids: Iterable[object]) -> list[str]:
        """Like `decode`, one string a token, for ids that may not exist: those read `?17`."""
        known = range(len(self.tokens))
        return [self.tokens[i].name if isinstance(i, int) and i in known else f"?{i}" for i in plain_ids(ids)]


class Windows(NamedTuple):
    """`tokens` int32 and `mask` uint8, both (count, context). mask[i, t] = 1: tokens[i, t] is a scored target."""

    tokens: np.ndarray
    mask: np.ndarray


class Verdict(NamedTuple):
    """Whether one answer is right, and why (for people)."""

    right: bool
    why: str


class Example(NamedTuple):
    """A prompt and a right answer to it, as `Task.score` takes them."""

    prompt: list[int]
    answer: list[int]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What `Task.evaluate` found. `headline` names the metrics to quote, the first of them the main one.

    `notes` holds plain counts that qualify the metrics (windows, instances, queries that were cut, ...).
    """

    metrics: dict[str, Metric]
    headline: tuple[str, ...]
    notes: dict[str, float]

    def plain(self) -> dict[str, Any]:
        """The same as JSON-ready data; what isn't finite, such as a share of nothing, is null.

        TypeError for what a task's author got wrong: no number where one must be, a headline without its metric, a
        share above 1.
        """
        metrics = {}
        for name, metric in self.metrics.items():
            if not isinstance(name, str) or not isinstance(metric, Metric):
                raise TypeError(f"metrics[{name!r}] = {metric!r}: must be a Metric by its name")
            numbers = vars(metric).items()
            metrics[name] = {key: _number(f"{name}.{key}", number, key == "right") for key, number in numbers}
            if wrong := problem(metrics[name]):
                raise TypeError(f"{name}.{wrong}")
        listed = list(self.headline) if isinstance(self.headline, tuple | list) else []
        if not listed or any(name not in list(metrics) for name in listed):
            raise TypeError(f"headline = {self.headline!r}: must name some of the metrics {list(metrics)}")
        if not isinstance(self.notes, Mapping):
            raise TypeError(f"notes = {self.notes!r}: must be numbers by name")
        notes = {name: _number(f"notes.{name}", entry, True) for name, entry in self.notes.items()}
        return {"metrics": metrics, "headline": listed, "notes": notes}


def _number(name: str, value: Any, optional: bool) -> float | None:
    """A number of Python's or NumPy's as JSON has it: None for what isn't finite."""
    if value is None and optional:
        return None
    plain = value.item() if isinstance(value, np.generic | Tensor) and value.ndim == 0 else value
    if isinstance(plain, bool) or not isinstance(plain, int | float):
        raise TypeError(f"{name} = {shown(value)}: must be a number")
    return plain if math.isfinite(plain) else None


class Task(ABC):
    """A skill to train and test. Subclasses are frozen dataclasses whose fields are the task's parameters.

    One of the fields is `context`, the window length in tokens. A subclass sets `name` and `version` (to be raised
    whenever the same parameters give other windows), checks its fields in `__post_init__`, builds `vocabulary`, and
    implements `fill`, `evaluate` and `score`. Windows are a pure function of (parameters, seed, split, index).
    """

    name: ClassVar[str]
    version: ClassVar[int]
    separator: ClassVar[str | None] = "<bos>"
    """The name of the token that opens each instance of a window; None if no token does."""
    difficulty_parameter: ClassVar[str | None] = None
    """The parameter that makes the task harder, if one does: reports lay results out by its value."""
    context: int
    vocabulary: Vocabulary

    @property
    def separator_id(self) -> int | None:
        """The id of the separator; None where there is none."""
        return next((token.id for token in self.vocabulary if token.name == self.separator), None)

    @property
    def files(self) -> dict[str, Path]:
        """The user's own files, or folders of files, that parameters name, by parameter; a run keeps copies of them."""
        return {}

    @property
    def folders(self) -> dict[str, tuple[str, ...]]:
        """By parameter, the files that are read of it, where it names a folder."""
        return {}

    @property
    def copied(self) -> list[tuple[str, Path]]:
        """All files behind `files`, each with its name among a run's copies: "file", or "folder/file"."""
        found = []
        for parameter, path in self.files.items():
            if path.is_dir():
                found += [(f"{copy_name(path)}/{file}", path / file) for file in self.folders.get(parameter, ())]
            else:
                found.append((copy_name(path), path))
        return found

    @property
    def windows_per_exposure(self) -> int | None:
        """How many training windows hold everything that the task teaches once; None where there is no such set."""
        return None

    @property
    def default_windows(self) -> int | None:
        """How many windows an evaluation is made of when none are named; None where the task doesn't tell."""
        return None

    @property
    def parameters(self) -> dict[str, Any]:
        """The values that define the task, `context` apart."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {f.name: typed.plain(getattr(self, f.name)) for f in fields if f.name != "context"}

    @property
    def identity(self) -> dict[str, Any]:
        """What determines the windows besides seed, split and index.

        A parameter that a task gains after its first release is declared with the value that the task had before, as
        `dataclasses.field(default=value, metadata={"introduced": value})`, and left out while it has that value.
        """
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        later = {f.name: f.metadata["introduced"] for f in fields if "introduced" in f.metadata}
        parameters = {k: v for k, v in self.parameters.items() if k not in later or v != later[k]}
        return {"name": self.name, "version": self.version, "parameters": parameters, "context": self.context}

    def stream_key(self, seed: int) -> int:
        """The 64-bit key of the task's stream for `seed`: SHA-256 of the identity, so that no two tasks share one."""
        text = json.dumps([self.identity, seed], sort_keys=True, separators=(",", ":"))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")

    def stream(self, out: Windows, seed: int, start: int, split: Split) -> tuple[np.uint64, int]:
        """Check the arguments of `fill`; the stream's key and the split's number, as kernels take them.

        InputError for a seed, start or split that doesn't exist; ValueError for arrays that kernels can't write to.
        """
        require_seed(seed)
        number = SPLITS.index(require_split(split))
        for array, dtype in zip(out, (np.int32, np.uint8), strict=True):
            if array.shape != (len(out.tokens), self.context) or array.dtype != dtype or not array.flags.carray:
                raise ValueError(f"out must be C-contiguous arrays (count, {self.context}) of int32 and uint8")
        require_integer("start", start, 0, MAX_WINDOWS - len(out.tokens))
        return np.uint64(self.stream_key(seed)), number

    def windows(self, seed: int, start: int, count: int, split: Split = "train") -> Windows:
        """Windows start .. start + count - 1 of a stream in fresh arrays; `fill` is the same into given ones."""
        require_integer("count", count, 0)
        out = Windows(np.empty((count, self.context), np.int32), np.empty((count, self.context), np.uint8))
        self.fill(out, seed, start, split)
        return out

    @abstractmethod
    def fill(self, out: Windows, seed: int, start: int, split: Split = "train") -> None:
        """Write windows start, start + 1, ... of a stream into the rows of `out`. Thread-safe; releases the GIL."""

    @abstractmethod
    def evaluate(
        self,
        model: Model,
        *,
        seed: int,
        windows: int | None = None,
        batch: int = 32,
        generate: Generate | None = None,
    ) -> Evaluation:
        """Score `model` on the first `windows` windows of the evaluation stream.

        The default count gives every headline metric a 95% interval of at most one point to either side. Tasks that
        read what the model writes take `generate`, or work it out from the logits, slowly, when there is none.
        """

    @abstractmethod
    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> Verdict:
        """Judge one answer to one prompt, strictly. A malformed prompt is an InputError."""

    def examples(self, tokens: Sequence[int]) -> list[Example]:
        """The prompts with their answers in one window, those that it holds whole; none if the task doesn't tell."""
        return []

    def facts(self) -> list[str]:
        """What follows from these parameters and is good to know, a line each."""
        return []

    def warnings(self) -> list[str]:
        """What a user should know of these parameters before a run, a line each (e.g. a share of answers cut)."""
        return []

    def coincidence(self, training_windows: int) -> float | None:
        """An upper bound on the share of evaluation instances that occur in that many training windows, if known."""
        return None


def copy_name(path: Path) -> str:
    """What a run calls its copy of a user's file or folder."""
    return os.path.basename(os.path.abspath(path)) or "files"


def typed_settings(cls: type[Task], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a task class as it declares its parameters. InputError for what is none, or of another type.

    One that says the default is the default itself, so that it is no other stream: 1.0 where a float has the default 1.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values = typed.arguments(cls, settings, what="task parameter")
    same = {name for name, value in values.items() if value == defaults[name] and not isinstance(value, bool)}
    return {name: defaults[name] if name in same else value for name, value in values.items()}


def require_split(split: str) -> Split:
    """`split` itself when it is "train" or "eval"."""
    for known in SPLITS:
        if split == known:
            return known
    raise unknown("split", split, SPLITS)


def require_token_ids(field: str, ids: Sequence[object], vocabulary: Vocabulary) -> list[int]:
    """`ids` as a list when all are ids of the vocabulary, else an InputError that names the first that isn't."""
    count = len(vocabulary)
    for position, i in enumerate(ids):
        if not isinstance(i, (int, np.integer)) or isinstance(i, bool) or not 0 <= i < count:
            raise InputError(f"{field}[{position}] = {i!r}: must be a token id from 0 to {count - 1}")
    return [int(i) for i in ids]  # type: ignore[call-overload]


def plain_ids(ids: Iterable[object]) -> list[object]:
    """`ids` as a list in which integers, NumPy's too, are Python's, and anything else is text that equals none."""
    return [int(i) if isinstance(i, int | np.integer) and not isinstance(i, bool) else repr(i) for i in ids]
