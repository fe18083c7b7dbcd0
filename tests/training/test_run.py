"""Run folders, and what is refused."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import canonlab.tasks
from canonlab.errors import InputError, Interrupted
from canonlab.locks import locked
from canonlab.models.config import ModelConfig
from canonlab.tasks.capo.pieces import load_pieces
from canonlab.tasks.capo.words import FILES, load_words
from canonlab.training.config import RunConfig, TaskConfig
from canonlab.training.loop import evaluate_checkpoint, train
from canonlab.training.plan import plan_run
from canonlab.training.run import create_run, open_run, open_trained
from tiny_runs import MIXER, TASK, Recorder, edit, tiny_config, varied


def test_the_backend_is_resolved_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create_run(varied(tiny_config(), "backend", threads=0), folder)
    monkeypatch.setattr("torch.get_num_threads", lambda: 77)
    assert open_run(folder).plan.backend == run.plan.backend
    assert open_run(folder).plan.backend.threads != 77


def test_threads_of_one_run_are_not_those_of_the_next(folder: Path, recorder: Recorder) -> None:
    before = torch.get_num_threads()
    run = create_run(varied(tiny_config(), "backend", threads=before + 1), folder)
    train(run, recorder)
    assert torch.get_num_threads() == before
    evaluate_checkpoint(open_trained(folder), "last", 4, None)
    assert torch.get_num_threads() == before


def test_another_configurations_folder_is_refused(folder: Path) -> None:
    create_run(tiny_config(), folder)
    with pytest.raises(InputError, match="holds a run of another configuration"):
        create_run(tiny_config(lr=0.5), folder)


def test_a_folder_of_something_else_is_refused(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.tex").write_text("all my work")
    with pytest.raises(InputError, match="is not a run folder"):
        create_run(tiny_config(), folder)
    assert (folder / "thesis.tex").read_text() == "all my work"


def test_a_kill_before_the_configuration_is_written_leaves_nothing_in_the_way(folder: Path, recorder: Recorder) -> None:
    (folder / "sources").mkdir(parents=True)
    (folder / ".config.json.17.42").write_text('{"form')
    train(create_run(tiny_config(), folder), recorder)
    assert [path.name for path in folder.rglob(".*") if path.is_file()] == [".lock"]


def test_a_place_where_no_folder_can_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make the run folder"):
        create_run(tiny_config(), tmp_path / "file" / "run")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_refused(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o500)
    with pytest.raises(InputError, match="cannot write"):
        create_run(tiny_config(), folder)


def test_opening_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json"):
        open_run(tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "not valid JSON"),
        (lambda text: text.replace('"format": 2', '"format": 3'), "written by a newer canonlab"),
        (lambda text: "{}", "names no format version"),
        (lambda text: text.replace('"lr": 0.01', '"lr": 0.02'), "its content is not what was written"),
    ],
)
def test_a_damaged_configuration_is_refused(folder: Path, damage: Any, message: str) -> None:
    create_run(tiny_config(), folder)
    path = folder / "config.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(InputError, match=message):
        open_run(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file["asked"]["training"].update(lr=0.02), r"another run of its .*training.lr 0.01, not 0.02"),
        (lambda file: file["asked"]["model"].update(canon="ABC"), r'model.canon.points "ABCD", not "ABC"'),
        (lambda file: file["identified_by"]["training"].update(lr=0.02), "identity is not the hash"),
        (lambda file: file.pop("asked"), "asked.task.name is missing"),
        (lambda file: file["asked"]["training"].update(optimiser="sgd"), "newer canonlab.*no training.optimiser"),
        (lambda file: file["config"].update(training=[]), "config.training = .*must be an object"),
        (lambda file: file["config"]["training"].update(seed="0"), "training.seed = '0': must be an integer"),
        (lambda file: file.update(machine=None), "machine = None: must be an object"),
    ],
)
def test_a_configuration_that_was_changed_is_refused(folder: Path, change: Any, message: str) -> None:
    create_run(tiny_config(), folder)
    edit(folder / "config.json", change)
    with pytest.raises(InputError, match=message) as error:
        open_run(folder)
    assert "\n" not in str(error.value)


def plugged(tmp_path: Path) -> RunConfig:
    (tmp_path / "mine.py").write_text(MIXER)
    (tmp_path / "tasks.py").write_text(TASK)
    model = ModelConfig(model=f"{tmp_path / 'mine.py'}:Mean", size="1L16D2H", canon="ACD")
    return dataclasses.replace(tiny_config(), task=TaskConfig(f"{tmp_path / 'tasks.py'}:ShortCopy"), model=model)


def interrupted(config: RunConfig, folder: Path) -> None:
    def stop(record: dict[str, Any]) -> None:
        raise Interrupted("", "")

    with pytest.raises(Interrupted):
        train(create_run(config, folder), Recorder(stop))


def test_a_users_task_and_mixer_train_and_resume(tmp_path: Path, folder: Path, recorder: Recorder) -> None:
    config = plugged(tmp_path)
    interrupted(config, folder)
    assert {p.name for p in (folder / "sources").iterdir()} == {"mine.py", "tasks.py"}
    result = train(open_run(folder), recorder)
    assert result["weights_sha256"] == train(create_run(config, tmp_path / "whole"), Recorder())["weights_sha256"]


def test_a_hybrid_of_users_mixers_and_presets_resumes(tmp_path: Path, folder: Path, recorder: Recorder) -> None:
    config = plugged(tmp_path)
    (tmp_path / "other.py").write_text(MIXER)
    names = f"{tmp_path / 'mine.py'}:Mean,llama-rope,{tmp_path / 'other.py'}:Mean"
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, model=names, size="3L16D2H"))
    interrupted(config, folder)
    assert {p.name for p in (folder / "sources").iterdir()} == {"mine.py", "other.py", "tasks.py"}
    assert "-Mean+llama-rope+Mean-ACD-" in open_run(folder).plan.name
    (tmp_path / "other.py").unlink()
    train(open_run(folder), recorder)


def test_two_sources_of_one_name_are_refused(tmp_path: Path, folder: Path) -> None:
    config = plugged(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mine.py").write_text(MIXER + "# another")
    names = f"{config.model.model},{tmp_path / 'sub' / 'mine.py'}:Mean"
    with pytest.raises(InputError, match="two different files have one name"):
        create_run(dataclasses.replace(config, model=dataclasses.replace(config.model, model=names)), folder)


def test_a_run_goes_on_with_the_source_that_it_began_with(tmp_path: Path, folder: Path) -> None:
    config = plugged(tmp_path)
    before = plan_run(config).identity
    create_run(config, folder)
    (tmp_path / "mine.py").write_text(MIXER + "\n# edited\n")
    assert plan_run(config).identity != before
    assert open_run(folder).plan.identity == before
    assert list(open_run(folder).plan.plugins.values())[-1].path == (folder / "sources" / "mine.py").resolve()
    with pytest.raises(InputError, match=r"holds a run of another configuration \(model.sources"):
        create_run(config, folder)


@pytest.mark.parametrize("opening", [open_run, open_trained])
def test_a_copy_that_was_changed_is_not_executed(tmp_path: Path, folder: Path, opening: Any) -> None:
    create_run(plugged(tmp_path), folder)
    (folder / "sources" / "mine.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n" + MIXER)
    with pytest.raises(InputError, match="mine.py is not the source that this run began with"):
        opening(folder)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("part", ["task", "model"])
def test_a_path_in_a_strangers_configuration_is_not_executed(tmp_path: Path, folder: Path, part: str) -> None:
    create_run(plugged(tmp_path), folder)
    trap = tmp_path / "trap.py"
    trap.write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n" + MIXER + TASK)
    reference = {"task": ("name", f"{trap}:ShortCopy"), "model": ("model", f"{trap}:Mean")}[part]

    def point_there(file: Any) -> None:
        file["asked"][part].update([reference])

    edit(folder / "config.json", point_there)
    for opening in (open_run, open_trained):
        with pytest.raises(InputError, match=r"cannot read .*sources.trap.py"):
            opening(folder)
    edit(folder / "config.json", lambda file: file["config"][part].update(source=None, sources=[]))
    (folder / "sources" / "trap.py").write_bytes(trap.read_bytes())
    for opening in (open_run, open_trained):
        with pytest.raises(InputError):
            opening(folder)
    assert not (tmp_path / "executed").exists()


def test_commas_in_paths(tmp_path: Path, recorder: Recorder) -> None:
    place = tmp_path / "a, b" / "llama-rope,gdn"
    place.mkdir(parents=True)
    config = plugged(place)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, model=f"gdn,{config.model.model}"))
    run = create_run(varied(config, "model", size="2L64D2H"), parent=place / "runs, all")
    assert "," not in run.folder.name
    train(open_run(run.folder), recorder)
    assert evaluate_checkpoint(open_trained(run.folder), "last", 4, None)[1] == 12


@pytest.mark.parametrize(
    ("task", "parameter", "shipped"),
    [("capo", "tokenizer", "capo/tokenizer.json"), ("lano-cfg3f", "grammar", "lano/grammars/cfg3b.json")],
)
def test_files_of_a_task_stay_with_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, parameter: str, shipped: str
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    shutil.copy(Path(canonlab.tasks.__file__).parent / shipped, "mine.json")
    config = dataclasses.replace(tiny_config(), task=TaskConfig(task, {parameter: "mine.json"}))
    run = create_run(config, Path("run"))
    asked = json.loads(Path("run/config.json").read_text())["asked"]["task"]["set"]
    assert asked == {parameter: str(here / "mine.json")}
    assert Path("run/sources/mine.json").read_bytes() == Path("mine.json").read_bytes()
    monkeypatch.chdir(there)
    assert open_run(here / "run").plan.identity == run.plan.identity
    (here / "mine.json").unlink()
    shutil.move(here / "run", there / "moved")
    assert open_run(Path("moved")).plan.identity == run.plan.identity


def test_folders_of_a_task_stay_with_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is read of them, and nothing else; also where the folder is called ".."."""
    here = tmp_path / "mine"
    shutil.copytree(Path(canonlab.tasks.__file__).parent / "capo" / "words", here)
    (here / "inner").mkdir()
    (here / "notes.txt").write_text("of no use")
    monkeypatch.chdir(here / "inner")
    config = dataclasses.replace(tiny_config(), task=TaskConfig("capo", {"N": 8, "words": ".."}))
    run = create_run(config, tmp_path / "run")
    copies = tmp_path / "run" / "sources"
    assert [path.name for path in copies.iterdir()] == ["mine"]
    assert sorted(path.name for path in (copies / "mine").iterdir()) == sorted(FILES)
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(here)
    shutil.move("run", "moved")
    assert open_run(Path("moved")).plan.identity == run.plan.identity
    Path("moved/sources/mine/cities.txt").write_text("")
    load_words.cache_clear()
    load_pieces.cache_clear()
    with pytest.raises(InputError, match="cities.txt has 0 lines: must have 200"):
        open_run(Path("moved"))


