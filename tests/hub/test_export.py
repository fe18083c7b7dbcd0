"""Models out of canonlab and back, without any library of others: bit-equal, or refused in one line."""

import ast
import dataclasses
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from canonlab.errors import InputError
from canonlab.files import read_json
from canonlab.hub import export, import_published, load_published
from canonlab.hub.bundle import bundle
from canonlab.hub.export import special_ids
from canonlab.models.config import ModelConfig
from canonlab.tasks.mixture import Mixture, Part
from canonlab.training.loop import train
from canonlab.training.run import create_run
from commands import Cli
from plain_checkpoints import write_shards
from tiny_models import MODELS, SIZE, VOCABULARY, ids, imported
from tiny_runs import MIXER, Recorder, edit, tiny_config, varied


@pytest.mark.parametrize("name", MODELS)
def test_out_and_back_bit_equal(name: str, tmp_path: Path) -> None:
    folder = imported(tmp_path / "model", MODELS[name])
    about = export(folder, tmp_path / "out")
    before, after = read_json(folder / "model.json"), import_published(tmp_path / "out", tmp_path / "back")
    assert {**after, "source": ""} == {key: {**before, "source": ""}[key] for key in after}
    assert after["parameters"] == about["parameters"]
    one, other = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "back"))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    models = [load_published(path) for path in (folder, tmp_path / "out", tmp_path / "back")]
    assert models[0].config == models[1].config == models[2].config
    for model in models:
        assert (model.head.weight is model.embedding.weight) == MODELS[name].tied
        assert torch.allclose(model(ids()).logits, models[0](ids()).logits, atol=1e-6)  # memory may lie otherwise


@pytest.mark.parametrize("canon", ["original", "ABCD"])
def test_what_an_older_canonlab_called_gdn2_is_gdn_wide(canon: str, tmp_path: Path) -> None:
    was, now = "mamba2,gdn2,gdn", "mamba2,gdn-wide,gdn"
    folder, out = imported(tmp_path / "model", ModelConfig(now, "4L32D4H", canon)), tmp_path / "out"
    export(folder, out)
    expected = load_published(folder)(ids()).logits
    edit(folder / "model.json", lambda file: file["model"].update(model=was))
    settings = json.loads((out / "config.json").read_text())
    settings["canonlab"]["model"]["model"] = was
    (out / "config.json").write_text(json.dumps(settings))
    for source in (folder, out):
        again = tmp_path / f"{source.name}-again"
        assert export(source, again)["model"] == now
        assert torch.allclose(load_published(source)(ids()).logits, expected, atol=1e-6)


