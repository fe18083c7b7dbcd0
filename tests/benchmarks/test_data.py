"""The data benchmark runs and its rows make sense."""

import pytest

from canonlab.benchmarks.data import bench_biographies, bench_data
from canonlab.errors import InputError


def test_rows() -> None:
    rows = bench_data(["depo2", "copy"], threads=(1, 2), runs=2, seconds=0.02)
    assert [(row["task"], row["threads"]) for row in rows] == [("depo2", 1), ("depo2", 2), ("copy", 1), ("copy", 2)]
    assert rows[0]["speedup"] == rows[2]["speedup"] == 1.0
    assert rows[1]["speedup"] == rows[1]["tokens_per_second"] / rows[0]["tokens_per_second"]
    assert rows[0]["published_high"] == 3.2e6
    assert rows[2]["published_low"] is None


def test_biographies() -> None:
    rows = bench_biographies(["capo"], threads=(1,), runs=1, seconds=0.02)
    assert [(row["task"], row["threads"]) for row in rows] == [("capo", 1)]
    assert 50 < rows[0]["tokens_per_second"] / rows[0]["biographies_per_second"] < 200
    assert rows[0]["published_biographies"] == 0.15e6
    with pytest.raises(InputError, match="task 'copy': must be a preset of capo"):
        bench_biographies(["copy"])
