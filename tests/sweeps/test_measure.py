"""The first steps of runs, really made; how long they take is nobody's promise, so that only the rest is tested."""

import dataclasses
import multiprocessing
import signal
import time
from pathlib import Path

import pytest

from canonlab.errors import InputError
from canonlab.sweeps import measure as module
from canonlab.sweeps.measure import Seconds, Size, kind, measure, measure_all
from canonlab.training.plan import plan_run
from tiny_runs import MIXER, tiny_config, varied


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(module, "ENOUGH", 0.0)
    monkeypatch.setattr(module, "EVALUATION", 0.0)
    return monkeypatch


def test_all_parts_of_a_run_are_measured_and_nothing_stays(quick: pytest.MonkeyPatch, tmp_path: Path) -> None:
    quick.setattr("tempfile.tempdir", str(tmp_path))
    found = measure(plan_run(tiny_config()))
    assert min(found.start, found.step, found.window, found.save) > 0 and found.first >= 0
    assert list(tmp_path.glob("canonlab-*")) == []


def test_a_step_that_takes_long_is_made_smaller(quick: pytest.MonkeyPatch) -> None:
    plan = plan_run(varied(tiny_config(batch=64, microbatch=8), "model", size="6L16D2H"))
    assert module._smaller(plan) == plan
    one = module._size(plan).step // 64
    quick.setattr(module, "MOST_FLOPS", 5 * one)
    fewer = module._smaller(plan)
    assert (fewer.config.training.batch, fewer.config.training.microbatch, fewer.decoder.layers) == (5, 0, 6)
    quick.setattr(module, "MOST_FLOPS", one // 2)
    least = module._smaller(plan)
    assert (least.decoder.layers, least.config.training.batch) == (1, 1) or least.config.training.batch <= 8
    assert measure(plan).step > 0


def test_kinds() -> None:
    def of(config: object) -> str:
        return kind(plan_run(config))  # type: ignore[arg-type]

    same = tiny_config()
    assert of(same) == of(tiny_config(seed=3, lr=0.5, steps=100, eval_every=50, warmup=9, schedule="linear"))
    others = [
        tiny_config(batch=8),
        tiny_config(microbatch=2),
        tiny_config(isolate=True),
        varied(same, "model", canon="A"),
    ]
    assert len({of(each) for each in (same, *others)}) == 5


def test_scaling() -> None:
    seconds = Seconds(1.0, 2.0, 3.0, 4.0, 5.0)
    assert seconds.times(0.5) == Seconds(0.5, 1.0, 1.5, 2.0, 2.5)
    assert seconds.scaled(Size(10, 10, 10), Size(20, 30, 40)) == Seconds(1.0, 2.0, 6.0, 12.0, 20.0)


def test_processes_measure_by_themselves() -> None:
    loading, (found,), share = measure_all([tiny_config()], threads=1, workers=1)
    assert loading > 0 and found and found.step > 0 and share > 0


def test_nothing_is_waited_for_without_end() -> None:
    assert measure_all([tiny_config()], threads=1, workers=1, patience=0.0).seconds == [None]


def test_a_run_that_fails_in_its_first_steps_says_so(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(MIXER.replace("torch.nn.Linear(config.width, config.width)", "None"))
    config = varied(tiny_config(), "model", model=f"{tmp_path / 'own.py'}:Mean", canon="none")
    with pytest.raises(InputError, match=r"own\.py"):
        module._measured(0, config, 1)


def test_the_mean_of_measurements() -> None:
    one = Seconds(1.0, 1.0, 1.0, 1.0, 1.0)
    assert module._mean([one, dataclasses.replace(one, step=2.0)]).step == 1.5


class Endless:
    """What `_measured` is in a process whose runs save themselves when they are asked to stop, and go on."""

    def __call__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        while True:
            time.sleep(1)


def test_processes_that_will_not_stop_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_work", Endless())
    began = time.monotonic()
    assert measure_all([tiny_config()], threads=1, workers=1, patience=3.0).seconds == [None]
    assert time.monotonic() - began < 60 and not multiprocessing.active_children()
