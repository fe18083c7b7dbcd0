"""Makes the shipped tokenizer: `python -m canonlab.tasks.capo.train_tokenizer` writes tokenizer.json anew.

It is trained on no sample: a unit counts as often as biographies have it on average.
"""

import json
import sys
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

from canonlab.tasks.capo.pieces import texts
from canonlab.tasks.capo.tokenizer import EOS, OWN, byte_symbols, join, spell, units

SIZE = 3300
"""How many tokens there are: <eos>, the bytes, the merges."""

SCALE = 10**9
"""The average counts are per this many biographies, which makes them integers, so that ties are exact ties."""


def unit_counts() -> Counter[str]:
    """How often each unit occurs in SCALE biographies, on average."""
    counts: Counter[str] = Counter()
    for group in texts():
        for text in group:
            for unit in units(text):
                counts[unit] += SCALE // len(group)
    return counts


def train(counts: Mapping[str, int], size: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Byte-pair encoding: join the most frequent pair (of several, the first in order) until there are `size` tokens.

    Returns the tokens, <eos> first, and the merges. Two merges can make the same token, which then counts once.
    """
    words = {spell(unit): (list(spell(unit)), count) for unit, count in counts.items()}
    pairs: Counter[tuple[str, str]] = Counter()
    places: dict[tuple[str, str], set[str]] = {}

    def add(word: str, sign: int) -> None:
        split, count = words[word]
        for pair in pairwise(split):
            pairs[pair] += sign * count
            places.setdefault(pair, set()).add(word)

    for word in words:
        add(word, 1)
    tokens = dict.fromkeys([EOS[0], *sorted(byte_symbols())])
    merges: list[tuple[str, str]] = []
    while len(tokens) < size:
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        tokens["".join(best)] = None
        for word in places.pop(best):
            add(word, -1)
            words[word] = (join(words[word][0], best), words[word][1])
            add(word, 1)
        pairs = +pairs
    return list(tokens), merges


def tokenizer_file(size: int = SIZE) -> str:
    """The text of the tokenizer.json of the trained tokenizer."""
    vocabulary, merges = train(unit_counts(), size)
    eos = {"id": 0, "content": EOS[0], "special": True, "normalized": False}
    units_of_gpt2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    file = {
        "version": "1.0",
        "added_tokens": [{**eos, "single_word": False, "lstrip": False, "rstrip": False}],
        "normalizer": None,
        "pre_tokenizer": units_of_gpt2,
        "post_processor": None,
        "decoder": units_of_gpt2,
        "model": {
            "type": "BPE",
            "vocab": {token: index for index, token in enumerate(vocabulary)},
            "merges": [f"{left} {right}" for left, right in merges],
        },
    }
    return json.dumps(file, indent=1) + "\n"


if __name__ == "__main__":
    OWN.write_text(tokenizer_file(), "ascii")
    sys.stdout.write(f"{OWN}\n")
