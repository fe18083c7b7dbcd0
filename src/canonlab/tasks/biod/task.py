"""The bioD task: its parameters, vocabulary and windows."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import ClassVar

from canonlab.errors import InputError, require_integer
from canonlab.tasks.base import Evaluation, Example, Generate, Model, Role, Split, Task, Verdict, Vocabulary, Windows
from canonlab.tasks.biod import bits, kernels
from canonlab.tasks.knowledge import PEOPLE
from canonlab.tasks.prompts import PromptReader, instances

MOST_NAMES = 1 << 40
MOST = {"K": 10_000, "C": 10_000, "D": 10**9, "L": 10_000, "T": 10**6}
MOST_LENGTH = 1 << 20
"""Tokens of a record, far beyond use."""

PADDING = 0.03
"""A share of the stream that users are told about."""


@dataclasses.dataclass(frozen=True)
class BioD(Task):
    """Knowledge capacity of facts of any size and variety (arXiv 2404.05405, definition 2.2: bioD).

        <eos> n7 n0 n3  a2 v1 v5 v5 v0  a1 v3 v3 v1 v5  <eos> ...

    N people with distinct names out of N0, and K attributes. Each attribute has D distinct strings of L tokens out of
    T, and a value is C chunks, each one of these strings, uniformly. A record is <eos>, the name, and for each
    attribute its token and the value's; a name is a number below N0 in the fewest digits that N0 needs, which are the T
    tokens too. People, values and strings depend on the seed, not on the split.

    Each exposure writes every person once, in an order of its own, and each record with its attributes in an order
    drawn anew. Records run across windows; the end of an exposure's last window is <eos>, not marked. All else is
    marked but the first token of a window, which nothing predicts. The evaluation split has other exposures.

    Strings are distinct by construction where T^L is at most 2^62. Beyond that they are drawn independently: two of an
    attribute coincide with a probability below D^2 / 2^63, 1e-11 for D = 10000.

    Args:
        N: how many people there are.
        K: how many attributes.
        C: how many chunks a value has.
        D: how many strings an attribute's chunks are taken from.
        L: how many tokens a chunk has.
        T: how many tokens names and values are written in.
        N0: how many names there are.
        context: the window length in tokens.
    """

    N: int = 10_000
    K: int = 6
    C: int = 1
    D: int = 500
    L: int = 2
    T: int = 500
    N0: int = 400 * 400 * 1000
    context: int = 512

    name: ClassVar[str] = "biod"
    version: ClassVar[int] = 1
    difficulty_parameter: ClassVar[str | None] = "N"
    separator: ClassVar[str | None] = "<eos>"

    def __post_init__(self) -> None:
        require_integer("N0", self.N0, 1, MOST_NAMES)
        require_integer("N", self.N, 1)
        for field, most in MOST.items():
            require_integer(field, getattr(self, field), 2 if field == "T" else 1, most)
        require_integer("context", self.context, 2)
        if self.N > self.N0:
            raise InputError(f"N = {self.N}: must be at most N0 = {self.N0}, as all names differ")
        if self.D > self.T**self.L:
            raise InputError(f"D = {self.D}: must be at most T^L = {self.T**self.L}, the number of all strings")
        if self.length > MOST_LENGTH:
            letters = f"K, C, L = {self.K}, {self.C}, {self.L}"
            raise InputError(f"{letters}: make a record of {self.length} tokens, more than {MOST_LENGTH}")

    @property
    def digits(self) -> int:
        """The tokens of a name."""
        digits = 1
        while self.T**digits < self.N0:
            digits += 1
        return digits

    @property
    def length(self) -> int:
        """The tokens of a record, its <eos> included."""
        return 1 + self.digits + self.K * (1 + self.C * self.L)

    @cached_property
    def vocabulary(self) -> Vocabulary:  # type: ignore[override]
        """<eos>, the K attributes, and the T tokens of names and values."""

        def entries() -> Iterator[tuple[str, Role, int | None]]:
            yield "<eos>", "special", None
            for attribute in range(self.K):
                yield f"a{attribute + 1}", "query", attribute + 1
            for token in range(self.T):
                yield f"v{token}", "text", None

        return Vocabulary(entries())

    @cached_property
    def law(self) -> kernels.BioLaw:
        """What the kernels take."""
        strings = self.T**self.L
        letters = (self.N, self.K, self.C, self.D, self.L, self.T, self.N0)
        return kernels.BioLaw(*letters, self.digits, strings if strings <= 1 << 62 else 0)

    @property
    def windows_per_exposure(self) -> int:
        """The windows that show each person once: windows e * this .. (e + 1) * this - 1 are exposure e."""
        return -(-self.N * self.length // self.context)

    def fill(self, out: Windows, seed: int, start: int, split: Split = "train") -> None:
        key, number = self.stream(out, seed, start, split)
        kernels.fill(out.tokens, out.mask, key, start, number, self.law)

    @property
    def default_windows(self) -> int:
        """As many as show the people who are asked about by default."""
        return math.ceil(min(self.N, PEOPLE) * self.length / self.context)

    def evaluate(
        self,
        model: Model,
        *,
        seed: int,
        windows: int | None = None,
        batch: int = 32,
        generate: Generate | None = None,
    ) -> Evaluation:
        """How many bits `model` knows about the people of `seed`: see `canonlab.tasks.biod.bits.evaluate`."""
        return bits.evaluate(self, model, seed=seed, windows=windows, batch=batch)

    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> Verdict:
        """Judge the token of the one attribute that a record has left: right if it is that and no more.

        That is what doesn't depend on the seed. The prompt is a record, from its <eos>, without its last attribute;
        whether a name or value is anyone's is not looked at.
        """
        left = self._attribute_left(prompt)
        fact = f"the attribute that is left is {self.vocabulary[left].name!r}"
        given = " ".join(self.vocabulary.names(answer))
        return Verdict(True, fact) if list(answer) == [left] else Verdict(False, f"{fact}, not {given!r}")

    def _attribute_left(self, prompt: Sequence[int]) -> int:
        reader = PromptReader(self.vocabulary, prompt)
        reader.expect(kernels.EOS)
        for _ in range(self.digits):
            reader.read("a token of a name", "text")
        left = dict.fromkeys(range(1, self.K + 1))
        for _ in range(self.K - 1):
            token = reader.read("an attribute", "query")
            if token.id not in left:
                raise InputError(f"prompt[{reader.position - 1}]: the attribute {token.name!r} stands there twice")
            del left[token.id]
            for _ in range(self.C * self.L):
                reader.read("a token of a value", "text")
        reader.end()
        return next(iter(left))

    def examples(self, tokens: Sequence[int]) -> list[Example]:
        """The whole records of a window, each with the token of its last attribute."""
        at = self.length - 1 - self.C * self.L
        records = (record for record in instances(tokens, kernels.EOS) if len(record) == self.length)
        return [Example(record[:at], record[at : at + 1]) for record in records]

    def facts(self) -> list[str]:
        """What follows from the parameters, a line each: the windows of an exposure, lengths, what there is to know."""
        most = bits.most_bits(self.law)
        parts = ", ".join(f"{term.removeprefix('bits_')} {most[term]:.4g}" for term in bits.TERMS)
        return [
            f"an exposure: {self.windows_per_exposure} windows, which show each of {self.N} people once",
            f"a record: {self.length} tokens, <eos> and {self.digits} of the name included",
            f"all there is to know: {sum(most.values()):.4g} bits ({parts})",
        ]

    def warnings(self) -> list[str]:
        """Says so where there are so few people that filling up the last window costs much."""
        padding = 1 - self.N * self.length / (self.windows_per_exposure * self.context)
        if padding <= PADDING:
            return []
        return [f"N = {self.N}: {padding:.1%} of the tokens fill up windows and aren't trained on"]
