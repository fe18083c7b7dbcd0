"""How many runs are made at once, with how many threads: by cores, GPUs, memory, and a measurement made once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from canonlab.errors import InputError
from canonlab.files import write_json
from canonlab.sweeps import layout as layouts
from canonlab.sweeps.layout import PROCESS_BYTES, Layout, free_memory, layout, measured_layout
from canonlab.sweeps.measure import Seconds, measure
from canonlab.training.plan import Plan, plan_runs
from tiny_runs import tiny_config, varied

GIB = 1 << 30


@pytest.fixture
def plans() -> Callable[..., list[Plan]]:
    """Plans of so many runs, with these threads."""
    return lambda count, threads=0: plan_runs(
        varied(tiny_config(seed=seed), "backend", threads=threads) for seed in range(count)
    )


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, dict[int, float]], list[int]]:
    """A machine of so many cores, on which steps take these seconds by threads; the threads that are measured."""

    def make(cores: int, seconds: dict[int, float]) -> list[int]:
        measured: list[int] = []

        def steps(plan: Plan, threads: int) -> Seconds:
            measured.append(threads)
            return Seconds(0, 0, seconds[threads], 0, 0)

        monkeypatch.setattr(layouts, "cores", lambda: cores)
        monkeypatch.setattr(layouts, "measure", steps)
        return measured

    return make


@pytest.mark.parametrize(
    ("runs", "seconds", "threads", "workers"),
    [
        (60, {1: 1.0, 2: 0.9, 4: 0.8}, 1, 4),  # threads that hardly help
        (60, {1: 1.0, 2: 0.4, 4: 0.3}, 2, 2),  # caches that one thread's share doesn't fill
        (2, {1: 1.0, 2: 0.6, 4: 0.55}, 2, 2),  # fewer runs than cores
        (1, {1: 1.0, 2: 0.6, 4: 0.5}, 4, 1),
    ],
)
def test_what_ends_the_sweep_first_is_taken(
    tmp_path: Path,
    plans: Callable[..., list[Plan]],
    machine: Callable[..., list[int]],
    runs: int,
    seconds: dict[int, float],
    threads: int,
    workers: int,
) -> None:
    assert machine(4, seconds) == []
    found = layout(plans(runs), [1] * runs, tmp_path)
    assert (found.threads, found.workers(runs)) == (threads, workers)


def test_it_is_measured_once_on_the_longest_run(
    tmp_path: Path, plans: Callable[..., list[Plan]], machine: Callable[..., list[int]]
) -> None:
    measured = machine(2, {1: 1.0, 2: 0.9})
    found = layout(plans(3), [1, 5, 2], tmp_path)
    assert measured == [1, 2] and found == Layout(1, {1: 1.0, 2: 0.9})
    machine(2, {1: 9.0, 2: 0.1})
    assert layout(plans(3), [1, 5, 2], tmp_path) == found


def test_threads_that_a_recipe_names_are_not_measured(
    tmp_path: Path, plans: Callable[..., list[Plan]], machine: Callable[..., list[int]]
) -> None:
    measured = machine(4, {})
    found = layout(plans(9, threads=2), [1] * 9, tmp_path)
    assert measured == [] and found.threads == 2 and found.workers(9) == 2 and found.workers(1) == 1


def test_gpus_have_a_worker_each() -> None:
    found = Layout(3, {})
    assert found.workers(60, gpus=8) == 8 and found.workers(60, gpus=8, each=2) == 16 and found.workers(5, gpus=8) == 5


@pytest.mark.parametrize("threads", [0, "2", 10**6])
def test_a_damaged_layout_is_refused(tmp_path: Path, plans: Callable[..., list[Plan]], threads: object) -> None:
    (tmp_path / "sweep").mkdir()
    write_json(tmp_path / "sweep" / "layout.json", {"threads": threads, "seconds": {}})
    with pytest.raises(InputError, match=r"layout\.json: threads"):
        layout(plans(1), [1], tmp_path)


def test_a_real_step_is_measured_and_leaves_nothing(tmp_path: Path, plans: Callable[..., list[Plan]]) -> None:
    (plan,) = plans(1)
    assert 0 < measure(plan, 1).step < 5 and list(tmp_path.iterdir()) == []


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Eight cores, and memory for three runs of 2 GiB."""
    monkeypatch.setattr(layouts, "cores", lambda: 8)
    monkeypatch.setattr(layouts, "free_memory", lambda: 3 * (2 * GIB + PROCESS_BYTES))
    return monkeypatch


def test_workers_are_limited_by_cores_runs_and_memory(eight: pytest.MonkeyPatch) -> None:
    assert Layout(2, {}).workers(100) == 4 and Layout(2, {}).workers(3) == 3
    assert Layout(2, {}, 2 * GIB).workers(100) == 3 and Layout(2, {}, 1000 * GIB).workers(100) == 1
    assert Layout(2, {}, 2 * GIB).workers(100, gpus=2, each=4) == 8


def test_few_runs_that_fit_have_more_threads(eight: pytest.MonkeyPatch) -> None:
    eight.setattr(layouts, "measure", lambda plan, n: Seconds(0, 0, 1 / n**0.2, 0, 0))
    plans = plan_runs([varied(tiny_config(seed=seed), "backend", threads=0) for seed in range(8)])
    assert measured_layout(plans, [1] * 8).threads == 1
    assert measured_layout(plans, [1] * 8, 2 * GIB).threads == 2  # three at once take as many rounds with two threads


def test_memory_that_is_free_is_known_here() -> None:
    assert free_memory() > 1 << 20