def test_an_export_older_than_a_setting_comes_back(tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(imported(tmp_path / "model", MODELS["gdn-wide-ABCD"]), out)
    settings = json.loads((out / "config.json").read_text())
    for part, name in ((settings["pattern"][0]["mixer"]["arguments"], "conv_activation"), (settings["canon"], "gate")):
        del part[name]
    (out / "config.json").write_text(json.dumps(settings))
    assert torch.equal(load_published(out).head.weight, load_published(tmp_path / "model").head.weight)
    del settings["pattern"][0]["mixer"]
    (out / "config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match=r"config\.json is damaged: KeyError 'mixer'"):
        load_published(out)


def test_shards_and_half_precision_come_back(tmp_path: Path) -> None:
    """As transformers saves a model anew."""
    export(imported(tmp_path / "model", MODELS["gdn-wide-ABCD"]), tmp_path / "out")
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    (tmp_path / "out" / "model.safetensors").unlink()
    write_shards(tmp_path / "out", {name: tensor.bfloat16() for name, tensor in tensors.items()}, 2)
    back = load_published(tmp_path / "out").state_dict()
    assert all(torch.equal(back[name.removeprefix("model.")], t.bfloat16().float()) for name, t in tensors.items())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(create_run(tiny_config(), folder), Recorder(), "")
    return folder


def test_a_run_with_its_results_and_vocabulary(run: Path, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    cli = Cli(monkeypatch, capsys)
    about = cli.json(f"export {run} --to hf --out {tmp_path / 'out'}")
    result = read_json(run / "result.json")
    assert about["tokenizer"] and about["parameters"] == result["cost"]["parameters"]
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == about["files"] and not [name for name in written if name.endswith((".bin", ".pth", ".pt"))]
    _, header, text = (tmp_path / "out" / "README.md").read_text().split("---\n", 2)
    (entry,) = yaml.safe_load(header)["model-index"]
    (metric,) = entry["results"][0]["metrics"]
    assert metric == {
        "type": "token_accuracy",
        "name": "token_accuracy",
        "value": result["evaluation"]["metrics"]["token_accuracy"]["value"],
    }
    assert "| lr | 0.01 |" in text and "| N | 6 |" in text and "last checkpoint, step 12" in text and "DIR" in text
    tokenizer = json.loads((tmp_path / "out" / "tokenizer.json").read_text())
    assert tokenizer["model"]["vocab"] == {"<bos>": 0, "<query>": 1, **{str(n): n + 1 for n in range(1, 7)}}
    back = cli.json(f"import {tmp_path / 'out'} --out {tmp_path / 'back'}")
    assert back["weights_sha256"] == result["weights_sha256"] and back["model"]["canon"] == "ABCD"
    status, _, error = cli(f"export {run} --to gguf --out {tmp_path / 'other'}")
    assert status == 2 and "unknown to 'gguf' (allowed: hf)" in error


def test_another_checkpoint_has_no_results(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "best", "best")
    kept = [load_file(run / "checkpoints" / f"{name}.safetensors") for name in ("best", "last")]
    same = torch.equal(*(each["model/norm.weight"] for each in kept))
    assert ("## Evaluation" in (tmp_path / "best" / "README.md").read_text()) == same
    with pytest.raises(InputError, match="unknown checkpoint 'lst'; did you mean 'last'"):
        export(run, tmp_path / "other", "lst")


def test_instances_apart_are_said(tmp_path: Path) -> None:
    train(create_run(tiny_config(isolate=True, steps=2), tmp_path / "run"), Recorder(), "")
    export(tmp_path / "run", tmp_path / "out")
    assert "one instance at a time, each opened by `<bos>`" in (tmp_path / "out" / "README.md").read_text()


def test_what_opens_a_mixtures_instances() -> None:
    parts = [Part("biod-mini", {"N": 20}), Part("biod-mini", {"N": 30}, name="other")]
    assert special_ids(Mixture(tuple(parts), context=64)) == {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    parts[0] = dataclasses.replace(parts[0], domain=True)
    assert "bos_token_id" not in special_ids(Mixture(tuple(parts), context=64))


def test_a_mixer_of_the_users_own_is_refused_and_not_executed(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MIXER)
    config = varied(tiny_config(steps=2), "model", model=f"{tmp_path / 'mine.py'}:Mean", canon="AC")
    train(create_run(config, tmp_path / "run"), Recorder(), "")
    (tmp_path / "run" / "sources" / "mine.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    with pytest.raises(InputError, match="mine.py:Mean is a file of the user's own"):
        export(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "executed").exists() and not (tmp_path / "out").exists()


def test_what_is_there_stays(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("")
    with pytest.raises(InputError, match="exists; name another folder"):
        export(run, tmp_path / "out")
    with pytest.raises(InputError, match="has no weights"):
        export(tmp_path, tmp_path / "other")


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = load_file(folder / "model.safetensors")
        change(content)
        save_file(content, folder / "model.safetensors")

    return apply


def settings(**changes: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text())
        model = changes.pop("model", {})
        content["canonlab"]["model"] |= model
        (folder / "config.json").write_text(json.dumps({**content, **changes}))

    return apply


def sharded(folder: Path) -> None:
    content = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    write_shards(folder, content, 2)
    (folder / "model-00002-of-00002.safetensors").unlink()


NORM = "model.norm.weight"

WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (tensors(lambda t: t.pop(NORM)), f"{NORM} is missing: must be [32] (1 of "),
    "extra": (tensors(lambda t: t.update(more=torch.zeros(1))), "more is one too many"),
    "shape": (tensors(lambda t: t.update({NORM: torch.zeros(31)})), f"{NORM} has the shape [31]: must be [32]"),
    "integers": (tensors(lambda t: t.update({NORM: torch.zeros(32).int()})), f"{NORM} is of I32"),
    "shard": (sharded, "model-00002-of-00002.safetensors: No such file"),
    "cut": (lambda f: (f / "model.safetensors").write_bytes(b"x" * 99), "is no whole safetensors file"),
    "none": (lambda f: (f / "model.safetensors").unlink(), "has no weights: it needs model.safetensors"),
    "pickle": (lambda f: (f / "model.safetensors").rename(f / "consolidated.pth"), "has no weights"),
    "width": (settings(hidden_size=64), "hidden_size = 64: must be 32, as this canonlab makes it"),
    "tied": (settings(tie_word_embeddings=True), "tie_word_embeddings = True: must be False"),
    "vocabulary": (settings(vocab_size=0), "vocabulary = 0: must be an integer from 1"),
    "words": (settings(model={"canonn": "A"}), "unknown field of model 'canonn'; did you mean 'canon'"),
    "preset": (settings(model={"model": "llama-rop"}), "unknown model 'llama-rop'; did you mean 'llama-rope'"),
    "no words": (settings(canonlab={}), "canonlab.model is missing"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "config.json is damaged: not valid JSON"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_one_line(what: str, tmp_path: Path) -> None:
    make, says = WRONG[what]
    folder = tmp_path / "export"
    export(imported(tmp_path / "model", ModelConfig("gpt2-original", SIZE, "ABCD")), folder)
    make(folder)
    with pytest.raises(InputError) as error:
        import_published(folder, tmp_path / "out")
    assert says in str(error.value) and "\n" not in str(error.value) and str(folder) in str(error.value)
    assert not (tmp_path / "out").exists()


def test_nothing_of_an_export_is_executed(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    export(imported(tmp_path / "model", ModelConfig("gla", SIZE)), folder)
    for path in folder.glob("*.py"):
        path.write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    shutil.copy(folder / "modeling_canonlab.py", folder / "evil.py")
    assert load_published(folder).config.vocabulary == VOCABULARY
    settings(model={"model": f"{folder / 'evil.py'}:Evil"})(folder)
    with pytest.raises(InputError, match="unknown model"):
        load_published(folder)
    assert not (tmp_path / "executed").exists()


def test_damage_of_an_import_is_found(tmp_path: Path) -> None:
    folder = imported(tmp_path / "model", MODELS["hybrid"])
    tensors(lambda t: t[next(iter(t))].add_(1))(folder)
    with pytest.raises(InputError, match="damaged: its weights are not those that were imported"):
        load_published(folder)
    edit(folder / "model.json", lambda about: about["model"].update(size="2L32D4H"))
    with pytest.raises(InputError, match="one too many"):
        load_published(folder)


def test_the_code_of_an_export() -> None:
    """The rules of transformers' loader, also of the one that asks for all that is imported anywhere in a file."""
    files = bundle("0")
    assert files == bundle.__wrapped__("0") and "modeling_canonlab.py" in files
    for name, source in files.items():
        for node in ast.walk(ast.parse(source, name)):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert node.level == 1
                needed = [f"{node.module}.py"] if node.module else [f"{alias.name}.py" for alias in node.names]
                assert set(needed) <= set(files), name
                assert node.module or f"from .{node.names[0].name} import" in source, "a line that has the file copied"
            elif isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
                roots = {each.partition(".")[0] for each in names}
                assert roots <= {*sys.stdlib_module_names, "torch", "transformers"}, name
        assert "canonlab::" not in source.replace("`canonlab::", "").replace('"canonlab::..."', ""), name
