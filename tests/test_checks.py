"""What checks share: no rate divides by a clock that stands still, and no measurement waits for it."""

import time

import pytest

from canonlab import checks
from canonlab.benchmarks.data import best_rate
from canonlab.benchmarks.parse import bench_parse
from canonlab.benchmarks.train import best_times
from canonlab.checks import seconds_since
from canonlab.models.check import costs
from canonlab.tasks import check
from canonlab.tasks.catalog import build_task


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    for clock in ("perf_counter", "monotonic"):
        monkeypatch.setattr(time, clock, lambda: 5.0)
    for module in (check, costs):
        monkeypatch.setattr(module, "MOST_ROUNDS", 3)
    monkeypatch.setattr("canonlab.benchmarks.data.MOST_ROUNDS", 3)


def test_no_time_is_zero() -> None:
    assert seconds_since(5.0) > 0 and seconds_since(4.0) == 1.0
    assert seconds_since(1.0, lambda: 3.0) == 2.0
    assert checks.MOST_ROUNDS >= 1000


def test_speeds_on_a_clock_that_stands_still() -> None:
    task = build_task("copy", {"N": 4, "context": 20})
    assert "tokens/s on one thread" in check._throughput(task, 0)
    assert costs._rates([lambda: None], 7, "cpu")[0] > 0
    assert best_rate(task, threads=1, runs=1, seconds=1.0) > 0
    assert best_times([lambda: None], 1)[0] > 0
    assert bench_parse(["cfg3f"], sentences=1, runs=1)[0]["milliseconds"] > 0
