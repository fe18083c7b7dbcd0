"""Capo in plain Python: the generator's slow twin, which writes text and tokenizes it."""

from collections.abc import Sequence
from functools import cache
from itertools import permutations

from canonlab.data.plain import Random, mix
from canonlab.tasks.base import SPLITS, Split
from canonlab.tasks.capo import Capo
from canonlab.tasks.capo.pieces import load_pieces
from canonlab.tasks.capo.tokenizer import Tokenizer, load_tokenizer
from canonlab.tasks.capo.words import ATTRIBUTES, DAYS, MONTHS, PRONOUNS, YEARS, Words, load_words


def plain_permuted(index: int, n: int, keys: Sequence[int]) -> int:
    """Entry `index` of the permutation of 0..n-1 with these round keys."""
    bits = max(8, (n - 1).bit_length())
    low = bits // 2
    high = bits - low
    while True:
        left, right = divmod(index, 1 << low)
        for turn, key in enumerate(keys):
            if turn % 2 == 0:
                left ^= mix((right + key) % 2**64) % (1 << high)
            else:
                right ^= mix((left + key) % 2**64) % (1 << low)
        index = left * (1 << low) + right
        if index < n:
            return index


class Keys:
    """The first word of a stream, and the next six: the key of what lies below it, and a permutation's."""

    def __init__(self, key: int, index: int, split: int) -> None:
        rng = Random(key, index, split)
        self.below = rng.word()
        self.rounds = [rng.word() for _ in range(6)]


def plain_person(key: int, index: int) -> list[int]:
    """The eleven columns of a person."""
    people = Keys(key, 0, 0)
    name = plain_permuted(index, 400 * 400 * 1000, people.rounds)
    values = Random(people.below, index, 0).digits([2, 12, 28, 200, 200, 300, 100, 263])
    return [name // 400_000, name // 1000 % 400, name % 1000, *values]


def plain_text(words: Words, person: Sequence[int], order: Sequence[int], templates: Sequence[int]) -> str:
    """A biography: its sentences in an order of the attributes, with the template of each attribute."""
    first, middle, last, pronoun, month, day, year, city, university, major, employer = person
    values = {
        "birth_date": f"{MONTHS[month]} {DAYS[day]}, {YEARS[year]}",
        "birth_city": words.cities[city],
        "university": words.universities[university],
        "major": words.majors[major],
        "employer": words.employers[employer],
        "employer_city": words.employer_cities[employer],
    }
    subject = f"{words.first_names[first]} {words.middle_names[middle]} {words.last_names[last]}"
    sentences = []
    for attribute in order:
        template = words.templates[ATTRIBUTES[attribute]][templates[attribute]]
        sentences.append(f"{subject}{template.before} {values[ATTRIBUTES[attribute]]}{template.after}")
        subject = PRONOUNS[pronoun]
    return " ".join(sentences)


@cache
def encoder(name: str) -> tuple[Tokenizer, dict[int, int]]:
    """The tokenizer, and from its ids to the compact ones."""
    return load_tokenizer(name), {index: i for i, index in enumerate(load_pieces(name).original.tolist())}


def encode(name: str, text: str) -> list[int]:
    """A text in compact ids."""
    tokenizer, compact = encoder(name)
    return [compact[index] for index in tokenizer.encode(text)]


def plain_description(task: Capo, drawn: Random, values_key: int, index: int) -> Random:
    """What describes a person: `drawn`, or one of the person's own, which it chooses."""
    own = 1 if task.simple else task.paraphrases
    return Random(values_key, index + 2**48 * drawn.below(own), 1) if own else drawn


def plain_block(task: Capo, key: int, exposure: int, split: Split, block: int, room: int | None = None) -> list[str]:
    """The texts of a block's biographies in their order, drawn until they have at most `room` tokens."""
    words, values_key = load_words(), Keys(key, 0, 0).below
    counts = [len(words.templates[attribute]) for attribute in ATTRIBUTES]
    orders = list(permutations(range(6)))
    shown = Keys(key, 1 + exposure, SPLITS.index(split))
    attempt = 0
    while True:
        texts = []
        for slot in range(2048 * block, min(2048 * (block + 1), task.N)):
            index = plain_permuted(slot, task.N, shown.rounds)
            drawn = Random(shown.below, slot + attempt * 2**32, 0)
            rng = plain_description(task, drawn, values_key, index + attempt * 2**32)
            order, *templates = rng.digits([720, *counts])
            sentences = orders[order] if task.permute else range(6)
            texts.append(plain_text(words, plain_person(key, index), sentences, templates))
        if room is None or sum(1 + len(encode(task.tokenizer, text)) for text in texts) <= room:
            return texts
        attempt += 1


def plain_tokens(task: Capo, texts: Sequence[str], windows: int) -> tuple[list[list[int]], list[list[int]]]:
    """The windows of a block of these biographies, and their masks."""
    tokens = [token for text in texts for token in (0, *encode(task.tokenizer, text))]
    room = windows * task.context
    mask = [int(i < len(tokens) and i % task.context > 0) for i in range(room)]
    tokens += [0] * (room - len(tokens))
    rows = range(0, room, task.context)
    return [tokens[i : i + task.context] for i in rows], [mask[i : i + task.context] for i in rows]
