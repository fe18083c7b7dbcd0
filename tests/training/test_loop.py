"""Training end to end: what is written, resuming to the same bits, stopping, diverging."""

import dataclasses
import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from canonlab.data.batches import DATA_HASH_START, extend_data_hash
from canonlab.errors import Diverged, InputError, Interrupted
from canonlab.files import read_json
from canonlab.models.config import ModelConfig
from canonlab.training.checkpoint import SafetensorsStore, restore_model
from canonlab.training.config import TaskConfig
from canonlab.training.loop import evaluate_checkpoint, train
from canonlab.training.metrics_log import read_metrics
from canonlab.training.optimizer import learning_rate
from canonlab.training.run import create_run, open_run, open_trained
from tiny_runs import Recorder, edit, tiny_config


def without_speed(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in r.items() if k != "tokens_per_second"} for r in read_metrics(folder / "metrics.jsonl")]


def test_a_run_writes_what_the_contract_says(folder: Path, recorder: Recorder) -> None:
    run = create_run(tiny_config(), folder)
    result = train(run, recorder, "the command")
    assert read_json(folder / "result.json") == result
    assert result["identity"] == run.plan.identity
    assert result["command"] == "the command"
    assert result["cost"]["tokens"] == 12 * 4 * 28
    kinds = [(r["kind"], r["step"]) for r in read_metrics(folder / "metrics.jsonl")]
    assert [s for k, s in kinds if k == "train"] == [2, 4, 6, 8, 10, 12]
    assert [s for k, s in kinds if k == "eval"] == [6, 12]
    task, digest = run.plan.task, DATA_HASH_START
    for index in range(48):
        digest = extend_data_hash(digest, *task.windows(0, index, 1))
    assert result["data_sha256"] == digest.hex()
    assert [len(s["environment"]) > 3 for s in json.loads((folder / "environment.json").read_text())["sessions"]] == [
        True
    ]
    assert {p.name for p in (folder / "checkpoints").iterdir()} == {"last.safetensors", "best.safetensors"}


def test_a_finished_run_is_not_run_again(folder: Path, recorder: Recorder) -> None:
    first = train(create_run(tiny_config(), folder), recorder)
    again = Recorder()
    assert train(create_run(tiny_config(), folder), again) == first
    assert again.records == []


