"""Reading biographies, and judging the one thing about a person that a prompt can determine: the employer's city."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from canonlab.errors import InputError
from canonlab.tasks.base import Example, Verdict, Vocabulary, plain_ids, require_token_ids
from canonlab.tasks.capo.kernels import BIRTH_DATE, SENTENCES, VALUE_KIND
from canonlab.tasks.capo.pieces import AFTER, BEFORE, EOS, KINDS, Kind, Pieces
from canonlab.tasks.capo.words import ATTRIBUTES
from canonlab.tasks.prompts import instances

EMPLOYER, EMPLOYER_CITY = ATTRIBUTES.index("employer"), ATTRIBUTES.index("employer_city")


class Fact(NamedTuple):
    """An attribute in a sentence, and where its value stands: ids[begin:end], piece `value` of its first kind.

    The sentence's subject is ids[subject:before]. The prompt ends before the value where `value` is None.
    """

    attribute: int
    value: int | None
    subject: int
    before: int
    begin: int
    end: int


Table = dict[int, dict[tuple[int, ...], list[int]]]
"""By length, then by tokens: the pieces that have these tokens."""


@cache
def _tables(pieces: Pieces) -> list[Table]:
    """A table for each kind."""
    tables: list[Table] = [{} for _ in range(KINDS)]
    for kind, table in enumerate(tables):
        for index in range(pieces.count(kind)):
            tokens = tuple(pieces.of(kind, index))
            table.setdefault(len(tokens), {}).setdefault(tokens, []).append(index)
    return tables


class Reader:
    """Reads ids as the beginning of a biography, in every possible way; `farthest` is the last position reached."""

    def __init__(self, pieces: Pieces, ids: Sequence[int]) -> None:
        self.tables = _tables(pieces)
        self.ids = tuple(ids)
        self.farthest = 0

    def readings(self) -> Iterator[list[Fact]]:
        """The facts of <eos>, a name and whole sentences, the last of which may end before its value."""
        if self.ids[:1] == (EOS,):
            for _, at in self._read([Kind.FIRST, Kind.MIDDLE, Kind.LAST], 1):
                yield from self._sentences(at, [])

    def _sentences(self, at: int, facts: list[Fact]) -> Iterator[list[Fact]]:
        if at == len(self.ids):
            yield facts
            return
        subject = at if facts else 1
        for _, before in self._read([Kind.PRONOUN] if facts else [], at):
            for attribute in set(range(SENTENCES)) - {fact.attribute for fact in facts}:
                for (template,), begin in self._read([BEFORE + attribute], before):
                    if begin == len(self.ids):
                        yield [*facts, Fact(attribute, None, subject, before, begin, begin)]
                    date = [Kind.DAY, Kind.COMMA, Kind.YEAR] if attribute == BIRTH_DATE else []
                    for (value, *_), end in self._read([VALUE_KIND[attribute], *date], begin):
                        for (after,), stop in self._read([AFTER + attribute], end):
                            if after == template:
                                fact = Fact(attribute, value, subject, before, begin, end)
                                yield from self._sentences(stop, [*facts, fact])

    def _read(self, kinds: Sequence[int], at: int) -> Iterator[tuple[list[int], int]]:
        """Pieces of these kinds, one after another, that stand at a position, and where they end."""
        self.farthest = max(self.farthest, at)
        if not kinds:
            yield [], at
            return
        for length, table in self.tables[kinds[0]].items():
            for index in table.get(self.ids[at : at + length], []):
                for rest, end in self._read(kinds[1:], at + length):
                    yield [index, *rest], end


def city_questions(pieces: Pieces, tokens: Sequence[int]) -> list[Example]:
    """The whole biographies of a window that name the employer and later its city, cut before the city."""
    examples = []
    for biography in instances(tokens, EOS):
        facts = next(Reader(pieces, biography).readings(), [])
        stated = {fact.attribute: fact for fact in facts if fact.value is not None}
        if len(stated) == SENTENCES and stated[EMPLOYER].end < stated[EMPLOYER_CITY].begin:
            city = stated[EMPLOYER_CITY]
            examples.append(Example(biography[: city.begin], biography[city.begin : city.end]))
    return examples


def judge(pieces: Pieces, vocabulary: Vocabulary, prompt: Sequence[int], answer: Sequence[int]) -> Verdict:
    """Whether `answer` is exactly the city of the employer that the prompt names."""
    reader = Reader(pieces, require_token_ids("prompt", prompt, vocabulary))
    readings = [{fact.attribute: fact.value for fact in facts} for facts in reader.readings()]
    if not readings:
        raise InputError(f"prompt[{reader.farthest}]: no biography goes on like this; it begins with <eos> and a name")
    asked = (values for values in readings if values.get(EMPLOYER_CITY, -1) is None)
    employer = next(asked, {}).get(EMPLOYER)
    if employer is None:
        why = "all else depends on the seed and is asked by `evaluate`"
        raise InputError(f"prompt: must name the employer and end before the employer's city; {why}")
    city = pieces.of(Kind.EMPLOYER_CITY, employer)
    fact, given = f"the employer's city is {vocabulary.decode(city)!r}", plain_ids(answer)
    if given == city:
        return Verdict(True, fact)
    if not given:
        return Verdict(False, f"empty answer: {fact}")
    shown = " ".join(vocabulary.names(answer))
    if given[: len(city)] == city:
        return Verdict(False, f"trailing tokens in {shown!r}: {fact} and nothing more")
    return Verdict(False, f"{fact}, not {shown!r}")
