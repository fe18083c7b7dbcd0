"""Sizes in words."""

import pytest

from canonlab.errors import InputError
from canonlab.models.sizes import Size


def test_sizes() -> None:
    assert Size.parse("8L512D") == Size(8, 512, 8)
    assert Size.parse("12L768D") == Size(12, 768, 12)
    assert Size.parse("1L32D2H") == Size(1, 32, 2)
    assert Size.parse("2L64D") == Size(2, 64, 1)
    assert Size.parse("4-8") == Size(4, 512, 8)
    assert Size.parse("2-1") == Size(2, 64, 1)


@pytest.mark.parametrize(
    "size", ["", "8L", "L512D", "0L512D", "8L512D3H", "8l512d", "8L512DH", "8L200D", "4-0", "0-4", "4-", "4-8-2"]
)
def test_bad_sizes(size: str) -> None:
    with pytest.raises(InputError, match="size = "):
        Size.parse(size)