def test_the_loop_is_the_plain_loop(folder: Path, recorder: Recorder) -> None:
    """The slow twin: AdamW written out, loss over all positions, microbatches and masking left out."""
    config = tiny_config(steps=3, microbatch=2, clip=0.5)
    run = create_run(config, folder)
    train(run, recorder)
    model = run.plan.decoder.build(0)
    mean = {n: torch.zeros_like(p) for n, p in model.named_parameters()}
    square = {n: torch.zeros_like(p) for n, p in model.named_parameters()}
    for step in range(3):
        tokens, mask = (torch.from_numpy(a.astype(np.int64)) for a in run.plan.task.windows(0, 4 * step, 4))
        losses = F.cross_entropy(model(tokens).logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        model.zero_grad()
        ((losses * mask[:, 1:].flatten()).sum() / mask[:, 1:].sum()).backward()
        norm = sum(p.grad.square().sum() for p in model.parameters() if p.grad is not None) ** 0.5
        rate = learning_rate(step, config.training)
        for name, p in model.named_parameters():
            assert p.grad is not None
            gradient = p.grad * min(1.0, 0.5 / (float(norm) + 1e-6))
            mean[name] = 0.9 * mean[name] + 0.1 * gradient
            square[name] = 0.98 * square[name] + 0.02 * gradient**2
            decay = 0.03 if p.ndim > 1 else 0.0
            corrected = mean[name] / (1 - 0.9 ** (step + 1))
            scale = (square[name] / (1 - 0.98 ** (step + 1))).sqrt() + 1e-6
            p.data = p.data * (1 - rate * decay) - rate * corrected / scale
    tensors = SafetensorsStore(folder / "checkpoints").load("last", run.identity).tensors  # type: ignore[union-attr]
    for name, p in model.named_parameters():
        torch.testing.assert_close(tensors[f"model/{name}"], p.data, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("stop_at", [2, 6, 10])
def test_a_signal_saves_and_resuming_gives_the_same_bits(folder: Path, tmp_path: Path, stop_at: int) -> None:
    whole = train(create_run(tiny_config(), tmp_path / "whole"), Recorder())

    def interrupt(record: dict[str, Any]) -> None:
        if record["step"] == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    run = create_run(tiny_config(), folder)
    with pytest.raises(Interrupted, match="canonlab resume"):
        train(run, Recorder(interrupt))
    assert not run.done
    second = Recorder()
    result = train(open_run(folder), second)
    assert second.first in (stop_at, stop_at + 1)
    assert result["weights_sha256"] == whole["weights_sha256"]
    assert result["data_sha256"] == whole["data_sha256"]
    assert result["evaluation"] == whole["evaluation"]
    assert result["best"] == whole["best"]
    assert without_speed(folder) == without_speed(tmp_path / "whole")


def test_a_model_with_canons_variants_resumes_too(folder: Path, tmp_path: Path) -> None:
    words = {"canon_dynamic": True, "canon_gate": True, "canon_layers": "1", "canon_across": True}
    config = dataclasses.replace(tiny_config(), model=ModelConfig("llama-rope,gla", "3L16D2H", "ABCD", **words))
    whole = train(create_run(config, tmp_path / "whole"), Recorder())

    def interrupt(record: dict[str, Any]) -> None:
        if record["step"] == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train(create_run(config, folder), Recorder(interrupt))
    assert train(open_run(folder), Recorder())["weights_sha256"] == whole["weights_sha256"]


@pytest.mark.parametrize(("keep", "writes"), [("final", 0), ("final", 1), ("best", 0), ("best", 1), ("best", 2)])
def test_killed_while_only_weights_are_kept_a_run_still_ends_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str, writes: int
) -> None:
    """Killed at each write after the last step: of either checkpoint's weights alone, and of result.json."""
    config = tiny_config()
    whole = train(create_run(config, tmp_path / "whole"), Recorder(), keep=keep)

    class Killed(BaseException):
        pass

    left, thinning = writes, False
    save, thin = SafetensorsStore.save, SafetensorsStore.thin

    def thinned(store: SafetensorsStore, *arguments: Any) -> None:
        nonlocal thinning
        thinning = True
        thin(store, *arguments)
        raise Killed

    def saved(store: SafetensorsStore, *arguments: Any) -> None:
        nonlocal left
        if thinning and left == 0:
            (store.folder / ".last.safetensors.1.1").write_bytes(b"half")
            raise Killed
        left -= thinning
        save(store, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(SafetensorsStore, "thin", thinned)
        patch.setattr(SafetensorsStore, "save", saved)
        with pytest.raises(Killed):
            train(create_run(config, folder), Recorder(), keep=keep)
    assert not open_run(folder).done
    result = train(open_run(folder), Recorder(), keep=keep)
    assert result["weights_sha256"] == whole["weights_sha256"] and result["evaluation"] == whole["evaluation"]
    for name in ("checkpoints", "."):
        assert {p.name for p in (folder / name).iterdir()} == {p.name for p in (tmp_path / "whole" / name).iterdir()}


def test_divergence_stops_and_keeps_the_last_good_checkpoint(folder: Path, recorder: Recorder) -> None:
    run = create_run(tiny_config(steps=40, lr=1e30, clip=0.0, warmup=0, log_every=1), folder)
    with pytest.raises(Diverged, match="not finite at step"):
        train(run, recorder)
    assert not run.done
    diverged = run.diverged
    assert diverged and 0 < diverged["step"] <= 40 and diverged["reason"] == "the loss or its gradient is not finite"
    checkpoint = SafetensorsStore(folder / "checkpoints").load("last", run.identity)
    if checkpoint is not None:
        assert all(torch.isfinite(t).all() for n, t in checkpoint.tensors.items() if n.startswith("model/"))


def test_another_attempt_removes_the_record_of_divergence(folder: Path, recorder: Recorder) -> None:
    run = create_run(tiny_config(), folder)
    (folder / "diverged.json").write_text('{"format": 1, "step": 5, "reason": "the loss is not finite"}')
    assert run.diverged == {"step": 5, "reason": "the loss is not finite"}
    train(open_run(folder), recorder)
    assert run.diverged is None and run.done


def test_training_learns(folder: Path, recorder: Recorder) -> None:
    result = train(create_run(tiny_config(steps=150, eval_every=50, batch=16), folder), recorder)
    losses = [r["loss"] for r in recorder.records if r["kind"] == "train"]
    assert losses[-1] < 0.5 * losses[0]
    assert result["evaluation"]["metrics"]["token_accuracy"]["value"] > 0.6


def test_evaluating_a_checkpoint_repeats_the_result(folder: Path, recorder: Recorder) -> None:
    run = create_run(tiny_config(), folder)
    result = train(run, recorder)
    trained = open_trained(folder)
    found, step = evaluate_checkpoint(trained, "last", 8, None)
    assert step == 12
    assert found.plain() == result["evaluation"]
    with pytest.raises(InputError, match="did you mean 'best'"):
        evaluate_checkpoint(trained, "bst", 8, None)


def test_isolated_instances_change_the_loss_only_behind_the_first(folder: Path, tmp_path: Path) -> None:
    first = Recorder(), Recorder()
    train(create_run(tiny_config(steps=1, log_every=1), folder), first[0])
    train(create_run(tiny_config(steps=1, log_every=1, isolate=True), tmp_path / "isolated"), first[1])
    losses = [r.records[0]["loss"] for r in first]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_instances_are_isolated_by_the_separator_of_their_task(folder: Path, tmp_path: Path) -> None:
    """Capo's windows are packed as well, and have no <bos>."""
    first = Recorder(), Recorder()
    for isolate in (False, True):
        config = tiny_config(steps=1, log_every=1, eval_windows=2, final_windows=2, isolate=isolate)
        config = dataclasses.replace(config, task=TaskConfig("capo", {"N": 8, "context": 256}))
        train(create_run(config, tmp_path / str(isolate)), first[isolate])
    losses = [r.records[0]["loss"] for r in first]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_evaluation_isolates_what_training_isolated(folder: Path, recorder: Recorder) -> None:
    """Copy packs instances; this attention can look back at the token after the same one, but not across instances."""
    config = tiny_config(steps=40, lr=0.03, isolate=True)
    result = train(create_run(config, folder), recorder)
    trained = open_trained(folder)
    found, _ = evaluate_checkpoint(trained, "last", 8, None)
    assert found.plain() == result["evaluation"]
    checkpoint = SafetensorsStore(folder / "checkpoints").load("last", trained.identity)
    model, task = trained.decoder.build().eval(), trained.task
    assert checkpoint
    restore_model(checkpoint.tensors, model)
    first = task.separator_id

    def isolated(ids: torch.Tensor) -> torch.Tensor:
        starts = [0, *(at for at in range(1, ids.shape[1]) if ids[0, at] == first), ids.shape[1]]
        return torch.cat([model(ids[:, i:j]).logits for i, j in itertools.pairwise(starts)], dim=1)

    def seeing(ids: torch.Tensor) -> torch.Tensor:
        return model(ids).logits

    def shares(evaluation: dict[str, Any]) -> dict[str, Any]:
        return {name: metric for name, metric in evaluation["metrics"].items() if name != "loss"}

    alone = task.evaluate(isolated, seed=0, windows=8, batch=1)
    assert shares(alone.plain()) == shares(result["evaluation"])
    assert alone.metrics["loss"].value == pytest.approx(result["evaluation"]["metrics"]["loss"]["value"], rel=1e-4)
    assert shares(task.evaluate(seeing, seed=0, windows=8).plain()) != shares(result["evaluation"])


def test_a_second_ctrl_c_stops_at_once_and_the_last_checkpoint_is_whole(folder: Path, tmp_path: Path) -> None:
    whole = train(create_run(tiny_config(), tmp_path / "whole"), Recorder())

    def interrupt(record: dict[str, Any]) -> None:
        if record["step"] == 6:  # the last checkpoint is of step 4
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(create_run(tiny_config(), folder), Recorder(interrupt))
    assert signal.getsignal(signal.SIGINT) is before
    second = Recorder()
    assert train(open_run(folder), second)["weights_sha256"] == whole["weights_sha256"] and second.first == 4


def test_many_sigterms_are_one(folder: Path) -> None:
    def interrupt(record: dict[str, Any]) -> None:
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted, match="stopped at step [23] of 12; go on with: canonlab resume"):
        train(create_run(tiny_config(), folder), Recorder(interrupt))


def test_another_environment_is_recorded_and_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(record: dict[str, Any]) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train(create_run(tiny_config(), folder), Recorder(interrupt))
    edit(folder / "environment.json", lambda file: file["sessions"][0]["environment"].update(torch="2.10.0"))
    second = Recorder()
    train(open_run(folder), second)
    assert any("torch 2.10.0 -> " in message for message in second.messages)
    assert len(json.loads((folder / "environment.json").read_text())["sessions"]) == 2


def test_the_best_checkpoint_is_that_of_the_metric_asked_for(folder: Path, recorder: Recorder) -> None:
    config = tiny_config(steps=40, lr=0.03, metric="loss")
    result = train(create_run(config, folder), recorder)
    losses = {r["step"]: r["metrics"]["loss"]["value"] for r in recorder.records if r["kind"] == "eval"}
    step = min(losses, key=lambda at: losses[at])
    assert result["best"] == {"step": step, "metric": "loss", "value": losses[step]}
    assert result["evaluation"]["headline"] == ["loss", "token_accuracy"]


def test_a_metric_that_the_task_lacks_is_refused_before_there_is_a_folder(folder: Path) -> None:
    with pytest.raises(InputError, match="unknown metric 'accuracy_k4'.*allowed: .*token_accuracy"):
        create_run(tiny_config(metric="accuracy_k4"), folder)
    with pytest.raises(InputError, match="unknown metric 'accuracy_k4'"):
        create_run(tiny_config(metric="area_accuracy_k4"), folder)
    with pytest.raises(InputError, match="unknown metric 'auto'"):
        create_run(tiny_config(metric="area_auto"), folder)
    with pytest.raises(InputError, match="metric = area_loss: is over .* two or more; eval_every = 12 makes one in 12"):
        create_run(tiny_config(metric="area_loss", steps=12, eval_every=12), folder)
    assert not folder.exists()


@pytest.mark.parametrize("keep", ["final", "best"])
def test_a_best_checkpoint_that_is_not_to_be_kept_is_never_written(folder: Path, keep: str) -> None:
    written = set()

    class Watch(Recorder):
        def record(self, record: dict[str, Any]) -> None:
            written.update(path.name for path in (folder / "checkpoints").glob("*.safetensors"))
            super().record(record)

    result = train(create_run(tiny_config(steps=40, lr=0.03, eval_every=5, metric="loss"), folder), Watch(), keep=keep)
    assert ("best.safetensors" in written) == (keep == "best") and result["best"]["metric"] == "loss"
