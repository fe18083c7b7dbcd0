"""lm-evaluation-harness, offline, on tasks written here: scores are those of the model's own logits and words."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

pytest.importorskip("transformers", reason="transformers is not installed: make test-hub")
pytest.importorskip("lm_eval", reason="lm_eval is not installed: make test-hub")

from transformers import LlamaConfig, LlamaForCausalLM

from canonlab.errors import InputError
from canonlab.hub import export, load_published
from canonlab.hub.harness import lm_eval, rows
from canonlab.hub.tokenizer import tokenizer_files
from canonlab.models.decoder import Decoder
from canonlab.models.generate import generate
from canonlab.tasks.catalog import build_task
from canonlab.training.loop import train
from canonlab.training.run import create_run
from commands import Cli
from tiny_models import MODELS, VOCABULARY, imported
from tiny_runs import Recorder, tiny_config

TASK = build_task("copy", {"N": 6, "context": 28})
PROMPTS = ["<bos> 3 1 2 <query>", "<bos> 1 <query> 1", "<bos> 6 5 4 3 2 1", "<bos> 2"]
CHOICES = ["1 2", "3", "4 <query> 5 6"]


def encoded(text: str) -> list[int]:
    return [TASK.vocabulary.id(word) for word in text.split()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(create_run(tiny_config(), folder), Recorder(), "")
    return folder


@pytest.fixture(scope="module")
def exported(run: Path) -> Path:
    export(run, run.parent / "export")
    return run.parent / "export"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def likeliest(model: Decoder, prompt: str) -> int:
    """The choice whose tokens have the largest probability together."""
    scores = []
    for choice in CHOICES:
        given, said = encoded(prompt), encoded(choice)
        shares = model(torch.tensor([given + said])).logits[0].log_softmax(-1)
        scores.append(sum(shares[len(given) - 1 + i, token].item() for i, token in enumerate(said)))
    return scores.index(max(scores))


def write_tasks(folder: Path, model: Decoder) -> Path:
    """A task of choices and one of writing: right in all cases but the first, if the harness sees what we see."""
    folder.mkdir()
    written = generate(model, [encoded(prompt) for prompt in PROMPTS], 4, TASK.separator_id)
    lines = []
    for row, prompt in enumerate(PROMPTS):
        text = TASK.vocabulary.decode(token for token in written[row] if token != TASK.separator_id)
        gold = (likeliest(model, prompt) + (row == 0)) % len(CHOICES)
        lines.append({"text": prompt, "gold": gold, "written": f"{text} 6" if row == 0 else text})
    (folder / "data.json").write_text("\n".join(map(json.dumps, lines)))
    data = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "data.json")}},
        "test_split": "test",
        "doc_to_text": "text",
    }
    choose = {"output_type": "multiple_choice", "doc_to_choice": CHOICES, "doc_to_target": "gold"}
    write = {
        "output_type": "generate_until",
        "doc_to_target": "written",
        "generation_kwargs": {"until": ["<bos>"], "max_gen_toks": 4, "do_sample": False},
    }
    exact = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}
    for name, more, metric in (("my_choices", choose, {"metric": "acc"}), ("my_words", write, exact)):
        task = {"task": name, **data, **more, "metric_list": [metric]}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(task))
    return folder


@pytest.mark.parametrize("kind", ["run", "exported"])
def test_scores_are_the_models_own(kind: str, request: Any, exported: Path, tmp_path: Path, monkeypatch: Any) -> None:
    seen = []
    forward = Decoder.forward

    def watched(self: Decoder, ids: torch.Tensor, *args: Any) -> Any:
        seen.append((ids.shape[1], args[1] is not None))
        return forward(self, ids, *args)

    include = write_tasks(tmp_path / "tasks", load_published(exported))
    monkeypatch.setattr(Decoder, "forward", watched)
    found = lm_eval(request.getfixturevalue(kind), ["my_choices", "my_words"], include=include, batch=3)
    assert found["results"]["my_choices"]["acc,none"] == found["results"]["my_words"]["exact_match,none"] == 0.75
    assert [(row["task"], row["metric"], row["value"], row["documents"]) for row in rows(found)] == [
        ("my_choices", "acc", "0.7500", 4),
        ("my_words", "exact_match", "0.7500", 4),
    ]
    assert seen.count((1, True)) >= 3, "words are decoded with a state, a token at a time"


def test_the_command(exported: Path, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    include = write_tasks(tmp_path / "tasks", load_published(exported))
    cli = Cli(monkeypatch, capsys)
    words = f"lm-eval {exported} --tasks my_choices --include-path {include} --limit 2 --device cpu"
    status, out, error = cli(f"{words} --batch-size 1 --out {tmp_path / 'found.json'}")
    assert status == 0, error
    assert all(word in out for word in ("my_choices", "acc", "0.5000", "stderr"))
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["results"]["my_choices"]["acc,none"] == 0.5
    assert found["n-samples"]["my_choices"] == {"original": 4, "effective": 2}
    assert "Traceback" not in error
    for more, says in {
        "--tasks my_chioces": "unknown task 'my_chioces'; did you mean 'my_choices'",
        "--tasks my_choices --limit 0": "limit = 0: must be an integer of at least 1",
        "--tasks my_choices --batch-size 0": "batch_size = 0",
        "--tasks my_choices --include-path nowhere": "include_path = 'nowhere': must be a folder",
        "--tasks my_choices --out .": "out = '.': is a folder; name a file",
        "--tasks my_choices --checkpoint lst": "did you mean 'last'",
        "--tasks my_choices --device gpu": "unknown device 'gpu'",
    }.items():
        status, out, error = cli(f"lm-eval {exported} --include-path {include} {more}")
        assert status == 2 and says in error and error.count("\n") == 1, error


def test_a_checkpoint_of_transformers(exported: Path, tmp_path: Path) -> None:
    config = LlamaConfig(
        vocab_size=len(TASK.vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    include = write_tasks(tmp_path / "tasks", load_published(exported))
    for name, content in tokenizer_files(TASK).items():
        (tmp_path / "llama" / name).write_text(json.dumps(content))
    found = lm_eval(tmp_path / "llama", ["my_choices", "my_words"], include=include)
    assert found["n-samples"]["my_words"] == {"original": 4, "effective": 4}


def test_an_import_needs_a_tokenizer(exported: Path, tmp_path: Path) -> None:
    include = write_tasks(tmp_path / "tasks", load_published(exported))
    folder = imported(tmp_path / "model", MODELS["gla"])
    assert len(TASK.vocabulary) <= VOCABULARY
    with pytest.raises(InputError, match="has no tokenizer; name a folder with one: --tokenizer DIR"):
        lm_eval(folder, ["my_choices"], include=include)
    found = lm_eval(folder, ["my_choices"], include=include, tokenizer=exported, limit=1)
    assert found["n-samples"]["my_choices"]["effective"] == 1


def test_what_fails_is_one_line(exported: Path, tmp_path: Path, monkeypatch: Any) -> None:
    include = write_tasks(tmp_path / "tasks", load_published(exported))
    (include / "data.json").write_text(json.dumps({"text": "no such words", "gold": 0, "written": ""}))
    with pytest.raises(InputError, match="tasks = my_choices: can't be evaluated .*"):
        lm_eval(exported, ["my_choices"], include=include)
    with pytest.raises(InputError, match="has no weights"):
        lm_eval(tmp_path, ["my_choices"], include=include)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(InputError, match=r"needs lm_eval, which isn't installed: pip install 'canonlab\[lm-eval\]'"):
        lm_eval(exported, ["my_choices"], include=include)
