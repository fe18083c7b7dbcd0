"""Judging one answer to one Depo prompt, in plain Python and without the generator."""

from collections.abc import Sequence
from typing import NamedTuple

from canonlab.errors import InputError
from canonlab.tasks.base import Verdict, Vocabulary, plain_ids
from canonlab.tasks.depo.kernels import ANSWER, BOS
from canonlab.tasks.names import SMALLEST, Names
from canonlab.tasks.prompts import PromptReader

Name = tuple[int, ...]


class Prompt(NamedTuple):
    """What a prompt says: each node's successor, and the last query, `hops` steps from `node`."""

    successor: dict[Name, Name]
    node: Name
    hops: int


class Reader(PromptReader):
    """Reads a prompt of a task from left to right."""

    def __init__(self, vocabulary: Vocabulary, names: Names, largest: int, prompt: Sequence[int]) -> None:
        super().__init__(vocabulary, prompt)
        self.names, self.largest = names, largest

    def read_prompt(self) -> Prompt:
        """The whole prompt."""
        self.expect(BOS)
        successor = self.read_cycle()
        while True:
            hops, node = self.read_query(successor)
            if self.done:
                return Prompt(successor, node, hops)
            self.read_name(self.names, "an earlier answer")

    def read_cycle(self) -> dict[Name, Name]:
        """The edges up to the first query."""
        successor: dict[Name, Name] = {}
        while not self.done and not self.at_query():
            source, target = (self.read_name(self.names, f"the {end} of an edge") for end in ("source", "target"))
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
        hops = self.read("a <query_k>", "query").value
        assert hops is not None
        node = self.read_name(self.names, "a queried node")
        if node not in successor:
            raise InputError(f"prompt: a query about {self.show(node)}, which is no node of the cycle")
        self.expect(ANSWER)
        return hops, node

    def at_query(self) -> bool:
        """Whether a <query_k> stands here."""
        return self.vocabulary[self.ids[self.position]].role == "query"

    def show(self, name: Name) -> str:
        """A name, for people."""
        return repr(self.vocabulary.decode(name))


def judge(vocabulary: Vocabulary, names: Names, largest: int, prompt: Sequence[int], answer: Sequence[int]) -> Verdict:
    """Whether `answer` is exactly the name that the prompt's last query asks for."""
    successor, node, hops = Reader(vocabulary, names, largest, prompt).read_prompt()
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
