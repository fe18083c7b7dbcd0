"""The parse benchmark runs and its rows make sense."""

from canonlab.benchmarks.parse import bench_parse


def test_rows() -> None:
    rows = bench_parse(("cfg3b", "cfg3f"), sentences=5, runs=1)
    assert [(row["method"], row["grammar"]) for row in rows] == [
        (method, grammar) for grammar in ("cfg3b", "cfg3f") for method in ("recognise", "distributions")
    ]
    assert rows[0]["published_milliseconds"] is None and rows[2]["published_milliseconds"] == 5800
    assert 150 < rows[0]["tokens"] == rows[1]["tokens"] < 450
    assert all(row["milliseconds"] > 0 for row in rows)
