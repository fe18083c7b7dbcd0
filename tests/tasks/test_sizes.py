"""The thresholds of the size law are exact."""

from decimal import Decimal, getcontext

import pytest

from canonlab.tasks.sizes import size_thresholds


@pytest.mark.parametrize("largest", [3, 4, 5, 10, 16, 75, 225, 375, 1000])
def test_thresholds_are_the_law_in_64_bits(largest: int) -> None:
    getcontext().prec = 60
    weights = [1 / (Decimal(largest).sqrt() + n) for n in range(3, largest + 1)]
    exact = [int(sum(weights[: n - 3]) / sum(weights) * 2**64) for n in range(4, largest + 1)]
    assert size_thresholds(largest).tolist() == exact
    assert exact == sorted(exact)
