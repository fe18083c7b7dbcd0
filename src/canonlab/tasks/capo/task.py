"""The Capo task: its parameters, vocabulary, people and windows."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from canonlab.errors import InputError, require_integer, require_seed, shown
from canonlab.tasks.base import Evaluation, Example, Generate, Model, Role, Split, Task, Verdict, Vocabulary, Windows
from canonlab.tasks.capo import bits, kernels, people
from canonlab.tasks.capo.lengths import Pmf, length_law, mean, windows_for
from canonlab.tasks.capo.pieces import EOS, Pieces, load_pieces
from canonlab.tasks.capo.score import city_questions, judge
from canonlab.tasks.capo.tokenizer import GPT2_FILES, tokenizer_path
from canonlab.tasks.capo.words import FILES, beginnings, load_words, words_path
from canonlab.tasks.knowledge import PEOPLE

MOST_PEOPLE = 100_000_000
MOST_PARAPHRASES = 1000

PADDING = 0.03
"""A share of the stream that users are told about."""


@dataclasses.dataclass(frozen=True)
class Capo(Task):
    """Knowledge capacity (arXiv 2404.05405, bioS; arXiv 2512.17351, section 2): what a model has learnt by heart.

        <eos>Ada Lou Ray was born on May 3, 1931. She works for Acme. She ... <eos>Joe ...

    N people with distinct names, uniform out of 400 x 400 x 1000, and six attributes: birth date, birth city,
    university, major, employer, and the employer's city, which the employer determines. They depend on the seed, not on
    the split. Each exposure writes every one of them once, in an order of its own, as a biography of six sentences, the
    pronoun in place of the name from the second sentence on. The order of the sentences and the templates are drawn
    anew each time, or each time from a few per person that were drawn once, one of them in bioS-simple. All tokens are
    marked but the first of a window, which nothing predicts.

    Biographies run across windows. To make any window by itself, an exposure's people are put into blocks of 2048 (or
    all, if there are fewer), each of which has a fixed number of windows, so the end of a block is <eos>, not marked:
    see `padding`. The evaluation split has other exposures of the same people.

    Args:
        N: how many people there are.
        simple: bioS-simple: a person's biography is the same in all exposures, as with `paraphrases` = 1.
        tokenizer: "own", "gpt2" (when it can be loaded) or the path of a tokenizer.json, or of a folder that has one or
            GPT-2's encoder.json and vocab.bpe.
        context: the window length in tokens.
        paraphrases: how many biographies each person has, of which each exposure shows one; 0: always another.
        permute: whether a biography's sentences are in an order that was drawn, or in that of the attributes.
        words: "own", or the path of a folder with word lists of the user's: see `canonlab.tasks.capo.words`.
    """

    N: int = 50_000
    simple: bool = False
    tokenizer: str = "own"
    context: int = 512
    paraphrases: int = dataclasses.field(default=0, metadata={"introduced": 0})
    permute: bool = dataclasses.field(default=True, metadata={"introduced": True})
    words: str = dataclasses.field(default="own", metadata={"introduced": "own"})

    name: ClassVar[str] = "capo"
    version: ClassVar[int] = 1
    difficulty_parameter: ClassVar[str | None] = "N"
    separator: ClassVar[str | None] = "<eos>"

    def __post_init__(self) -> None:
        require_integer("N", self.N, 1, MOST_PEOPLE)
        require_integer("context", self.context, 2)
        require_integer("paraphrases", self.paraphrases, 0, MOST_PARAPHRASES)
        for field in ("simple", "permute"):
            if not isinstance(value := getattr(self, field), bool):
                raise InputError(f"{field} = {shown(value)}: must be true or false")
        if self.simple and self.paraphrases:
            raise InputError(f"paraphrases = {self.paraphrases}: must be 0 where simple, which is 1 of them, is true")
        if not isinstance(self.tokenizer, str):
            raise InputError(f"tokenizer = {shown(self.tokenizer)}: must be own, gpt2 or a path")
        if not isinstance(self.words, str):
            raise InputError(f"words = {shown(self.words)}: must be own or the path of a folder")
        load_pieces(self.tokenizer, self.words)

    @property
    def pieces(self) -> Pieces:
        """The tokens of names, values and templates."""
        return load_pieces(self.tokenizer, self.words)

    @property
    def files(self) -> dict[str, Path]:
        files = {} if self.tokenizer in ("own", "gpt2") else {"tokenizer": tokenizer_path(self.tokenizer)}
        return files if self.words == "own" else {**files, "words": words_path(self.words)}

    @property
    def folders(self) -> dict[str, tuple[str, ...]]:
        return {"tokenizer": GPT2_FILES, "words": FILES}

    @property
    def identity(self) -> dict[str, Any]:
        """With a hash of the pieces for the tokenizer, as other tokens or words of the same name are another stream.

        One biography a person is bioS-simple, however it was asked for.
        """
        found = super().identity
        parameters = {**found["parameters"], "pieces": self._pieces_hash}
        del parameters["tokenizer"]
        parameters.pop("words", None)
        if self.paraphrases == 1:
            del parameters["paraphrases"]
            parameters["simple"] = True
        return {**found, "parameters": parameters}

    @cached_property
    def _pieces_hash(self) -> str:
        digest = hashlib.sha256()
        for array in (self.pieces.tokens, self.pieces.start, self.pieces.base):
            digest.update(array.astype("<i8").tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def vocabulary(self) -> Vocabulary:  # type: ignore[override]
        """<eos>, and the tokens that the pieces use."""

        def entries() -> Iterator[tuple[str, Role, int | None]]:
            for i, name in enumerate(self.pieces.names):
                yield name, "special" if i == EOS else "text", None

        return Vocabulary(entries())

    def people(self, seed: int, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The people `indices` (n,) of the stream: int64 (n, 11), columns as in `canonlab.tasks.capo.people`."""
        require_seed(seed)
        for index in (np.min(indices), np.max(indices)) if len(indices) else ():
            require_integer("person", int(index), 0, self.N - 1)
        return people.people(self.stream_key(seed), indices)

    @cached_property
    def lengths(self) -> Pmf:
        """The law of a biography's length with the <eos> before it: entry l is the probability of l tokens."""
        return length_law(self.pieces)

    @cached_property
    def law(self) -> kernels.CapoLaw:
        """What the kernels take."""
        full = min(kernels.BLOCK, self.N)
        last = (self.N - 1) % full + 1
        block_windows = windows_for(self.lengths, full, self.context)
        last_windows = block_windows if last == full else windows_for(self.lengths, last, self.context)
        paraphrases = 1 if self.simple else self.paraphrases
        longest = len(self.lengths) - 1
        return kernels.law(self.pieces, self.N, paraphrases, self.permute, block_windows, last_windows, longest)

    @property
    def windows_per_exposure(self) -> int:
        """The windows that show each person once: windows e * this .. (e + 1) * this - 1 are exposure e."""
        return (self.N - 1) // kernels.BLOCK * self.law.block_windows + self.law.last_windows

    @property
    def padding(self) -> float:
        """The expected share of the stream's tokens that fill up blocks."""
        return 1 - self.N * mean(self.lengths) / (self.windows_per_exposure * self.context)

    def fill(self, out: Windows, seed: int, start: int, split: Split = "train") -> None:
        key, number = self.stream(out, seed, start, split)
        kernels.fill(out.tokens, out.mask, key, start, number, self.law)

    @property
    def default_windows(self) -> int:
        """As many as show the people who are asked about by default."""
        return bits.windows_of(self, min(self.N, PEOPLE))

    def evaluate(
        self,
        model: Model,
        *,
        seed: int,
        windows: int | None = None,
        batch: int = 32,
        generate: Generate | None = None,
    ) -> Evaluation:
        """How many bits `model` knows about the people of `seed`: see `canonlab.tasks.capo.bits.evaluate`."""
        return bits.evaluate(self, model, seed=seed, windows=windows, batch=batch)

    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> Verdict:
        """Judge the city of an employer that the prompt names: right if it is the whole value and no more.

        That is the one fact about a person that doesn't depend on the seed. The prompt is the beginning of a biography,
        from its <eos>, that says who employs the person and ends before the employer's city.
        """
        return judge(self.pieces, self.vocabulary, prompt, answer)

    def examples(self, tokens: Sequence[int]) -> list[Example]:
        """The whole biographies of a window in which the employer comes before its city, each with that city."""
        return city_questions(self.pieces, tokens)

    def facts(self) -> list[str]:
        """What follows from the parameters, a line each: the windows of an exposure, lengths and padding."""
        return [
            f"an exposure: {self.windows_per_exposure} windows, which show each of {self.N} people once",
            f"a biography: {mean(self.lengths):.1f} tokens on average, <eos> included",
            f"padding: {self.padding:.2%} of the tokens",
        ]

    def warnings(self) -> list[str]:
        """Says so where blocks are small, so that filling them up costs much, and where values begin others."""
        lines = [
            f"words: {shown(value)} begins another of {name}.txt: such values count as known a little too easily"
            for name, value in beginnings(load_words(self.words)).items()
        ]
        if self.padding > PADDING:
            lines.append(f"N = {self.N}: {self.padding:.1%} of the tokens fill up windows and aren't trained on")
        return lines
