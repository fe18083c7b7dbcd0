"""Rotary positions against complex multiplication, what the reduced ones turn, and ALiBi's and HAlibi's heads."""

import cmath

import pytest
import torch

from canonlab.errors import InputError
from canonlab.models.mixers.attention import Attention
from canonlab.models.positions import EVERYTHING, ROTATED_SHARES, alibi_slopes, halibi_reach, rotary_table, rotate


def turned_by_hand(vector: list[float], position: int, rotated: int, base: float) -> list[float]:
    """Pairs (i, i + r / 2) as complex numbers, multiplied by e^(i position frequency)."""
    out, half = list(vector), rotated // 2
    for i in range(half):
        turn = cmath.exp(1j * position * base ** (-2 * i / rotated))
        value = complex(vector[i], vector[i + half]) * turn
        out[i], out[i + half] = value.real, value.imag
    return out


@pytest.mark.parametrize(("heads", "dimensions", "base"), [(4, 8, 1e4), (2, 4, 1e4), (1, 8, 1e5), (4, 2, 500.0)])
def test_rotation_is_complex_multiplication(heads: int, dimensions: int, base: float) -> None:
    x = torch.randn(2, 5, 4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    positions = torch.tensor([[0, 1, 2, 3, 4], [7, 8, 9, 10, 1000]])
    y = rotate(x, *rotary_table(positions, dimensions, torch.float64, base), heads)
    for b in range(2):
        for t in range(5):
            for h in range(4):
                vector = x[b, t, h].tolist()
                expected = turned_by_hand(vector, int(positions[b, t]), dimensions, base) if h < heads else vector
                assert y[b, t, h].tolist() == pytest.approx(expected, abs=1e-12)


def test_reduced_ropes_turn_a_quarter() -> None:
    for position, (heads, dimensions) in ROTATED_SHARES.items():
        assert heads * dimensions == {"rope": 1.0, "nope": 0.0}.get(position, 0.25)


def test_a_share_that_does_not_come_out_whole_is_an_error() -> None:
    with pytest.raises(InputError, match="cannot rotate 0.5 of 2 heads"):
        Attention.Config(width=32, heads=2, position="rope-quarter-fullheads")


@pytest.mark.parametrize("base", [0.0, -1.0, float("inf"), float("nan")])
def test_a_base_without_frequencies_is_an_error(base: float) -> None:
    with pytest.raises(InputError, match="rope_base = .*: must be a finite number above 0"):
        Attention.Config(width=32, heads=2, rope_base=base)


def test_unknown_position_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'rope-quarter'"):
        Attention.Config(width=32, heads=2, position="rope-quater")


def test_alibi_slopes_are_powers_of_two() -> None:
    cpu = torch.device("cpu")
    assert alibi_slopes(8, torch.float32, cpu).tolist() == [2**-h for h in range(1, 9)]
    twelve = [2 ** (-8 * h / 12) for h in range(1, 13)]
    assert alibi_slopes(12, torch.float64, cpu).tolist() == pytest.approx(twelve, rel=1e-14)


def test_half_of_the_halibi_heads_see_as_many_tokens_as_their_number() -> None:
    assert halibi_reach(8, torch.device("cpu")).tolist() == [1, 2, 3, 4, *[EVERYTHING] * 4]
