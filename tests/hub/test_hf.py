"""Decoders as models of transformers: the same logits, cached generation, padding, loss, devices, code of their own."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("transformers", reason="transformers is not installed: make test-hub")

from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)

from canonlab.errors import InputError
from canonlab.hub import export, import_published, load_published, to_transformers
from canonlab.hub.modeling import CanonlabConfig, CanonlabForCausalLM
from canonlab.hub.tokenizer import tokenizer_files
from canonlab.models.config import ModelConfig
from canonlab.models.generate import generate
from canonlab.models.moe import dropped_share
from canonlab.tasks.catalog import TASKS, build_task
from canonlab.training.loop import train
from canonlab.training.run import create_run
from plain_checkpoints import logits, random_tensors, shapes, write_published
from tiny_models import MODELS, SIZE, VOCABULARY, decoder, ids, imported
from tiny_runs import Recorder, tiny_config

NEW = {"max_new_tokens": 8, "do_sample": False}


@pytest.mark.parametrize("name", MODELS)
def test_generation_with_and_without_the_state(name: str) -> None:
    """Greedy, by beams, drawn; also in a batch with padding on the left, beside prompts alone."""
    model = to_transformers(decoder(MODELS[name]).double())
    prompts = ids()
    for how in (NEW, {**NEW, "num_beams": 3}):
        assert torch.equal(model.generate(prompts, **how), model.generate(prompts, **how, use_cache=False))
    drawn = []
    for cached in (True, False):
        torch.manual_seed(0)
        drawn.append(model.generate(prompts, max_new_tokens=8, do_sample=True, use_cache=cached))
    assert torch.equal(*drawn)
    lengths = [9, 5, 2]
    mask = torch.tensor([[0] * (9 - length) + [1] * length for length in lengths])
    padded = model.generate(prompts, attention_mask=mask, **NEW)[:, 9:].tolist()
    alone = [model.generate(row[None, -n:], **NEW)[0, n:].tolist() for row, n in zip(prompts, lengths, strict=True)]
    assert padded == alone
    assert padded == generate(model.model, [row[-n:].tolist() for row, n in zip(prompts, lengths, strict=True)], 8)


@pytest.mark.parametrize("name", MODELS)
def test_logits_in_forwards_of_any_length(name: str) -> None:
    """The state grows beyond the room that it begins with, and can be gone on with by `generate`."""
    model = to_transformers(decoder(MODELS[name]).double())
    row = ids(2, 150)
    with torch.no_grad():
        whole = model.model(row).logits
        assert torch.equal(model(row, use_cache=False).logits, whole)
        cache, parts = None, []
        for part in row.split([1, 2, 70, 1, 76], dim=1):
            output = model(part, cache=cache)
            cache = output.cache
            parts.append(output.logits)
        assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-9)
        assert torch.allclose(model(row, logits_to_keep=2, use_cache=False).logits, whole[:, -2:], atol=1e-9)
        kept = model(row, logits_to_keep=torch.tensor([0, 7]), use_cache=False).logits
        assert torch.allclose(kept, whole[:, [0, 7]], atol=1e-9)
        assert cache is not None and cache.get_seq_length() == 150
        more = torch.cat([row, ids(2, 3)], dim=1)
        assert torch.equal(model.generate(more, cache=cache, **NEW), model.generate(more, **NEW))


def test_padding_changes_nothing() -> None:
    model = to_transformers(decoder(MODELS["hybrid"]))
    row = ids(1, 6)
    with pytest.raises(ValueError, match="output_hidden_states: this model doesn't take it"):
        model(row, output_hidden_states=True)
    with torch.no_grad():
        alone = model(row, output_hidden_states=False).logits
        for left in (0, 3):
            batch = torch.cat([ids(1, left), row, ids(1, 3 - left)], dim=1)
            mask = torch.tensor([[0] * left + [1] * 6 + [0] * (3 - left)])
            other = torch.cat([batch, ids(1, 9)]), torch.cat([mask, torch.ones_like(mask)])
            found = model(other[0], attention_mask=other[1]).logits[:1, left : left + 6]
            assert torch.allclose(found, alone, atol=1e-5)
        with pytest.raises(ValueError, match=r"attention_mask has the shape \(1, 5\): must be \(batch, 6 or more\)"):
            model(row, attention_mask=torch.ones(1, 5))


@pytest.mark.parametrize("name", ["llama-rope-ABCD", "llama-moe-AC", "hybrid"])
def test_the_loss_of_labels_is_plain_cross_entropy(name: str) -> None:
    model = to_transformers(decoder(MODELS[name]))
    row = ids()
    labels = row.masked_fill(torch.arange(9) < 2, -100)
    output = model(row, labels=labels)
    plain = F.cross_entropy(model.model(row).logits[:, 1:-1].flatten(0, 1), row[:, 2:].flatten())
    assert torch.allclose(output.loss, plain, atol=1e-6) and output.cache is None
    pair = model(row, labels=labels, return_dict=False)
    assert torch.equal(pair[0], output.loss) and torch.equal(pair[1], output.logits)
    model.train()
    training = model(row, labels=labels)
    training.loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    found = model.model(row)
    expected = F.cross_entropy(found.logits[:, 1:-1].flatten(0, 1), row[:, 2:].flatten()) + (found.auxiliary or 0)
    assert torch.allclose(training.loss, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["llama-rope", "llama-moe-AC", "hybrid", "gpt2-original"])
def test_saved_loaded_and_brought_back(name: str, tmp_path: Path) -> None:
    """An export by the Auto classes, saved anew by transformers, imported again."""
    out = tmp_path / "out"
    export(imported(tmp_path / "model", MODELS[name]), out)
    config = AutoConfig.from_pretrained(out)
    assert isinstance(config, CanonlabConfig) and config.architecture() == MODELS[name].decoder(VOCABULARY)
    model = AutoModelForCausalLM.from_pretrained(out)
    assert isinstance(model, CanonlabForCausalLM) and not model.training
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == MODELS[name].tied
    original = load_published(tmp_path / "model")
    assert all(torch.equal(t, model.state_dict()[f"model.{key}"]) for key, t in original.state_dict().items())
    model.save_pretrained(tmp_path / "again", max_shard_size="20KB")
    assert len(list((tmp_path / "again").glob("model-*.safetensors"))) > 1
    about = import_published(tmp_path / "again", tmp_path / "back")
    assert about["weights_sha256"] == json.loads((tmp_path / "model" / "model.json").read_text())["weights_sha256"]
    with torch.no_grad():
        assert torch.allclose(model(ids()).logits, original(ids()).logits, atol=1e-4)
        share = dropped_share(model)
        assert share is None or share == 0


@pytest.mark.parametrize(
    ("family", "params"),
    [
        ("Llama", {"dim": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "canon_set": "ABCD", "rope_dim": 4}),
        ("Mamba2", {"dim": 32, "n_layers": 2, "n_heads": 2, "canon_set": "AbbCD", "mamba_ssm": 8}),
    ],
)
def test_a_published_checkpoint_goes_through(family: str, params: dict[str, Any], tmp_path: Path) -> None:
    """Imported, exported, loaded: the logits of a plain reading of the published files."""
    tensors = random_tensors(shapes(family, params, VOCABULARY))
    write_published(tmp_path / "published", params, tensors)
    import_published(tmp_path / "published", tmp_path / "imported")
    for source in ("published", "imported"):
        export(tmp_path / source, tmp_path / f"{source}-out")
        model = AutoModelForCausalLM.from_pretrained(tmp_path / f"{source}-out").double()
        found = model(ids(1)).logits[0]
        assert (found - logits(family, params, tensors, ids(1)[0])).abs().max() < 1e-11 < found.std()


@pytest.mark.parametrize("name", ["hybrid", "hybrid-shared"])
def test_on_devices_and_a_disk(name: str, tmp_path: Path) -> None:
    """Of hybrid-shared the third block needs what the first one leaves."""
    pytest.importorskip("accelerate", reason="accelerate is not installed: make test-hub")
    out = tmp_path / "out"
    export(imported(tmp_path / "model", MODELS[name]), out)
    decoder = load_published(tmp_path / "model")
    expected = to_transformers(decoder).generate(ids(), **NEW)
    parts = [*("embedding", "norm", "head"), *(f"blocks.{layer}" for layer in range(len(decoder.blocks)))]
    for places in ("", "cpu", "disk"):
        on_disk = {f"model.blocks.{layer}": places for layer in (0, 2)}
        device_map = {**{f"model.{part}": "cpu" for part in parts}, **on_disk} if places else {"": "cpu"}
        model = AutoModelForCausalLM.from_pretrained(out, device_map=device_map, offload_folder=tmp_path / "disk")
        assert torch.equal(model.generate(ids(), **NEW), expected)
    half = AutoModelForCausalLM.from_pretrained(out, dtype=torch.bfloat16)
    with torch.no_grad():
        found, wanted = half(ids()).logits.float(), load_published(out)(ids()).logits
    assert (found - wanted).norm() < 0.1 * wanted.norm()


def test_a_new_model_begins_as_a_decoder_does_and_lacks_nothing(tmp_path: Path) -> None:
    config = to_transformers(decoder(MODELS["gdn-wide-ABCD"])).config
    torch.manual_seed(5)
    new = AutoModelForCausalLM.from_config(config)
    own = MODELS["gdn-wide-ABCD"].decoder(VOCABULARY).build(seed=5)
    assert all(torch.equal(one, other) for one, other in zip(new.model.parameters(), own.parameters(), strict=True))
    new.save_pretrained(tmp_path)
    larger = copy.deepcopy(new)
    larger.resize_token_embeddings(VOCABULARY + 3)
    assert larger(ids()).logits.shape[-1] == larger.config.vocab_size == VOCABULARY + 3
    state = {key: tensor for key, tensor in new.state_dict().items() if "A_log" not in key}
    with pytest.raises(ValueError, match="the checkpoint lacks weights of a GatedDeltaNet"):
        CanonlabForCausalLM.from_pretrained(None, config=config, state_dict=state)


def test_adapters_train() -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed: make test-hub")
    model = to_transformers(decoder(MODELS["hybrid"]))
    before = model(ids()).logits
    adapted = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["qkv", "in_proj"]))
    assert torch.allclose(adapted(input_ids=ids()).logits, before, atol=1e-6)
    adapted(input_ids=ids(), labels=ids()).loss.backward()
    assert {p.grad is None for n, p in adapted.named_parameters() if "lora_" in n} == {False}
    assert adapted.generate(input_ids=ids(), **NEW).shape == (3, 17)


def test_what_the_trainer_saves_comes_back(tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="accelerate is not installed: make test-hub")
    export(imported(tmp_path / "model", MODELS["hybrid"]), tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen and all("canon" in name for name in frozen)
    data = [{"input_ids": row, "labels": row, "attention_mask": torch.ones_like(row)} for row in ids(8, 12)]
    settings = TrainingArguments(
        str(tmp_path), max_steps=2, save_steps=2, learning_rate=0.01, use_cpu=True, report_to=[]
    )
    Trainer(model=model, args=settings, train_dataset=data).train()
    back, before = (load_published(tmp_path / name).state_dict() for name in ("checkpoint-2", "out"))
    changed = {f"model.{name}" for name, tensor in before.items() if not torch.equal(tensor, back[name])}
    assert changed == {f"model.{name}" for name in before} - frozen
    assert all(torch.equal(tensor, back[name.removeprefix("model.")]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", ["brevo1", "capo", "copy", "depo", "lano-cfg3f", "mano"])
def test_a_tokenizer_has_the_vocabulary(name: str, tmp_path: Path) -> None:
    assert name in TASKS
    task = build_task(name)
    for file, content in tokenizer_files(task).items():
        (tmp_path / file).write_text(json.dumps(content))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert len(tokenizer) == len(task.vocabulary)
    every = list(range(len(task.vocabulary)))
    text = task.vocabulary.decode(every)
    assert tokenizer(text).input_ids == every and tokenizer.decode(every) == text
    assert tokenizer.padding_side == "left" and tokenizer.bos_token_id == task.separator_id
    with pytest.raises(Exception, match="(?i)unk"):
        tokenizer("no-such-word")


ALONE = """
import json, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "canonlab":
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Blocked())
sys.modules["numba"] = None
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline
first, second, prompt = sys.argv[1:]
write = pipeline("text-generation", model=first, trust_remote_code=True)
written = write([prompt + " ", prompt], max_new_tokens=4, do_sample=False, batch_size=2)
texts = [each[0]["generated_text"] for each in written]
ids = torch.tensor([[0, 2, 3, 4, 5]])
logits = [AutoModelForCausalLM.from_pretrained(f, trust_remote_code=True)(ids).logits.tolist() for f in (first, second)]
assert not [name for name in sys.modules if name.partition(".")[0] == "canonlab"]
print("found", json.dumps([texts, logits]))
"""


def test_where_canonlab_is_not_installed(tmp_path: Path) -> None:
    """A pipeline on a run's export, and a second export in the same process, whose operators have their own names."""
    run = tmp_path / "run"
    train(create_run(tiny_config(), run), Recorder(), "")
    export(run, tmp_path / "first.one")
    export(imported(tmp_path / "model", MODELS["hybrid-shared"]), tmp_path / "second")
    first, second = tmp_path / "first.one", tmp_path / "second"
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", ALONE, str(first), str(second), "<bos> 1 2 3 <query>"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    texts, both = json.loads(done.stdout.partition("found ")[2])
    own = load_published(first)
    (answer,) = generate(own, [[0, 2, 3, 4, 1]], 4)
    words = AutoTokenizer.from_pretrained(first).decode(answer, skip_special_tokens=True)
    assert texts == [f"<bos> 1 2 3 <query> {words}", f"<bos> 1 2 3 <query>{words}"]
    for folder, found in zip((first, second), both, strict=True):
        expected = load_published(folder)(torch.tensor([[0, 2, 3, 4, 5]])).logits
        assert torch.allclose(torch.tensor(found), expected, atol=1e-5)


def test_without_transformers(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"pip install 'canonlab\[transformers\]'"):
        to_transformers(decoder(ModelConfig("gla", SIZE)))
