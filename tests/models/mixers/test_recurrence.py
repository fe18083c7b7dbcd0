"""What the linear mixers share, against plain loops."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from canonlab.errors import InputError
from canonlab.models.mixers.recurrence import (
    begins,
    empty_state,
    first_state,
    recall,
    remember,
    width_of,
    within_chunks,
)

IDS = torch.tensor([[0] * 11, [-1, -1, 3, 3, 3, 3, 4, 3, 3, 3, 3], [7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]])
"""One segment, a padded row with an id that comes back, and changes at both ends."""


def test_a_segment_begins_where_the_id_changes() -> None:
    found = [[t for t in range(IDS.shape[1]) if row[t]] for row in begins(IDS)]
    assert found == [[], [2, 6, 7], [1, 10]]
    assert begins(IDS[:, :1]).tolist() == [[False]] * 3


def _same(row: Tensor, i: int, j: int) -> bool:
    """Whether no segment begins between two positions, of which those beyond the end are like the last one."""
    first, last = sorted(min(max(t, 0), len(row) - 1) for t in (i, j))
    return all(a == b for a, b in itertools.pairwise(row[first : last + 1].tolist()))


@pytest.mark.parametrize("length", [1, 4, 5, 11, 16])
def test_who_is_of_one_segment_within_chunks(length: int) -> None:
    together, with_before, with_last = within_chunks(IDS, length)
    chunks = -(-IDS.shape[1] // length)
    assert together.shape == (len(IDS), chunks, length, length)
    for b, c, i in itertools.product(range(len(IDS)), range(chunks), range(length)):
        start = c * length
        assert with_before[b, c, i] == _same(IDS[b], start - 1, start + i)
        assert with_last[b, c, i] == _same(IDS[b], start + i, start + length - 1)
        assert together[b, c, i].tolist() == [_same(IDS[b], start + i, start + j) for j in range(length)]


def test_the_first_state_is_the_given_one_or_zeros() -> None:
    v_BTHV = torch.ones(2, 5, 3, 6, dtype=torch.bfloat16)
    zeros, initial = first_state(None, v_BTHV, 4, torch.float32), torch.randn(2, 3, 4, 6, dtype=torch.float64)
    assert zeros.dtype == torch.float32 and torch.equal(zeros, torch.zeros(2, 3, 4, 6))
    assert first_state(initial, v_BTHV, 4, torch.float64) is initial
    assert first_state(initial, v_BTHV, 4, torch.float32).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_a_state_goes_on_with_its_segment_alone(dtype: torch.dtype) -> None:
    state = empty_state(3, 2, 4, 6, dtype, torch.device("cpu"))
    assert state["S"].dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    kept = dict(state)
    final = torch.randn(3, 2, 4, 6, dtype=state["S"].dtype).requires_grad_()
    remember(state, final, IDS)
    assert all(state[name] is tensor for name, tensor in kept.items()), "updated in place"
    assert not state["S"].requires_grad
    assert state["segment"].tolist() == [0, 3, 9]
    recalled = recall(state, torch.tensor([[0, 1], [4, 3], [9, 9]]))
    assert recalled is not None
    assert torch.equal(recalled, final * torch.tensor([1, 0, 1])[:, None, None, None])


def test_without_ids_everything_is_segment_0() -> None:
    state = empty_state(2, 1, 1, 1, torch.float32, torch.device("cpu"))
    remember(state, torch.ones(2, 1, 1, 1), torch.tensor([[5], [0]]))
    recalled = recall(state, None)
    assert recalled is not None and recalled.flatten().tolist() == [0, 1]
    remember(state, torch.ones(2, 1, 1, 1), None)
    assert state["segment"].tolist() == [0, 0]


def test_without_a_state_nothing_is_remembered() -> None:
    remember(None, torch.ones(1, 1, 1, 1), None)
    assert recall(None, IDS) is None


@pytest.mark.parametrize(
    ("share", "width", "expected"),
    [(0.57, 100, 57), (0.29, 100, 29), (1 / 3, 96, 32), (0.6667, 96, 64), (2, 64, 128), (5 / 2048, 2048, 5)],
)
def test_a_share_of_a_width_is_the_fraction_that_it_is_short_for(share: float, width: int, expected: int) -> None:
    assert width_of("key_share", share, width) == expected


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (0.75, "key_share = 0.75: of the width 30 is no whole number .*multiples of 4"),
        (0.0, "must be a positive number"),
        (-1.0, "must be a positive number"),
        (1e-9, "must be a positive number, leave a width of at least 1"),
        (math.nan, "must be a positive number"),
        (math.inf, "must be a positive number"),
    ],
)
def test_a_share_that_is_no_whole_number_is_named(share: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        width_of("key_share", share, 30)
