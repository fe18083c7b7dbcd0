"""The benchmark of reports, on few runs."""

from canonlab.benchmarks.report import bench_report


def test_the_runs_asked_for_are_on_the_page() -> None:
    (rows,) = bench_report(counts=(2, 5), steps=10).values()
    assert [row["runs"] for row in rows] == [2, 5] and rows[0]["page (MB)"] < rows[1]["page (MB)"]
