"""A user's own file: executed as it was hashed, with annotations of any kind, and found again by other processes."""

import dataclasses
import os
import pickle
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from canonlab.errors import InputError
from canonlab.models.config import ModelConfig
from canonlab.plugins import Parcel, load_plugin, source_of
from canonlab.tasks.base import Task
from canonlab.training.config import TaskConfig
from canonlab.training.loop import train
from canonlab.training.plan import load_task
from canonlab.training.run import create_run
from tiny_runs import MIXER, TASK, Recorder, tiny_config


def test_what_is_executed_is_what_was_hashed(tmp_path: Path) -> None:
    """Python keeps what it compiled of a file until its size or the second of its last change are others."""
    path = tmp_path / "mine.py"
    for number in (1, 2):
        path.write_text(f"class Mine:\n    number = {number}\n")
        os.utime(path, (1e9, 1e9))
        found = load_plugin(f"{path}:Mine")
        assert found.cls.number == number and source_of(found.cls) == found.identity  # type: ignore[attr-defined]
    assert [each.name for each in tmp_path.iterdir()] == ["mine.py"], "nothing is written beside a user's file"
    assert source_of(Task) is None


def test_annotations_may_be_text(tmp_path: Path) -> None:
    """As `from __future__ import annotations` makes them, and as a quoted class is one."""
    future = "from __future__ import annotations\n"
    mixer = MIXER.replace("width: int", "width: int\n        gain: float | None = None")
    (tmp_path / "mixer.py").write_text(future + mixer)
    (tmp_path / "task.py").write_text(future + TASK + "    weights: 'tuple[int, ...]' = (1,)\n")
    task = TaskConfig(f"{tmp_path}/task.py:ShortCopy", {"N": "7", "weights": [2.0, 3]})
    assert load_task(task).parameters == {"N": 7, "weights": (2, 3)}
    model = ModelConfig(f"{tmp_path}/mixer.py:Mean", "1L16D2H", mixer={"gain": "2"})
    assert model.decoder(9).pattern[0].mixer.arguments["gain"] == 2.0
    for wrong, given in (("weights", {"weights": ["a"]}), ("N", {"N": "six"})):
        with pytest.raises(InputError, match=rf"^{wrong}.* = "):
            load_task(TaskConfig(task.name, given))
    with pytest.raises(InputError, match="gain = 'much'"):
        dataclasses.replace(model, mixer={"gain": "much"}).decoder(9)
    config = dataclasses.replace(tiny_config(steps=2, warmup=0), task=task, model=model)
    assert train(create_run(config, tmp_path / "run"), Recorder())["weights_sha256"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_files_may_lie_at_home(home: Path) -> None:
    (home / "task.py").write_text(f"from pathlib import Path\n{TASK}    table: Path = Path()\n")
    task = load_task(TaskConfig("~/task.py:ShortCopy", {"table": "~/table.csv"}))
    assert task.parameters["table"] == str(home / "table.csv")
    shutil.copy(str(files("canonlab.tasks.lano") / "grammars" / "cfg3b.json"), home / "grammar.json")
    lano = load_task(TaskConfig("lano-cfg3b", {"grammar": "~/grammar.json"}))
    assert lano.files == {"grammar": home / "grammar.json"}
    with pytest.raises(InputError, match=f"tokenizer = '{home}/none.json': must be own.*No such file"):
        load_task(TaskConfig("capo", {"tokenizer": "~/none.json"}))


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to(path.name)], ids=["folder", "loop"])
def test_what_can_not_be_read_says_why(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "mine.py")
    with pytest.raises(
        InputError, match="^cannot read .*mine.py: (it is no regular file|Too many levels of symbolic links)$"
    ):
        load_plugin(f"{tmp_path}/mine.py:Mine")


def test_a_parcel_of_a_file_that_changed_says_so(tmp_path: Path) -> None:
    path = tmp_path / "task.py"
    path.write_text(TASK)
    parcel = pickle.loads(pickle.dumps(Parcel.pack(load_task(TaskConfig(f"{path}:ShortCopy")))))
    assert parcel.unpack().parameters == {"N": 6}
    other = dataclasses.replace(parcel, content=parcel.content.replace(b"plugin_task_", b"plugin_tusk_"))
    with pytest.raises(InputError, match="task.py:ShortCopy has changed since it was loaded"):
        other.unpack()
