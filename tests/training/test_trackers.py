"""Trackers: they get the numbers, and nothing that they do stops a run."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from canonlab.errors import InputError, Interrupted
from canonlab.training.loop import train
from canonlab.training.run import create_run
from canonlab.training.trackers import TRACKERS, Tracking
from tiny_runs import Recorder, tiny_config


class Fake:
    """Stands for wandb and trackio, whose runs have the same two calls."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.logged: dict[int, dict[str, float]] = {}
        self.settings: dict[str, Any] = {}
        self.finished = 0
        self.fails_at = fails_at

    def init(self, **settings: Any) -> "Fake":
        self.settings = settings
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        if step == self.fails_at:
            raise ConnectionError("no route to host")
        self.logged.setdefault(step, {}).update(values)

    def finish(self) -> None:
        self.finished += 1


def install(monkeypatch: pytest.MonkeyPatch, name: str, fake: Fake) -> None:
    module = types.ModuleType(name)
    module.init = fake.init  # type: ignore[attr-defined]
    module.__file__ = f"{name}.py"
    monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_gets_every_number(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, inner = Fake(), Recorder()
    install(monkeypatch, name, fake)
    run = create_run(tiny_config(), tmp_path / "run")
    with Tracking(inner, name) as listener:
        train(run, listener)
    assert sorted(fake.logged) == [2, 4, 6, 8, 10, 12] and fake.finished == 1
    assert {"train/loss", "train/lr", "eval/token_accuracy", "eval/all"} <= fake.logged[12].keys()
    assert fake.settings["name"] == run.plan.name and fake.settings["config"]["training"]["steps"] == 12
    assert fake.logged[6]["eval/all"] == next(
        r["metrics"]["all"]["value"] for r in inner.records if r["kind"] == "eval" and r["step"] == 6
    )


def test_a_failing_tracker_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, inner = Fake(fails_at=4), Recorder()
    install(monkeypatch, "wandb", fake)
    with Tracking(inner, "wandb") as listener:
        result = train(create_run(tiny_config(), tmp_path / "run"), listener)
    assert result["evaluation"] and sorted(fake.logged) == [2]
    messages = [text for text in inner.messages if "wandb" in text]
    assert messages == ["wandb failed and is left out of this run: ConnectionError: no route to host"]


def test_one_that_cannot_begin_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = Recorder()
    fake = Fake()
    monkeypatch.setattr(fake, "init", lambda **_: 1 / 0)
    install(monkeypatch, "trackio", fake)
    with Tracking(inner, "trackio") as listener:
        assert train(create_run(tiny_config(), tmp_path / "run"), listener)
    assert any("ZeroDivisionError" in text for text in inner.messages)


def test_what_is_missing_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="did you mean 'wandb'"):
        Tracking(Recorder(), "wandbb")
    for name in TRACKERS:
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(InputError, match=rf"log = '{name}' needs {name}, .*: pip install 'canonlab\[{name}\]'"):
            Tracking(Recorder(), name)


def test_tensorboard_hides_only_what_comes_after_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in metrics.jsonl, records of the step that a run goes on from stay."""
    purged: list[int] = []

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int) -> None:
            assert folder == str(tmp_path / "run" / "tensorboard")
            purged.append(purge_step)

        def add_scalar(self, name: str, value: float, step: int) -> None:
            assert step >= purged[-1]

        def close(self) -> None: ...

    def interrupt(record: dict[str, Any]) -> None:
        if record["step"] == 9:
            raise Interrupted("", "")

    install(monkeypatch, "tensorboard", Fake())
    module = types.SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    run = create_run(tiny_config(log_every=1, checkpoint_every=4), tmp_path / "run")
    inner = Recorder(interrupt)
    with pytest.raises(Interrupted), Tracking(inner, "tensorboard") as listener:
        train(run, listener)
    inner.act = None
    with Tracking(inner, "tensorboard") as listener:
        train(run, listener)
    assert purged == [1, 9]
    assert not [text for text in inner.messages if "failed" in text]


def test_tensorboard_writes_event_files(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run = create_run(tiny_config(), tmp_path / "run")
    with Tracking(Recorder(), "tensorboard") as listener:
        train(run, listener)
    (events,) = (run.folder / "tensorboard").iterdir()
    assert events.stat().st_size > 500
