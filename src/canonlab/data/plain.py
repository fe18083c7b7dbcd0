"""The random integers of `canonlab.data.random` in plain Python: their definition, which tests hold the kernels to."""

from typing import Any

WORD = (1 << 64) - 1


def _mix(z: int, shifts: tuple[int, int, int], factors: tuple[int, int]) -> int:
    z = (z ^ (z >> shifts[0])) * factors[0] & WORD
    z = (z ^ (z >> shifts[1])) * factors[1] & WORD
    return z ^ (z >> shifts[2])


def mix(z: int) -> int:
    return _mix(z, (30, 27, 31), (0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def mix_gamma(z: int) -> int:
    return _mix(z, (33, 33, 33), (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)) | 1


class Random:
    """The generator of one window: of index `index` in the split 0 (train) or 1 (eval) of the stream `key`."""

    def __init__(self, key: int, index: int, split: int) -> None:
        seed = (mix(2 * index + split) + key) & WORD
        self.state, self.gamma = mix(seed), mix_gamma(seed)

    def word(self) -> int:
        """The next 64 random bits."""
        self.state = (self.state + self.gamma) & WORD
        return mix(self.state)

    def below(self, n: int) -> int:
        """A uniform integer in 0..n-1, for n from 1 to 2^32 - 1."""
        while True:
            result, rest = divmod((self.word() >> 32) * n, 1 << 32)
            if rest >= (1 << 32) % n:
                return result

    def digits(self, bases: list[int]) -> list[int]:
        """One uniform integer below each of `bases`, out of one word; their product is at most 2^64."""
        while True:
            fraction, product, result = self.word(), 1, []
            for base in bases:
                value, fraction = divmod(fraction * base, 1 << 64)
                result.append(value)
                product *= base
            if fraction >= (1 << 64) % product:
                return result

    def shuffle(self, items: list[Any]) -> None:
        """Put `items` into a uniformly random order, in place."""
        for last in range(len(items) - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]
