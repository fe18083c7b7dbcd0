"""Comparing counts with a law."""

from collections.abc import Sequence

import torch


def p_value(observed: Sequence[int], probabilities: Sequence[float]) -> float:
    """Pearson's chi-square test: how probable counts at least so far from the law are, if they do follow it."""
    assert len(observed) == len(probabilities) and abs(sum(probabilities) - 1) < 1e-9
    total = sum(observed)
    expected = [total * p for p in probabilities]
    assert min(expected) >= 5, "too few draws for the test"
    statistic = sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True))
    half = torch.tensor([(len(observed) - 1) / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))


def assert_follows(observed: Sequence[int], probabilities: Sequence[float]) -> None:
    """Fail if counts this far from the law come up less than once in a thousand times."""
    assert p_value(observed, probabilities) > 1e-3


def assert_uniform(observed: Sequence[int]) -> None:
    """`assert_follows` for the uniform law."""
    assert_follows(observed, [1 / len(observed)] * len(observed))
