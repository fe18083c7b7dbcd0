"""Low-rank updates: what is trained, that merged weights are the same model, and that such runs are like others."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from canonlab.errors import InputError, Interrupted
from canonlab.models.config import ModelConfig
from canonlab.models.decoder import Decoder
from canonlab.training.checkpoint import SafetensorsStore
from canonlab.training.config import RunConfig, StartConfig
from canonlab.training.loop import evaluate_checkpoint, train
from canonlab.training.lora import SCALE, adapt, adapted, merged
from canonlab.training.plan import plan_run
from canonlab.training.run import create_run, open_run, open_trained
from tiny_runs import Recorder, tiny_config

VOCABULARY = 40
MODELS = ["gpt2-original", "llama-rope", "mla", "gla", "gdn", "mamba2", "mamba3", "kda", "rwkv7", "llama-moe"]


def test_updates_are_merged_into_weights() -> None:
    draw = torch.Generator().manual_seed(0)
    shapes = {
        "model/a.base_layer.weight": (3, 4),
        "model/a.base_layer.bias": (3,),
        "model/a.lora_A.default.weight": (2, 4),
        "model/a.lora_B.default.weight": (3, 2),
        "model/embedding.base_layer.weight": (5, 4),
        "model/embedding.lora_embedding_A.default": (2, 5),
        "model/embedding.lora_embedding_B.default": (4, 2),
        "model/head.weight": (5, 4),
        "model/norm.weight": (4,),
    }
    tensors = {key: torch.randn(shape, generator=draw) for key, shape in shapes.items()}
    assert adapted(tensors)
    for tied in (False, True):
        found = merged(tensors, tied)
        ours = {"a.weight", "a.bias", "embedding.weight", "head.weight", "norm.weight"}
        assert found.keys() == {f"model/{name}" for name in ours} and not adapted(found)
        a, b = tensors["model/a.lora_A.default.weight"], tensors["model/a.lora_B.default.weight"]
        assert torch.allclose(found["model/a.weight"], tensors["model/a.base_layer.weight"] + SCALE * b @ a)
        one, other = (tensors[f"model/embedding.lora_embedding_{factor}.default"] for factor in "AB")
        embedding = tensors["model/embedding.base_layer.weight"] + SCALE * (other @ one).T
        assert torch.allclose(found["model/embedding.weight"], embedding)
        assert torch.equal(found["model/head.weight"], found["model/embedding.weight"]) == tied
        assert torch.equal(found["model/a.bias"], tensors["model/a.base_layer.bias"])
        assert merged(found, tied) == found


def test_without_peft_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    train(create_run(tiny_config(), tmp_path / "a"), Recorder())
    with pytest.raises(InputError, match=r"LoRA needs peft, which isn't installed: pip install 'canonlab\[finetune\]'"):
        create_run(child(tmp_path / "a", lora=2), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def child(run: Path, **start: Any) -> RunConfig:
    return dataclasses.replace(tiny_config(lr=0.03), start=StartConfig(str(run), **start))


def built(model: str, tied: bool) -> Decoder:
    words = ModelConfig(model=model, size="2L32D2H", canon="original", tied=tied)
    return words.decoder(VOCABULARY).build(3)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_a_merged_model_is_the_adapted_one(model: str, tied: bool) -> None:
    pytest.importorskip("peft", reason="peft is not installed: make test-hub")
    plain, tuned = built(model, tied), built(model, tied)
    frozen = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    adapt(tuned, (3, 5), seed=1)
    ids = torch.randint(VOCABULARY, (2, 24), generator=torch.Generator().manual_seed(0))
    plain.eval(), tuned.eval()
    assert torch.equal(tuned(ids).logits, plain(ids).logits), "updates are 0 at first"
    trained = {name: p for name, p in tuned.named_parameters() if p.requires_grad}
    assert trained and all("lora_" in name for name in trained)
    updated = {name.partition(".lora_")[0] for name in trained}
    linear = {name for name, module in plain.named_modules() if isinstance(module, nn.Linear) and ".mixer." in name}
    unseen = {name for name in linear if name.endswith((".up_k", ".up_v"))}  # of MLA, which calls neither
    assert updated == {*linear - unseen, "embedding"} and bool(unseen) == (model == "mla")
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in trained.values():
            parameter.normal_(std=0.1)
    tuned(ids).logits.square().mean().backward()
    assert [name for name, p in trained.items() if p.grad is None or not p.grad.any()] == []
    state = merged(tuned.state_dict(), tied)
    changed = {name for name in frozen if not torch.equal(state[name], frozen[name])}
    assert changed == {f"{name}.weight" for name in updated} | ({"head.weight"} if tied else set())
    plain.load_state_dict(state)
    one, other = tuned(ids).logits, plain(ids).logits
    assert (other - one).abs().max() < 1e-5 * max(1, one.abs().max())


def test_only_updates_train_and_the_end_is_a_plain_model(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="peft is not installed: make test-hub")
    train(create_run(tiny_config(), tmp_path / "a"), Recorder())
    run = create_run(child(tmp_path / "a", lora=2, lora_embedding=3), tmp_path / "b")
    result = train(run, Recorder())
    first = SafetensorsStore(tmp_path / "a/checkpoints").load("last", open_run(tmp_path / "a").identity)
    for name in ("last", "best"):
        found = SafetensorsStore(tmp_path / "b/checkpoints").load(name, run.identity)
        assert first and found and found.weights_alone and found.tensors.keys() == first.weights.keys()
        changed = {key for key in first.weights if not torch.equal(first.tensors[key], found.tensors[key])}
        assert changed == {f"model/{key}.weight" for key in ("embedding", "blocks.0.mixer.qkv", "blocks.0.mixer.out")}
    evaluation, _ = evaluate_checkpoint(open_trained(tmp_path / "b"), "last", 8, None)
    assert evaluation.plain() == result["evaluation"]
    ranks = [plan_run(child(tmp_path / "a", lora=rank)).identity for rank in (0, 1, 2)]
    assert len({*ranks, run.identity}) == 4


@pytest.mark.parametrize("step", [2, 6, 12])
def test_it_resumes_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    pytest.importorskip("peft", reason="peft is not installed: make test-hub")
    train(create_run(tiny_config(), tmp_path / "a"), Recorder())
    config = child(tmp_path / "a", lora=2, lora_embedding=3)
    whole = train(create_run(config, tmp_path / "whole"), Recorder())
    run = create_run(config, tmp_path / "b")
    shutil.rmtree(tmp_path / "a")

    def stop(record: dict[str, Any]) -> None:
        if record["step"] >= step:
            raise Interrupted("", "")

    with pytest.raises(Interrupted):
        train(run, Recorder(stop))
    if step > 4:  # what there is so far can be evaluated
        assert evaluate_checkpoint(open_trained(tmp_path / "b"), "last", 4, None)[1] <= step
    again = train(open_run(tmp_path / "b"), Recorder())
    assert again["weights_sha256"] == whole["weights_sha256"] and again["evaluation"] == whole["evaluation"]


def test_a_kill_between_the_merged_checkpoints_and_the_result_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("peft", reason="peft is not installed: make test-hub")
    train(create_run(tiny_config(), tmp_path / "a"), Recorder())
    config = child(tmp_path / "a", lora=2)
    whole = train(create_run(config, tmp_path / "whole"), Recorder())
    save, saved = SafetensorsStore.save, list[str]()

    def once(self: SafetensorsStore, name: str, checkpoint: Any) -> None:
        save(self, name, checkpoint)
        saved.extend([name] * (checkpoint.weights_alone and name == "last"))
        if saved == ["last"]:
            raise Interrupted("", "")

    with monkeypatch.context() as context, pytest.raises(Interrupted):
        context.setattr(SafetensorsStore, "save", once)
        train(create_run(config, tmp_path / "b"), Recorder())
    again = train(open_run(tmp_path / "b"), Recorder())
    assert again["weights_sha256"] == whole["weights_sha256"] and again["evaluation"] == whole["evaluation"]
    for name in ("last", "best"):
        found = SafetensorsStore(tmp_path / "b/checkpoints").load(name, again["identity"])
        assert found and found.weights_alone
