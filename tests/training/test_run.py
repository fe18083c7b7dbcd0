"""Identity, run folders, and what is refused."""

import dataclasses
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import canonlab.tasks
from canonlab.errors import InputError
from canonlab.models.cost import cost
from canonlab.models.presets import ModelConfig
from canonlab.training.config import RunConfig, TaskConfig
from canonlab.training.lock import locked
from canonlab.training.loop import Interrupted, train
from canonlab.training.run import create_run, open_run, plan_run
from tiny_runs import Recorder, tiny_config

MIXER = '''
from dataclasses import dataclass
import torch
from canonlab.models.mixers.base import Mixer


class Mean(Mixer):
    """y_t = W mean(x_1 .. x_t)."""

    @dataclass(frozen=True)
    class Config:
        width: int

    def __init__(self, config, canon):
        super().__init__()
        self.out = torch.nn.Linear(config.width, config.width)

    def forward(self, x, segment_ids, state):
        return self.out(x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]), state
'''

TASK = '''
import dataclasses
from canonlab.tasks.copy import Copy


@dataclasses.dataclass(frozen=True)
class ShortCopy(Copy):
    """Copy, under a name of its own."""

    name = "short-copy"
    N: int = 6
    context: int = 28
'''


def varied(config: RunConfig, part: str, **changes: Any) -> RunConfig:
    return dataclasses.replace(config, **{part: dataclasses.replace(getattr(config, part), **changes)})


def test_identity_is_a_function_of_the_configuration() -> None:
    assert plan_run(tiny_config()).identity == plan_run(tiny_config()).identity


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("training", {"lr": 0.02}),
        ("training", {"seed": 1}),
        ("training", {"steps": 13}),
        ("model", {"canon": "ABC"}),
        ("model", {"canon_residual": False}),
        ("model", {"model": "llama-nope"}),
        ("task", {"set": {"N": 7, "context": 28}}),
        ("backend", {"threads": 2}),
    ],
)
def test_whatever_determines_the_result_is_in_the_identity(part: str, changes: dict[str, Any]) -> None:
    assert plan_run(varied(tiny_config(), part, **changes)).identity != plan_run(tiny_config()).identity


def test_words_for_the_same_thing_are_the_same_run() -> None:
    assert plan_run(varied(tiny_config(), "model", canon="DCBA")).identity == plan_run(tiny_config()).identity


def test_the_backend_is_resolved_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create_run(varied(tiny_config(), "backend", threads=0), folder)
    monkeypatch.setattr("torch.get_num_threads", lambda: 77)
    assert open_run(folder).plan.backend == run.plan.backend
    assert open_run(folder).plan.backend.threads != 77


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
        (lambda text: text.replace('"format": 1', '"format": 2'), "written by a newer canonlab"),
        (lambda text: "{}", "names no format version"),
        (lambda text: text.replace('"lr": 0.01', '"lr": 0.02'), "makes another run"),
        (lambda text: text.replace('"asked"', '"other"'), "is damaged"),
    ],
)
def test_a_damaged_configuration_is_refused(folder: Path, damage: Any, message: str) -> None:
    create_run(tiny_config(), folder)
    path = folder / "config.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(InputError, match=message):
        open_run(folder)


def plugged(tmp_path: Path) -> RunConfig:
    (tmp_path / "mine.py").write_text(MIXER)
    (tmp_path / "tasks.py").write_text(TASK)
    model = ModelConfig(model=f"{tmp_path / 'mine.py'}:Mean", size="1L16D2H", canon="ACD")
    return dataclasses.replace(tiny_config(), task=TaskConfig(f"{tmp_path / 'tasks.py'}:ShortCopy"), model=model)


def interrupted(config: RunConfig, folder: Path) -> None:
    def stop(record: dict[str, Any]) -> None:
        raise Interrupted

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
    run = open_run(folder, from_copies=True)
    assert "-Mean,llama-rope,Mean-ACD-" in run.plan.name
    (tmp_path / "other.py").unlink()
    train(open_run(folder), recorder)
    (tmp_path / "other.py").write_text(MIXER + "# changed")
    with pytest.raises(InputError, match="is not the source"):
        open_run(folder)


