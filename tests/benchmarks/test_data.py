"""The data benchmark runs and its rows make sense."""

from canonlab.benchmarks.data import bench_data


def test_rows() -> None:
    rows = bench_data(["depo2", "copy"], threads=(1, 2), runs=2, seconds=0.02)
    assert [(row["task"], row["threads"]) for row in rows] == [("depo2", 1), ("depo2", 2), ("copy", 1), ("copy", 2)]
    assert rows[0]["speedup"] == rows[2]["speedup"] == 1.0
    assert rows[1]["speedup"] == rows[1]["tokens_per_second"] / rows[0]["tokens_per_second"]
    assert rows[0]["tokens_per_second"] > rows[0]["published_high"] == 3.2e6
    assert rows[2]["published_low"] is None
