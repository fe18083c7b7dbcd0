"""Runs that go on from the weights of another one."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from canonlab.errors import InputError, Interrupted
from canonlab.files import read_json
from canonlab.models.config import ModelConfig
from canonlab.quantization.config import QuantizationConfig
from canonlab.results.groups import sections
from canonlab.results.load import load_runs
from canonlab.tasks.catalog import build_task
from canonlab.training.checkpoint import Checkpoint, SafetensorsStore
from canonlab.training.config import RunConfig, StartConfig, TaskConfig, run_config
from canonlab.training.loop import evaluate_checkpoint, train
from canonlab.training.plan import plan_run
from canonlab.training.quantized import produce
from canonlab.training.record import read_record
from canonlab.training.run import RunFolder, create_run, open_run, open_trained
from canonlab.training.start import with_parent
from tiny_runs import MIXER, TASK, Recorder, edit, make_runs, tiny_config, varied


def parent(folder: Path, config: RunConfig | None = None, **training: Any) -> Path:
    """A run that is done."""
    train(create_run(config or tiny_config(**training), folder), Recorder())
    return folder


def child(run: Path, lora: int = 0, checkpoint: str = "last", **training: Any) -> RunConfig:
    """The configuration of a run of the same task that goes on from `run`."""
    return dataclasses.replace(tiny_config(**training), start=StartConfig(str(run), checkpoint, lora))


def weights(folder: Path, name: str = "checkpoints/last") -> dict[str, torch.Tensor]:
    path = folder / name
    checkpoint = SafetensorsStore(path.parent).load(path.name, stored_identity(folder, name))
    assert checkpoint
    return checkpoint.weights


def stored_identity(folder: Path, name: str) -> str:
    run = open_run(folder)
    return run.identity if name.startswith("checkpoints") else run.plan.start._identity  # type: ignore[union-attr]


def interrupted(run: RunFolder, step: int) -> None:
    def stop(record: dict[str, Any]) -> None:
        if record["step"] >= step:
            raise Interrupted("", "")

    with pytest.raises(Interrupted):
        train(run, Recorder(stop))


def test_a_run_begins_with_the_weights_of_its_parent(tmp_path: Path) -> None:
    first = weights(parent(tmp_path / "a"))
    train(create_run(child(tmp_path / "a", steps=1, lr=1e-9, weight_decay=0.0), tmp_path / "b"), Recorder())
    second = weights(tmp_path / "b")
    assert first.keys() == second.keys()
    assert all(torch.allclose(first[key], second[key], atol=1e-7, rtol=0) for key in first)
    kept = weights(tmp_path / "b", "start")
    assert all(torch.equal(first[key], kept[key]) for key in first) and first.keys() == kept.keys()


@pytest.mark.parametrize("step", [2, 4, 6])
def test_it_resumes_to_the_same_bits_without_its_parent(tmp_path: Path, step: int) -> None:
    config = child(parent(tmp_path / "a"), lr=0.003)
    whole = train(create_run(config, tmp_path / "whole"), Recorder())
    run = create_run(config, tmp_path / "b")
    shutil.rmtree(tmp_path / "a")
    interrupted(run, step)  # at 2, before there is a checkpoint
    again = train(open_run(tmp_path / "b"), Recorder())
    assert again["weights_sha256"] == whole["weights_sha256"]
    found, _ = evaluate_checkpoint(open_trained(tmp_path / "b"), "last", 8, None)
    assert found.plain() == again["evaluation"]


def test_a_grandchild_needs_neither(tmp_path: Path) -> None:
    parent(tmp_path / "a")
    parent(tmp_path / "b", child(tmp_path / "a", steps=4))
    run = create_run(child(tmp_path / "b", steps=4), tmp_path / "c")
    record = read_record(tmp_path / "c")
    assert record.config["start"]["start"]["training"]["lr"] == 0.01 and "start" not in record.config["start"]["start"]
    shutil.rmtree(tmp_path / "a"), shutil.rmtree(tmp_path / "b")
    assert train(open_run(run.folder), Recorder())["identity"] == run.identity


def test_its_identity_is_the_parents_and_its_own(tmp_path: Path) -> None:
    base = child(parent(tmp_path / "a"))
    before = plan_run(base).identity
    shutil.move(tmp_path / "a", tmp_path / "moved")
    start = StartConfig(str(tmp_path / "moved"))
    assert plan_run(dataclasses.replace(base, start=start)).identity == before
    others = [
        dataclasses.replace(base, start=None),
        child(tmp_path / "moved", lr=0.02),
        child(parent(tmp_path / "b", lr=0.02)),
    ]
    assert len({before, *(plan_run(other).identity for other in others)}) == 4
    often = child(parent(tmp_path / "c", eval_every=3, log_every=1))
    assert plan_run(often).identity == before


def test_the_best_checkpoint_is_that_of_its_step(tmp_path: Path) -> None:
    parent(tmp_path / "a", eval_every=3)
    run = create_run(child(tmp_path / "a", checkpoint="best"), tmp_path / "b")
    step = read_json(tmp_path / "a" / "result.json")["best"]["step"]
    assert run.plan.start and run.plan.start.load(run.folder).facts["step"] == step
    assert read_record(run.folder).config["start"]["step"] == step
    shutil.copy(tmp_path / "a/checkpoints/last.safetensors", tmp_path / "a/checkpoints/best.safetensors")
    edit(tmp_path / "a" / "result.json", lambda result: result["best"].update(step=step - 1))
    with pytest.raises(InputError, match=rf"best.safetensors is of step 12: the run begins with step {step - 1}"):
        create_run(child(tmp_path / "a", checkpoint="best"), tmp_path / "c")
    (tmp_path / "a" / "checkpoints" / "best.safetensors").unlink()
    with pytest.raises(InputError, match="start.checkpoint = 'best': .*a has no such checkpoint"):
        create_run(child(tmp_path / "a", checkpoint="best"), tmp_path / "c")


def test_a_parent_must_be_done(tmp_path: Path) -> None:
    create_run(tiny_config(), tmp_path / "a")
    with pytest.raises(InputError, match=r"start.run = .*a': is not done; canonlab resume"):
        plan_run(child(tmp_path / "a"))
    with pytest.raises(InputError, match="is not a run folder"):
        plan_run(child(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"run": "a", "checkpoint": "lst"}, "unknown checkpoint 'lst'; did you mean 'last'"),
        ({"run": "a", "lora": -1}, "lora = -1: must be an integer from 0"),
        ({"run": "a", "lora_embedding": 4}, "lora_embedding = 4: goes with lora"),
        ({"checkpoint": "last"}, "start.run: missing"),
        ({"run": "a", "rank": 4}, "unknown field of start 'rank'"),
    ],
)
def test_a_start_that_cannot_be(start: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run_config({"task": "copy", "start": start})


def test_another_vocabulary_is_refused_by_its_first_token(tmp_path: Path) -> None:
    config = child(parent(tmp_path / "a"))
    more = dataclasses.replace(config, task=TaskConfig("copy", {"N": 7, "context": 28}))
    with pytest.raises(InputError, match="another vocabulary than copy: token 8 is none, not '7'"):
        plan_run(more)
    with pytest.raises(InputError, match="another vocabulary than mano: token 1 is"):
        plan_run(dataclasses.replace(config, task=TaskConfig("mano")))


def test_another_model_is_refused(tmp_path: Path) -> None:
    config = child(parent(tmp_path / "a"))
    with pytest.raises(InputError, match="model = 'llama-rope': must be that of the run that this one goes on from"):
        plan_run(varied(config, "model", canon="AC"))
    content = {"task": "copy", "start": {"run": str(tmp_path / "a")}}
    with pytest.raises(InputError, match=r"model.canon = 'AC': a run has the model of .* here 'ABCD'; leave it out"):
        with_parent({**content, "model": {"canon": "AC", "size": "1L16D2H"}})


def test_what_a_run_has_of_its_parent(tmp_path: Path) -> None:
    config = varied(varied(tiny_config(steps=2), "training", seed=5), "task", name="capo", set={"N": 8, "context": 64})
    parent(tmp_path / "a", config)
    content: dict[str, Any] = {"task": "capo-questions", "start": {"run": str(tmp_path / "a")}}
    found = run_config(with_parent(content))
    assert found.model == ModelConfig(size="1L16D2H", canon="ABCD") and found.training.seed == 5
    assert build_task("capo-questions", found.task.set).biographies == build_task("capo", config.task.set)
    content |= {"task": {"name": "capo-questions", "set": {"N": 9}}, "training": {"seed": 6}}
    found = run_config(with_parent(content))
    assert (found.task.set["N"], found.task.set["context"], found.training.seed) == (9, 64, 6)
    found = run_config(with_parent({**content, "task": "capo"}))
    assert found.task.set == {}, "the same task, not one made of it"
    assert with_parent({"task": "copy"}) == {"task": {"name": "copy"}}


def test_a_users_own_files_are_the_copies_of_the_parent(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MIXER)
    (tmp_path / "tasks.py").write_text(TASK)
    words = ModelConfig(model=f"{tmp_path / 'mine.py'}:Mean", size="1L16D2H", canon="ACD")
    task = TaskConfig(f"{tmp_path / 'tasks.py'}:ShortCopy")
    parent(tmp_path / "a", dataclasses.replace(tiny_config(), task=task, model=words))
    (tmp_path / "mine.py").unlink()
    (tmp_path / "tasks.py").unlink()
    content = {"task": "copy", "training": {"steps": 2}, "start": {"run": str(tmp_path / "a")}}
    content["task"] = {"name": "copy", "set": {"N": 6, "context": 28}}
    run = create_run(run_config(with_parent(content)), tmp_path / "b")
    shutil.rmtree(tmp_path / "a")
    assert train(open_run(tmp_path / "b"), Recorder())["identity"] == run.identity
    assert [path.name for path in (tmp_path / "b" / "sources").iterdir()] == ["mine.py"]


def damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def foreign(path: Path) -> None:
    parent(path.parent.parent / "other", seed=7)
    shutil.copy(path.parent.parent / "other/checkpoints/last.safetensors", path)


def of_another_step(path: Path) -> None:
    store = SafetensorsStore(path.parent)
    start = open_run(path.parent).plan.start
    assert start
    found = start.load(path.parent)
    store.save(path.stem, Checkpoint(found.tensors, {**found.facts, "step": 3}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Path.unlink, r"start.safetensors is missing, which the run begins with"),
        (damaged, r"start.safetensors is damaged \(its bytes .*place, or start anew"),
        (foreign, r"start.safetensors belongs to another run"),
        (of_another_step, r"start.safetensors is of step 3: the run begins with step 12 of its parent"),
    ],
)
def test_a_start_file_that_is_not_what_it_was(tmp_path: Path, change: Any, message: str) -> None:
    run = create_run(child(parent(tmp_path / "a")), tmp_path / "b")
    change(tmp_path / "b" / "start.safetensors")
    with pytest.raises(InputError, match=message):
        train(open_run(run.folder), Recorder())


def test_a_kill_before_the_configuration_is_written_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    config = child(parent(tmp_path / "a"))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / ".start.safetensors.17.42").write_text("{")
    shutil.copy(tmp_path / "a/checkpoints/best.safetensors", tmp_path / "b" / "start.safetensors")  # of another attempt
    train(create_run(config, tmp_path / "b"), Recorder())
    assert [path.name for path in (tmp_path / "b").rglob(".*") if path.is_file()] == [".lock"]


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file["config"].update(start=3),
        lambda file: file["config"].update(start=None),
        lambda file: file["config"]["start"].pop("step"),
        lambda file: file["config"]["start"].update(lora="x"),
        lambda file: file["config"].pop("start"),
        lambda file: file["asked"].pop("start"),
        lambda file: file["asked"].update(start={"run": 3}),
    ],
)
def test_a_configuration_that_was_changed_is_refused(tmp_path: Path, change: Any) -> None:
    create_run(child(parent(tmp_path / "a")), tmp_path / "b")
    edit(tmp_path / "b" / "config.json", change)
    with pytest.raises(InputError) as error:
        open_run(tmp_path / "b")
    assert "\n" not in str(error.value)


def test_a_sweep_makes_them_and_seeds_are_one_row(tmp_path: Path) -> None:
    parents = [parent(tmp_path / f"a{seed}", seed=seed) for seed in (0, 1)]
    configs = [child(run, seed=seed, steps=4) for seed, run in enumerate(parents)]
    make_runs([*configs, tiny_config(steps=4)], tmp_path / "runs")
    [section] = sections(load_runs([tmp_path / "runs"]))
    fresh, tuned = sorted(section.rows, key=lambda row: "start.lora" in row.settings)
    assert len(fresh.runs) == 1 and len(tuned.runs) == 2
    assert tuned.settings["start.training.lr"] == 0.01 and tuned.settings["start.checkpoint"] == "last"
    assert "start.step" not in tuned.settings and "start.training.seed" not in tuned.settings


def test_what_is_quantized_has_no_copy_of_the_parents_weights(tmp_path: Path) -> None:
    config = dataclasses.replace(child(parent(tmp_path / "a")), quantization=QuantizationConfig(4, "nearest"))
    run = create_run(config, parent=tmp_path / "runs")
    produce(run, Recorder())
    assert {path.parent for path in (tmp_path / "runs").glob("*/start.safetensors")} == {
        path.parent for path in (tmp_path / "runs").glob("*/result.json") if path.parent != run.folder
    }