def test_two_sources_of_one_name_are_refused(tmp_path: Path, folder: Path) -> None:
    config = plugged(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mine.py").write_text(MIXER + "# another")
    names = f"{config.model.model},{tmp_path / 'sub' / 'mine.py'}:Mean"
    with pytest.raises(InputError, match="two different files have one name"):
        create_run(dataclasses.replace(config, model=dataclasses.replace(config.model, model=names)), folder)


def test_a_moved_source_is_found_in_the_run_folder(tmp_path: Path, folder: Path) -> None:
    create_run(plugged(tmp_path), folder)
    (tmp_path / "mine.py").unlink()
    assert list(open_run(folder).plan.plugins.values())[-1].path == (folder / "sources" / "mine.py").resolve()


def test_an_edited_source_is_refused(tmp_path: Path, folder: Path) -> None:
    config = plugged(tmp_path)
    before = plan_run(config).identity
    create_run(config, folder)
    (tmp_path / "mine.py").write_text(MIXER + "\n# edited\n")
    assert plan_run(config).identity != before
    with pytest.raises(InputError, match="not the source that this run began with"):
        open_run(folder)
    assert open_run(folder, from_copies=True).plan.identity == before


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
    file = json.loads((folder / "config.json").read_text())
    del file["files"]
    (folder / "config.json").write_text(json.dumps(file))
    assert open_run(folder).plan.identity == plan_run(tiny_config()).identity


def test_a_run_folder_can_be_moved(folder: Path, tmp_path: Path, recorder: Recorder) -> None:
    interrupted(tiny_config(), folder)
    shutil.move(folder, tmp_path / "elsewhere")
    assert train(open_run(tmp_path / "elsewhere"), recorder)["identity"] == plan_run(tiny_config()).identity


def test_a_truncated_checkpoint_is_refused_by_name(folder: Path) -> None:
    def stop(record: dict[str, Any]) -> None:
        if record["step"] == 6:
            raise Interrupted

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
    assert train(run, Recorder())["format"] == 1


def test_a_checkpoint_of_another_run_is_refused(folder: Path, tmp_path: Path) -> None:
    train(create_run(tiny_config(), folder), Recorder())
    other = tmp_path / "other"
    create_run(tiny_config(seed=1), other)
    shutil.copytree(folder / "checkpoints", other / "checkpoints")
    with pytest.raises(InputError, match="belongs to another run"):
        train(open_run(other), Recorder())


def test_configs_are_plain_json(folder: Path) -> None:
    run = create_run(tiny_config(), folder)
    content = json.loads((folder / "config.json").read_text())
    assert content["config"] == run.plan.content
    assert content["name"].startswith("copy-llama-rope-ABCD-1L16D2H-lr0.01-s0-")


def test_steps_follow_from_exposures_where_a_task_has_an_end(tmp_path: Path) -> None:
    config = tiny_config(steps=0, exposures=3)
    with pytest.raises(InputError, match="exposures = 3: the task copy never ends, so set steps"):
        plan_run(config)
    capo = dataclasses.replace(config, task=TaskConfig("capo", {"N": 20}))
    run = create_run(capo, tmp_path / "run")
    windows = run.plan.task.windows_per_exposure
    assert windows and run.plan.config.training.steps == math.ceil(3 * windows / 4)
    assert open_run(run.folder).plan.identity == run.plan.identity
    given = plan_run(dataclasses.replace(capo, training=dataclasses.replace(config.training, steps=7)))
    assert (given.config.training.steps, given.config.training.exposures) == (7, 0)


@pytest.mark.parametrize(
    ("task", "steps", "exposures", "said"),
    [
        ("capo", 100, 50, True),
        ("capo", 100, 100, False),  # what the task publishes, so nobody may have asked for it
        ("capo", 0, 50, False),
        ("copy", 100, 5, True),
        ("copy", 100, 0, False),
    ],
)
def test_exposures_that_are_not_used_are_said(task: str, steps: int, exposures: int, said: bool) -> None:
    settings = {"N": 8} if task == "capo" else {"N": 6, "context": 28}
    config = dataclasses.replace(tiny_config(steps=steps, exposures=exposures), task=TaskConfig(task, settings))
    line = f"steps = {steps} are set, so exposures = {exposures} are not used"
    assert (line in plan_run(config).notes) is said


def test_isolation_needs_a_token_that_opens_an_instance(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "tasks.py").write_text(TASK + "    separator = None\n")
    task = TaskConfig(f"{tmp_path / 'tasks.py'}:ShortCopy")
    plan_run(dataclasses.replace(tiny_config(), task=task))
    with pytest.raises(InputError, match="isolate = true: the task short-copy has no token that opens an instance"):
        create_run(dataclasses.replace(tiny_config(isolate=True), task=task), folder)
    assert not folder.exists()


def test_a_whole_number_and_the_float_of_that_value_are_the_same_run() -> None:
    plans = [
        plan_run(varied(tiny_config(), "model", model="gla", canon="none", mixer={"key_share": share}))
        for share in (1, 1.0)
    ]
    assert plans[0].identity == plans[1].identity and plans[0].name == plans[1].name


@pytest.mark.parametrize(
    ("body", "error"), [("return x", "ValueError"), ("return self.nothing, None", "AttributeError")]
)
def test_a_mixer_that_fails_is_an_error_before_there_is_a_folder(tmp_path: Path, body: str, error: str) -> None:
    (tmp_path / "broken.py").write_text(MIXER[: MIXER.index("        return self.out")] + f"        {body}\n")
    model = ModelConfig(model=f"{tmp_path / 'broken.py'}:Mean", size="1L16D2H")
    with pytest.raises(InputError, match=f"fails on its first tokens \\({error}.*canonlab check"):
        create_run(dataclasses.replace(tiny_config(), model=model), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("hybrid", ["", "llama-rope,"])
def test_a_mixer_that_sees_later_tokens_is_an_error_before_there_is_a_folder(tmp_path: Path, hybrid: str) -> None:
    leak = MIXER.replace("x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]", "x.cumsum(1) + 0.01 * x.roll(-1, 1)")
    (tmp_path / "leak.py").write_text(leak)
    model = ModelConfig(model=f"{hybrid}{tmp_path / 'leak.py'}:Mean", size="2L16D2H")
    with pytest.raises(InputError, match="depend on later tokens.*canonlab check"):
        create_run(dataclasses.replace(tiny_config(), model=model), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_mixer_whose_kernel_needs_memory_is_planned_and_counted(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(MIXER)
    kernel = "torch.from_numpy(x.detach().numpy().cumsum(1)).to(x.dtype)"
    (tmp_path / "kernel.py").write_text(MIXER.replace("x.cumsum(1)", kernel))
    plain, own = (
        plan_run(dataclasses.replace(tiny_config(), model=ModelConfig(model=f"{tmp_path / name}:Mean", size="1L16D2H")))
        for name in ("plain.py", "kernel.py")
    )
    assert cost(own.decoder, 8) == cost(plain.decoder, 8)


def test_a_warm_up_longer_than_the_run_is_told() -> None:
    assert any("the rate never reaches lr" in note for note in plan_run(tiny_config(warmup=12)).notes)
    assert not any("warm-up" in note for note in plan_run(tiny_config(warmup=11)).notes)
