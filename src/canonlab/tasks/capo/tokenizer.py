"""Byte-level byte-pair encoding (Sennrich et al., arXiv 1508.07909; over bytes as in GPT-2), read from a file.

The shipped tokenizer is made by `train_tokenizer`. Its file has the form of a `tokenizer.json` of Hugging Face's
`tokenizers`, so other byte-level files of that form, above all GPT-2's, load in the same way and need no package. So
do GPT-2's own two files, encoder.json and vocab.bpe, in a folder.
"""

import importlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path

from canonlab.errors import InputError, shown
from canonlab.files import read_bytes
from canonlab.typed import user_path

OWN = Path(__file__).parent / "tokenizer.json"
"""The shipped tokenizer."""

GPT2 = "openai-community/gpt2"
"""The repository on huggingface.co whose tokenizer.json is GPT-2's."""

GPT2_FILES = ("encoder.json", "vocab.bpe")
"""What GPT-2's tokenizer was published as: ids by token, and a merge a line."""

EOS = ("<eos>", "<|endoftext|>")
"""What the token that separates texts may be called."""

_UNITS = re.compile(r"'(?:s|t|re|ve|m|ll|d)| ?[^\W\d_]+| ?\d+| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s+")


def units(text: str) -> list[str]:
    """GPT-2's units, which no token crosses: a word, a number or other characters, each with the space before it."""
    return _UNITS.findall(text)


@cache
def byte_symbols() -> tuple[str, ...]:
    """The printable character that stands for each byte in tokens: itself, or else the next free one from 256 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)}
    free = iter(range(256, 512))
    return tuple(chr(byte if byte in printable else next(free)) for byte in range(256))


def spell(text: str) -> str:
    """The text in `byte_symbols`, as tokens are written."""
    symbols = byte_symbols()
    return "".join(symbols[byte] for byte in text.encode())


class Tokenizer:
    """A byte-level byte-pair encoding: in each unit, the adjacent pair of the earliest merge is joined first.

    Args:
        vocabulary: the id of each token; tokens are written in `byte_symbols`.
        merges: pairs of tokens, in the order in which they are joined.
        eos: the id of the token between texts, which no text encodes to.
    """

    def __init__(self, vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]], eos: int) -> None:
        self.vocabulary = vocabulary
        self.merges = merges
        self.eos = eos
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._tokens = {index: token for token, index in vocabulary.items()}
        self._bytes = {symbol: byte for byte, symbol in enumerate(byte_symbols())}
        self._split = lru_cache(1 << 16)(self._merge)  # texts have the same words again and again

    def encode(self, text: str) -> list[int]:
        """The ids of the text's tokens."""
        return [self.vocabulary[token] for unit in units(text) for token in self._split(unit)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids; `eos` appears under its name, and bytes that are no text as U+FFFD."""
        symbols = "".join(self._tokens[index] for index in ids)
        return bytes(self._bytes[symbol] for symbol in symbols).decode(errors="replace")

    def _merge(self, unit: str) -> list[str]:
        tokens = list(spell(unit))
        while len(tokens) > 1:
            pair = min(pairwise(tokens), key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if pair not in self._ranks:
                break
            tokens = join(tokens, pair)
        return tokens


def join(tokens: list[str], pair: tuple[str, str]) -> list[str]:
    """The tokens with every occurrence of the pair, from the left, replaced by its concatenation."""
    joined: list[str] = []
    at = 0
    while at < len(tokens):
        width = 2 if tuple(tokens[at : at + 2]) == pair else 1
        joined.append("".join(tokens[at : at + width]))
        at += width
    return joined


def load_tokenizer(name: str = "own") -> Tokenizer:
    """The shipped tokenizer ("own"), GPT-2's ("gpt2"), or the one at the path `name`.

    GPT-2's is taken from the cache of the `huggingface_hub` package, which fetches it when it isn't there. A path is
    that of a tokenizer.json, or of a folder that has one or `GPT2_FILES`.

    Raises:
        InputError: there is no such file, or it is no byte-level byte-pair encoding with GPT-2's units.
    """
    return read_tokenizer(OWN if name == "own" else _gpt2_file() if name == "gpt2" else tokenizer_path(name))


def tokenizer_path(name: str) -> Path:
    """The path of a user's tokenizer: a file, or a folder with `GPT2_FILES`."""
    path = user_path(name)
    return path / "tokenizer.json" if os.path.isfile(path / "tokenizer.json") else path


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a tokenizer.json file, or in a folder with `GPT2_FILES`.

    Raises:
        InputError: there is no such file, or it is no byte-level byte-pair encoding with GPT-2's units and a token of
            `EOS`.
    """
    whole = os.path.isdir(path)
    try:
        contents = [read_bytes(path / name) for name in GPT2_FILES] if whole else [read_bytes(path)]
    except InputError as error:
        words = f"must be own, gpt2 or the path of a tokenizer.json or of a folder with {' and '.join(GPT2_FILES)}"
        raise InputError(f"tokenizer = {shown(str(path))}: {words} ({error})") from None
    try:
        vocabulary, merges, eos = _two_files(*contents) if whole else _one_file(*contents)
        fits = {*byte_symbols(), *(left + right for left, right in merges)} <= vocabulary.keys()
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration, RecursionError):
        fits = False
    if not fits:
        raise InputError(f"tokenizer = {shown(str(path))}: must be byte-level BPE with GPT-2's units and one of {EOS}")
    return Tokenizer(vocabulary, merges, eos)


Parts = tuple[dict[str, int], list[tuple[str, str]], int]
"""What a tokenizer is made of: vocabulary, merges, and the id of the token between texts."""


def _one_file(content: bytes) -> Parts:
    """The parts in a tokenizer.json. ValueError, KeyError, TypeError or StopIteration where these aren't there."""
    file = json.loads(content)
    model, before = file["model"], file["pre_tokenizer"]
    merges = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in model["merges"]]
    eos = next(token for token in file["added_tokens"] if token["content"] in EOS)
    ours = (
        model["type"] == "BPE"
        and before["type"] == "ByteLevel"
        and not before["add_prefix_space"]
        and before.get("use_regex", True)
        and file.get("normalizer") is None
    )
    if not ours:
        raise ValueError("another kind of tokenizer")
    return {**model["vocab"], eos["content"]: eos["id"]}, merges, eos["id"]


def _two_files(encoder: bytes, merges: bytes) -> Parts:
    """The parts in `GPT2_FILES`, the second of which may begin with a line about its version. Errors as above."""
    vocabulary = json.loads(encoder)
    lines = [line for line in merges.decode().splitlines() if line and not line.startswith("#version")]
    pairs = [(left, right) for left, right in (line.split(" ") for line in lines)]
    return vocabulary, pairs, next(vocabulary[name] for name in EOS if name in vocabulary)


def _gpt2_file() -> Path:
    try:
        return Path(importlib.import_module("huggingface_hub").hf_hub_download(GPT2, "tokenizer.json"))
    except (ImportError, OSError) as error:
        address = f"https://huggingface.co/{GPT2}/resolve/main/tokenizer.json"
        raise InputError(
            f"tokenizer = 'gpt2': needs `pip install huggingface_hub` and a network, or give the path of {address}"
        ) from error
