"""Batches are addressed, whoever makes them and however far ahead."""

import hashlib
import threading
import time

import numpy as np
import pytest

from canonlab.data.batches import DATA_HASH_START, batch_indices, batches, extend_data_hash


class Numbered:
    """Window i is full of i; some take longer than others."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.lock = threading.Lock()

    def windows(self, seed: int, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        time.sleep(0.002 if start % 3 else 0.0)
        with self.lock:
            self.made.append(start)
        tokens = np.arange(start, start + count, dtype=np.int32)[:, None] * np.ones((1, 4), np.int32)
        return tokens, np.full((count, 4), seed, np.uint8)


@pytest.mark.parametrize("world", [1, 2, 3, 4, 7])
def test_ranks_share_a_step_without_gap_or_overlap(world: int) -> None:
    for step in (0, 5):
        shares = [
            range(first, first + count) for first, count in (batch_indices(step, 16, r, world) for r in range(world))
        ]
        assert [i for share in shares for i in share] == list(range(16 * step, 16 * step + 16))


@pytest.mark.parametrize(("ahead", "threads"), [(0, 1), (1, 1), (4, 3), (50, 2)])
def test_order_does_not_depend_on_prefetch(ahead: int, threads: int) -> None:
    seen = [tokens[:, 0].tolist() for tokens, _ in batches(Numbered(), 3, 5, range(2, 9), ahead=ahead, threads=threads)]
    assert seen == [list(range(5 * step, 5 * step + 5)) for step in range(2, 9)]


def test_an_error_in_a_generator_reaches_the_reader() -> None:
    class Broken:
        def windows(self, seed: int, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
            raise RuntimeError("no windows today")

    with pytest.raises(RuntimeError, match="no windows today"):
        next(iter(batches(Broken(), 0, 1, range(3))))


def test_a_reader_that_stops_stops_the_making() -> None:
    source = Numbered()
    stream = batches(source, 0, 1, range(1000), ahead=3)
    next(iter(stream))
    stream.close()  # type: ignore[attr-defined]
    assert len(source.made) <= 5


def test_the_hash_is_the_chain_that_the_contract_says() -> None:
    tokens = np.array([[1, 2], [3, 70000]], np.int32)
    mask = np.array([[0, 1], [1, 1]], np.uint8)
    expected = bytes(32)
    for row, marks in zip([(1, 2), (3, 70000)], [(0, 1), (1, 1)], strict=True):
        data = b"".join(value.to_bytes(4, "little") for value in row) + bytes(marks)
        expected = hashlib.sha256(expected + data).digest()
    assert extend_data_hash(DATA_HASH_START, tokens, mask) == expected
    first = extend_data_hash(DATA_HASH_START, tokens[:1], mask[:1])
    assert extend_data_hash(first, tokens[1:], mask[1:]) == expected, "cutting the batch elsewhere changes nothing"
