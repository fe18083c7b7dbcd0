"""The list of a sweep's runs as a file: nothing left open in it, and nothing lost."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from canonlab.errors import InputError
from canonlab.models.config import ModelConfig
from canonlab.sweeps.prepare import prepare
from canonlab.sweeps.worklist import read_worklist
from canonlab.tasks.capo.words import FOLDER
from canonlab.training.config import RunConfig, TaskConfig
from canonlab.training.plan import plan_run
from canonlab.training.run import create_run
from tiny_runs import MIXER, TASK, listed, tiny_config, varied


@pytest.fixture
def configs(tmp_path: Path) -> list[RunConfig]:
    """A built-in run, one with a user's mixer in a hybrid, one with a user's task."""
    (tmp_path / "mine.py").write_text(MIXER)
    (tmp_path / "task.py").write_text(TASK)
    plain = tiny_config()
    own = varied(plain, "model", model=f"{tmp_path / 'mine.py'}:Mean,llama-rope", canon="AC")
    name = TASK[TASK.index("class ") + 6 :].partition("(")[0]
    return [plain, own, dataclasses.replace(plain, task=TaskConfig(f"{tmp_path / 'task.py'}:{name}", {}))]


def test_it_is_read_as_it_was_written_and_plans_the_same_runs(tmp_path: Path, configs: list[RunConfig]) -> None:
    written = prepare(configs, tmp_path / "runs", "tiny", "canonlab sweep x", "best").worklist
    read = read_worklist(written.path)
    assert read == written and (read.command, read.keep) == ("canonlab sweep x", "best")
    for entry, config in zip(read.entries, configs, strict=True):
        assert plan_run(entry.config).identity == entry.identity == plan_run(config).identity
        assert entry.folder == plan_run(config).name and entry.flops > 0


def test_what_a_machine_would_resolve_is_resolved(tmp_path: Path) -> None:
    (entry,) = listed([varied(tiny_config(), "backend", precision="auto", threads=0)], tmp_path).entries
    assert entry.config.backend.precision in ("fp32", "bf16") and entry.config.backend.threads >= 1


def test_the_users_files_are_copied_and_a_changed_copy_is_not_executed(
    tmp_path: Path, configs: list[RunConfig]
) -> None:
    runs = listed(configs, tmp_path / "runs")
    assert str(tmp_path / "mine.py") not in runs.path.read_text()
    copies = sorted((tmp_path / "runs" / "sweep" / "sources").glob("*/*.py"))
    assert [path.name for path in copies].count("mine.py") == 1 and len(copies) == 2
    copies[0].write_text("raise SystemExit('executed')")
    with pytest.raises(InputError, match="is not the file that the sweep was planned with"):
        read_worklist(runs.path)
    assert read_worklist(listed(configs, tmp_path / "runs").path) == runs  # planned again, copied again


def test_folders_are_copied_and_a_changed_copy_is_refused(tmp_path: Path) -> None:
    mine = Path(shutil.copytree(FOLDER, tmp_path / "mine"))
    config = dataclasses.replace(tiny_config(), task=TaskConfig("capo", {"N": 8, "words": str(mine)}))
    runs = listed([config], tmp_path / "runs")
    (entry,) = read_worklist(runs.path).entries
    copies = Path(entry.config.task.set["words"])
    assert copies.parents[1] == tmp_path / "runs" / "sweep" / "sources" and copies.name == "mine"
    shutil.rmtree(mine)
    assert plan_run(entry.config).identity == entry.identity
    (copies / "cities.txt").write_text("Ur\n" * 200)
    with pytest.raises(InputError, match="mine is not the file that the sweep was planned with"):
        read_worklist(runs.path)


def test_a_run_that_another_precision_was_begun_in_keeps_it(tmp_path: Path) -> None:
    there = listed([varied(tiny_config(), "backend", precision="bf16")], tmp_path).entries[0]
    create_run(there.config, parent=tmp_path)
    (entry,) = listed([varied(tiny_config(), "backend", precision="auto")], tmp_path).entries
    assert entry.identity == there.identity and entry.config.backend.precision == "bf16"


@pytest.mark.parametrize("damage", ["half", "not a list", "no such part"])
def test_a_damaged_list_is_refused(tmp_path: Path, damage: str) -> None:
    runs = listed([tiny_config()], tmp_path)
    text = runs.path.read_text()
    changed = {"half": text[: len(text) // 2], "not a list": '{"format": 1, "runs": 3}', "no such part": "[]"}
    runs.path.write_text(changed[damage])
    with pytest.raises(InputError, match=r"tiny\.json"):
        read_worklist(runs.path)


def test_a_place_where_nothing_can_be_written_is_refused_before_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is not a folder"):
        listed([tiny_config()], tmp_path / "file" / "runs")
    with pytest.raises(InputError, match="name = 'layout'"):
        prepare([tiny_config()], tmp_path / "runs", "layout", "sweep")


def test_a_model_of_the_users_alone_is_named_by_its_copy(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MIXER)
    config = dataclasses.replace(tiny_config(), model=ModelConfig(f"{tmp_path / 'mine.py'}:Mean", "1L16D2H"))
    (entry,) = listed([config], tmp_path / "runs").entries
    assert entry.cell == "copy-Mean-none-1L16D2H" and "sources" in entry.config.model.model
