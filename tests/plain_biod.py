"""bioD in plain Python: the generator's slow twin, on the same random streams."""

from canonlab.data.plain import Random
from canonlab.tasks.base import SPLITS, Split
from canonlab.tasks.biod import BioD
from plain_capo import plain_permuted


class Stream:
    """What the stream `key` of a task teaches, in tokens: names, values and strings."""

    def __init__(self, task: BioD, key: int) -> None:
        self.task, self.key = task, key
        rng = Random(key, 0, 0)
        self.values_key = rng.word()
        self.name_rounds = [rng.word() for _ in range(6)]
        self.strings_key = rng.word()

    def digits(self, number: int, count: int) -> list[int]:
        digits: list[int] = []
        for _ in range(count):
            number, digit = divmod(number, self.task.T)
            digits.insert(0, 1 + self.task.K + digit)
        return digits

    def name(self, index: int) -> list[int]:
        task, length = self.task, 1
        while task.T**length < task.N0:
            length += 1
        return self.digits(plain_permuted(index, task.N0, self.name_rounds), length)

    def string(self, attribute: int, index: int) -> list[int]:
        task = self.task
        if task.T**task.L <= 2**62:
            rng = Random(self.strings_key, attribute, 0)
            rounds = [rng.word() for _ in range(6)]
            return self.digits(plain_permuted(index, task.T**task.L, rounds), task.L)
        rng = Random(self.strings_key, attribute * task.D + index, 1)
        return [1 + task.K + rng.below(task.T) for _ in range(task.L)]

    def values(self, index: int) -> list[list[int]]:
        """By attribute, the tokens of a person's value."""
        task, rng = self.task, Random(self.values_key, index, 0)
        drawn = [[rng.below(task.D) for _ in range(task.C)] for _ in range(task.K)]
        return [[t for string in chunks for t in self.string(a, string)] for a, chunks in enumerate(drawn)]

    def exposure(self, exposure: int, split: Split) -> tuple[list[list[int]], list[list[int]]]:
        """The windows of an exposure, and their masks."""
        task, rng = self.task, Random(self.key, 1 + exposure, SPLITS.index(split))
        below, rounds = rng.word(), [rng.word() for _ in range(6)]
        tokens: list[int] = []
        for slot in range(task.N):
            index = plain_permuted(slot, task.N, rounds)
            order = list(range(task.K))
            Random(below, slot, 0).shuffle(order)
            values = self.values(index)
            tokens += [0, *self.name(index)]
            for attribute in order:
                tokens += [1 + attribute, *values[attribute]]
        marks = [int(place % task.context > 0) for place in range(len(tokens))]
        rest = -len(tokens) % task.context
        tokens, marks = tokens + [0] * rest, marks + [0] * rest
        rows = [slice(begin, begin + task.context) for begin in range(0, len(tokens), task.context)]
        return [tokens[row] for row in rows], [marks[row] for row in rows]

    def sample(self) -> list[int]:
        """The people in the order in which the evaluation asks them."""
        rng = Random(self.key, 0, 1)
        rounds = [rng.word() for _ in range(6)]
        return [plain_permuted(place, self.task.N, rounds) for place in range(self.task.N)]