def test_names_that_no_file_has_are_kept_as_they_are(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own").write_text("a file that only looks as if it were meant")
    create_run(dataclasses.replace(tiny_config(), task=TaskConfig("capo", {"N": 8, "tokenizer": "own"})), folder)
    file = json.loads((folder / "config.json").read_text())
    assert file["asked"]["task"]["set"]["tokenizer"] == "own" and file["files"] == {}
    assert not (folder / "sources").exists()


def test_a_run_from_before_files_were_kept_opens(folder: Path) -> None:
    create_run(tiny_config(), folder)
    edit(folder / "config.json", lambda file: file.pop("files"))
    assert open_run(folder).plan.identity == plan_run(tiny_config()).identity


def test_a_run_folder_can_be_moved(folder: Path, tmp_path: Path, recorder: Recorder) -> None:
    interrupted(tiny_config(), folder)
    shutil.move(folder, tmp_path / "elsewhere")
    assert train(open_run(tmp_path / "elsewhere"), recorder)["identity"] == plan_run(tiny_config()).identity


def test_a_truncated_checkpoint_is_refused_by_name(folder: Path) -> None:
    def stop(record: dict[str, Any]) -> None:
        if record["step"] == 6:
            raise Interrupted("", "")

    with pytest.raises(Interrupted):
        train(create_run(tiny_config(), folder), Recorder(stop))
    path = folder / "checkpoints" / "last.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="last.safetensors is damaged"):
        train(open_run(folder), Recorder())


def test_one_flipped_bit_of_a_checkpoint_is_noticed(folder: Path) -> None:
    run = create_run(tiny_config(), folder)
    train(run, Recorder())
    (folder / "result.json").unlink()
    path = folder / "checkpoints" / "last.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="bytes are not those that were written"):
        train(open_run(folder), Recorder())


def test_two_processes_do_not_work_on_one_run(folder: Path) -> None:
    run = create_run(tiny_config(), folder)
    with locked(folder), pytest.raises(InputError, match="another process is working"):
        train(run, Recorder())
    assert train(run, Recorder())["identity"] == run.identity


def test_a_checkpoint_of_another_run_is_refused(folder: Path, tmp_path: Path) -> None:
    train(create_run(tiny_config(), folder), Recorder())
    other = tmp_path / "other"
    create_run(tiny_config(seed=1), other)
    shutil.copytree(folder / "checkpoints", other / "checkpoints")
    with pytest.raises(InputError, match="belongs to another run"):
        train(open_run(other), Recorder())
    with pytest.raises(InputError, match="belongs to another run"):
        evaluate_checkpoint(open_trained(other), "last", 4, None)
    shutil.copy(folder / "result.json", other / "result.json")
    with pytest.raises(InputError, match=r"result.json: identity = .* is another run's than"):
        train(open_run(other), Recorder())


def test_one_flipped_bit_of_a_checkpoints_step_is_noticed(folder: Path) -> None:
    train(create_run(tiny_config(), folder), Recorder())
    (folder / "result.json").unlink()
    path = folder / "checkpoints" / "last.safetensors"
    content = path.read_bytes()
    assert content.count(b'\\"step\\": 12') == 2  # the step itself, and that of the best evaluation
    path.write_bytes(content.replace(b'\\"step\\": 12', b'\\"step\\": 13', 1))
    with pytest.raises(InputError, match="bytes are not those that were written"):
        train(open_run(folder), Recorder())


@pytest.mark.parametrize("damage", ["lost", "shortened", "changed"])
def test_a_log_that_is_not_the_checkpoints_is_noticed(folder: Path, damage: str) -> None:
    train(create_run(tiny_config(), folder), Recorder())
    (folder / "result.json").unlink()
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    if damage == "lost":
        path.unlink()
    else:
        path.write_text("".join(lines[:-1] if damage == "shortened" else lines).replace("loss", "lost"))
    with pytest.raises(InputError, match=r"metrics.jsonl"):
        train(open_run(folder), Recorder())


def test_configs_are_plain_json(folder: Path) -> None:
    run = create_run(tiny_config(), folder)
    content = json.loads((folder / "config.json").read_text())
    assert content["config"] == run.plan.content
    assert content["name"].startswith("copy-llama-rope-ABCD-1L16D2H-lr0.01-s0-")
