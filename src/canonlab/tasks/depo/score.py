"""Judging one answer to one Depo prompt, in plain Python and without the generator."""

from collections.abc import Sequence
from typing import NamedTuple

from canonlab.errors import InputError
from canonlab.tasks.base import Verdict, Vocabulary, plain_ids, require_token_ids
from canonlab.tasks.depo.kernels import ANSWER, BOS, QUERY
from canonlab.tasks.names import Names
from canonlab.tasks.sizes import SMALLEST

Name = tuple[int, ...]


class Prompt(NamedTuple):
    """What a prompt says: each node's successor, and the last query, `hops` steps from `node`."""

    successor: dict[Name, Name]
    node: Name
    hops: int


class Reader:
    """Reads a prompt of a task from left to right; InputErrors name the position and what is wrong there."""

    def __init__(self, vocabulary: Vocabulary, names: Names, largest: int, prompt: Sequence[int]) -> None:
        self.vocabulary, self.names, self.largest = vocabulary, names, largest
        self.ids = require_token_ids("prompt", prompt, vocabulary)
        self.position = 0

    def read(self) -> Prompt:
        """The whole prompt."""
        self.expect(BOS)
        successor = self.read_cycle()
        while True:
            hops, node = self.read_query(successor)
            if self.position == len(self.ids):
                return Prompt(successor, node, hops)
            self.read_name("an earlier answer")

    def read_cycle(self) -> dict[Name, Name]:
        """The edges up to the first query."""
        successor: dict[Name, Name] = {}
        while self.position < len(self.ids) and not self.at_query():
            source, target = self.read_name("the source of an edge"), self.read_name("the target of an edge")
            if source in successor:
                raise InputError(f"prompt: {self.show(source)} has two successors")
            successor[source] = target
        if not SMALLEST <= len(successor) <= self.largest:
            raise InputError(f"prompt: {len(successor)} edges, must be {SMALLEST} to N = {self.largest}")
        first = node = next(iter(successor))
        for step in range(1, len(successor) + 1):
            node = successor.get(node, ())
            if (node == first) != (step == len(successor)):
                raise InputError("prompt: the edges are not one directed cycle over all their nodes")
        return successor

    def read_query(self, successor: dict[Name, Name]) -> tuple[int, Name]:
        """One query with its <ans>."""
        if self.position == len(self.ids) or not self.at_query():
            raise InputError(f"prompt[{self.position}]: must be a <query_k>, not {self.here()}")
        hops = self.ids[self.position] - QUERY
        self.position += 1
        node = self.read_name("a queried node")
        if node not in successor:
            raise InputError(f"prompt: a query about {self.show(node)}, which is no node of the cycle")
        self.expect(ANSWER)
        return hops, node

    def read_name(self, what: str) -> Name:
        """The name that stands here."""
        try:
            name = self.names.read(self.ids, self.position)
        except ValueError as error:
            raise InputError(f"prompt[{self.position}]: {error} where {what} must be") from None
        self.position += len(name)
        return name

    def expect(self, token: int) -> None:
        """Step over `token`."""
        if self.position == len(self.ids) or self.ids[self.position] != token:
            raise InputError(f"prompt[{self.position}]: must be {self.vocabulary[token].name}, not {self.here()}")
        self.position += 1

    def at_query(self) -> bool:
        """Whether a <query_k> stands here."""
        return QUERY < self.ids[self.position] < self.names.first

    def here(self) -> str:
        """The token that stands here, for people."""
        if self.position == len(self.ids):
            return "the prompt's end"
        return repr(self.vocabulary.decode([self.ids[self.position]]))

    def show(self, name: Name) -> str:
        """A name, for people."""
        return repr(self.vocabulary.decode(name))


def judge(vocabulary: Vocabulary, names: Names, largest: int, prompt: Sequence[int], answer: Sequence[int]) -> Verdict:
    """Whether `answer` is exactly the name that the prompt's last query asks for."""
    successor, node, hops = Reader(vocabulary, names, largest, prompt).read()
    right = node
    for _ in range(hops % len(successor)):
        right = successor[right]
    fact = f"the {ordinal(hops)} successor of {vocabulary.decode(node)!r} is {vocabulary.decode(right)!r}"
    given = plain_ids(answer)
    if given == list(right):
        return Verdict(True, fact)
    if not given:
        return Verdict(False, f"empty answer: {fact}")
    shown = repr(" ".join(vocabulary.names(answer)))
    if given[: len(right)] == list(right):
        return Verdict(False, f"trailing tokens in {shown}: {fact} and nothing more")
    if given == list(right[: len(given)]):
        return Verdict(False, f"unfinished answer {shown}: {fact}")
    return Verdict(False, f"{fact}, not {shown}")


def ordinal(k: int) -> str:
    """1st, 2nd, 3rd, 4th, ..., 11th, ..."""
    suffix = "th" if k % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(k % 10, "th")
    return f"{k}{suffix}"
