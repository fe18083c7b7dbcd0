"""Judging one answer to one Brevo prompt, in plain Python and without the generator."""

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

from canonlab.errors import InputError
from canonlab.tasks.base import Verdict, Vocabulary, plain_ids
from canonlab.tasks.brevo.kernels import ANSWER, BOS, EOS, QUERY
from canonlab.tasks.names import Names
from canonlab.tasks.prompts import PromptReader

Name = tuple[int, ...]


class Prompt(NamedTuple):
    """What a prompt says: each vertex's parents, which it depends on, and the queried vertex."""

    parents: dict[Name, list[Name]]
    query: Name

    def ancestors(self) -> set[Name]:
        """What an answer lists: the query and all that it depends on."""
        found, waiting = {self.query}, [self.query]
        while waiting:
            new = [parent for parent in self.parents[waiting.pop()] if parent not in found]
            found.update(new)
            waiting += new
        return found

    def depth(self) -> int:
        """The fewest edges from the query to a vertex without parents."""
        level, depth = {self.query}, 0
        while all(self.parents[vertex] for vertex in level):
            level, depth = {parent for vertex in level for parent in self.parents[vertex]}, depth + 1
        return depth


def read_prompt(vocabulary: Vocabulary, names: Names, largest: int, ids: Sequence[int]) -> Prompt:
    """The graph and the query of a prompt: any acyclic graph of up to `largest` vertices, all of them in an edge."""
    reader = PromptReader(vocabulary, ids)
    reader.expect(BOS)
    parents: dict[Name, list[Name]] = {}
    while not reader.at(QUERY):
        parent, child = (reader.read_name(names, f"the {end} of an edge") for end in ("source", "target"))
        if parent in parents.setdefault(child, []):
            shown = f"{vocabulary.decode(parent)!r} to {vocabulary.decode(child)!r}"
            raise InputError(f"prompt: the edge from {shown} stands there twice")
        parents[child].append(parent)
        parents.setdefault(parent, [])
    reader.expect(QUERY)
    query = reader.read_name(names, "the queried vertex")
    reader.expect(ANSWER)
    reader.end()
    if query not in parents:
        raise InputError(f"prompt: a query about {vocabulary.decode(query)!r}, which is in no edge")
    if len(parents) > largest:
        raise InputError(f"prompt: {len(parents)} vertices, must be at most N = {largest}")
    try:
        TopologicalSorter(parents).prepare()
    except CycleError as error:
        around = ", ".join(repr(vocabulary.decode(vertex)) for vertex in error.args[1])
        raise InputError(f"prompt: the edges make a cycle: {around}") from None
    return Prompt(parents, query)


def judge(vocabulary: Vocabulary, names: Names, prompt: Prompt, answer: Sequence[int]) -> Verdict:
    """Whether `answer` lists the query's ancestors and itself, each once and after its parents, and ends with <eos>."""
    given = plain_ids(answer)
    wrong = _malformed(given)
    if wrong:
        return Verdict(False, wrong)
    listed: list[Name] = []
    position = 0
    while given[position] != EOS:
        try:
            listed.append(names.read(given[:-1], position))  # type: ignore[arg-type]
        except ValueError as error:
            return Verdict(False, f"answer[{position}]: {error} where a vertex must be")
        position += len(listed[-1])
    return _judge_order(vocabulary, prompt, listed)


def _malformed(given: list[object]) -> str | None:
    """What is wrong with the place of <eos>, if anything is."""
    if not given or given == [EOS]:
        return "empty answer: no vertex"
    if EOS not in given:
        return f"no <eos> after {len(given)} tokens"
    trailing = len(given) - 1 - given.index(EOS)
    return f"trailing tokens: {trailing} after <eos>" if trailing else None


def _judge_order(vocabulary: Vocabulary, prompt: Prompt, listed: list[Name]) -> Verdict:
    """The verdict on an answer that lists these vertices."""
    ancestors = prompt.ancestors()
    done: set[Name] = set()

    def show(vertex: Name) -> str:
        return repr(vocabulary.decode(vertex))

    for vertex in listed:
        missing = next((parent for parent in prompt.parents.get(vertex, ()) if parent not in done), None)
        why = None
        if vertex not in prompt.parents:
            why = f"{show(vertex)} is no vertex of the graph"
        elif vertex in done:
            why = f"{show(vertex)} is repeated"
        elif prompt.query in done:
            why = f"{show(vertex)} stands after the query {show(prompt.query)}"
        elif vertex not in ancestors:
            why = f"{show(vertex)} is not what the query {show(prompt.query)} depends on"
        elif missing in listed:
            why = f"{show(vertex)} stands before {show(missing)}, which it depends on"
        elif missing is not None:
            why = f"{show(missing)} is missing, which {show(vertex)} depends on"
        if why:
            return Verdict(False, why)
        done.add(vertex)
    if prompt.query not in done:
        return Verdict(False, f"the query {show(prompt.query)} itself is missing")
    return Verdict(True, f"all {len(listed)} vertices, each after its parents")
