"""How many runs are made at once: by cores, by GPUs, by memory; chosen once, and kept."""

from pathlib import Path

import pytest

from canonlab.sweeps import layout as module
from canonlab.sweeps.layout import PROCESS_BYTES, Layout, free_memory, kept_layout, layout, measured_layout
from canonlab.sweeps.measure import Seconds
from canonlab.training.plan import Plan, plan_runs
from tiny_runs import tiny_config, varied

GIB = 1 << 30


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Eight cores, and memory for three runs of 2 GiB."""
    monkeypatch.setattr(module, "cores", lambda: 8)
    monkeypatch.setattr(module, "free_memory", lambda: 3 * (2 * GIB + PROCESS_BYTES))
    return monkeypatch


def test_workers_are_limited_by_cores_runs_and_memory(machine: pytest.MonkeyPatch) -> None:
    assert Layout(2, {}).workers(100) == 4 and Layout(2, {}).workers(3) == 3
    assert Layout(2, {}, 2 * GIB).workers(100) == 3 and Layout(2, {}, 1000 * GIB).workers(100) == 1
    assert Layout(2, {}, 2 * GIB).workers(100, gpus=2, each=4) == 8


def test_few_runs_that_fit_have_more_threads(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(module, "measure", lambda plan, n: Seconds(0, 0, 1 / n**0.2, 0, 0))
    plans = plan_runs([varied(tiny_config(seed=seed), "backend", threads=0) for seed in range(8)])
    assert measured_layout(plans, [1] * 8).threads == 1
    assert measured_layout(plans, [1] * 8, 2 * GIB).threads == 2  # three at once take as many rounds with two threads


def test_a_layout_is_measured_once(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measured: list[int] = []

    def measure(plan: Plan, threads: int) -> Seconds:
        measured.append(threads)
        return Seconds(0, 0, 1.0, 0, 0)

    machine.setattr(module, "measure", measure)
    plans = plan_runs([varied(tiny_config(), "backend", threads=0)])
    assert kept_layout(tmp_path) is None
    first = layout(plans, [1], tmp_path)
    assert measured == [1, 2, 4, 8] and layout(plans, [1], tmp_path, GIB) == Layout(1, first.seconds, GIB)
    assert len(measured) == 4


def test_memory_that_is_free_is_known_here() -> None:
    assert free_memory() > 1 << 20
