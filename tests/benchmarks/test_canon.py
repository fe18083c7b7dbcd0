"""The Canon benchmark: its rows, and that all its cases compute the same."""

import math

import pytest
import torch

from canonlab.benchmarks import canon as bench


def test_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SHAPE", (1, 8, 16))
    monkeypatch.setattr(bench, "TURN", 0.001)
    before = torch.get_num_threads()
    rows = bench.bench_canon(threads=1, seconds=0.0)
    assert torch.get_num_threads() == before
    cases = {(row["name"], row["implementation"], row["dtype"]): row for row in rows}
    kinds = [
        (name, implementation) for implementation in ("reference", "numba", "conv1d") for name in ("forward", "both")
    ]
    assert set(cases) == {
        (name, implementation, dtype)
        for name, implementation in [("clone", "torch"), *kinds]
        for dtype in ("float32", "bfloat16")
    }
    for row in rows:
        clone = cases["clone", "torch", row["dtype"]]
        assert 0 < row["milliseconds"] < math.inf
        assert row["ratio"] == pytest.approx(row["milliseconds"] / clone["milliseconds"])
        bytes_moved = (5 if row["name"] == "both" else 2) * 8 * 16 * (4 if row["dtype"] == "float32" else 2)
        assert row["gigabytes_per_second"] == pytest.approx(bytes_moved / row["milliseconds"] / 1e6)


def test_every_case_computes_the_same_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SHAPE", (2, 9, 16))
    cases = bench._cases(torch.float32)
    for name in ("forward", "both"):
        expected = cases[name, "reference", torch.float32]()
        for implementation in ("numba", "conv1d"):
            torch.testing.assert_close(cases[name, implementation, torch.float32](), expected)
