"""Published checkpoints into decoders: every name and shape, logits of a plain reading, folders and their errors."""

import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from canonlab.errors import InputError
from canonlab.hub import import_published, load_published, published
from canonlab.hub.names import family_of
from canonlab.hub.settings import read_settings
from canonlab.hub.weights import Weights
from canonlab.models.generate import generate
from canonlab.tasks.catalog import build_task
from commands import Cli
from plain_checkpoints import (
    as_hugging_face,
    hugging_face_config,
    logits,
    random_tensors,
    shapes,
    write_published,
    write_shards,
)
from plain_checkpoints import published as every_published

VOCABULARY, IDS = 13, torch.tensor([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5])

LLAMA = {"dim": 64, "n_layers": 2, "n_heads": 4, "norm_eps": 0.03, "rope_theta": 50.0, "qk_norm": True}
LINEAR = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": None}
TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {**LLAMA, "n_kv_heads": None, "vocab_size": -1}),
    "llama-canon": ("Llama", {**LLAMA, "n_kv_heads": 2, "hidden_dim": 40, "canon_set": "ABCD", "rope_dim": 4}),
    "llama-8b": ("Llama", {**LLAMA, "n_kv_heads": 2, "hidden_dim": 40, "qk_norm": False, "vocab_size": VOCABULARY}),
    "gla5-canon": ("GLA5", {**LINEAR, "canon_set": "AbbCD", "norm_eps": 0.03}),
    "gla5-conv": ("GLA5", {**LINEAR, "canon_set": "bb", "norm_eps": 0.03, "zeyuan_layernorm": True, "hidden_dim": 40}),
    "gdn2-canon": ("GDN2", {**LINEAR, "canon_set": "AbbCD", "norm_eps": 0.03, "hidden_dim": 40}),
    "gdn2-conv": ("GDN2", {**LINEAR, "canon_set": "bb", "norm_eps": 0.03}),
    "mamba2-canon": ("Mamba2", {**LINEAR, "canon_set": "AbbCD", "mamba_ssm": 8, "layer_norm_epsilon": 0.03}),
    "mamba2-conv": ("Mamba2", {**LINEAR, "canon_set": "bb", "mamba_ssm": 8, "norm_eps": 0.5}),
}
"""A small configuration of each kind. Settings are far from usual ones, so that one that isn't read is seen."""

EVERY = {name: rest for name, *rest in every_published()}


@pytest.mark.parametrize("name", EVERY)
def test_every_published_configuration_loads_strictly(name: str) -> None:
    """Without memory: the tensors have shapes alone."""
    family, params, vocabulary, billions = EVERY[name]
    wanted = shapes(family, params, vocabulary)
    weights = Weights(Path("w"), wanted, lambda name: torch.empty(wanted[name], device="meta", dtype=torch.bfloat16))
    found = family_of(wanted, "w")
    settings = read_settings(found, {"model": params}, Path("params.json"))
    config = published.decoder_config(settings, weights, found, Path("params.json"))
    model = published.build(config, published.mapped(config, found, weights, settings.interleaved))
    tensors = list(model.parameters())
    assert {tensor.dtype for tensor in tensors} == {torch.float32} and all(tensor.is_meta for tensor in tensors)
    count = sum(tensor.numel() for tensor in tensors)
    assert count == sum(torch.Size(shape).numel() for shape in wanted.values())
    assert round(count / 1e9, 4) == billions


def tiny(name: str) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    family, params = TINY[name]
    return family, params, random_tensors(shapes(family, params, VOCABULARY))


def require_logits(folder: Path, expected: Tensor) -> None:
    model = load_published(folder).double()
    found = model(torch.stack([IDS, IDS.flip(0)])).logits[0]
    assert (found - expected).abs().max() < 1e-12 < 0.1 < expected.std()


@pytest.mark.parametrize("name", TINY)
def test_logits_are_those_of_a_plain_reading(name: str, tmp_path: Path) -> None:
    family, params, tensors = tiny(name)
    require_logits(write_published(tmp_path, params, tensors), logits(family, params, tensors, IDS))


@pytest.mark.parametrize("version", ["huggingface", "lingua"])
@pytest.mark.parametrize("shards", [1, 3])
def test_the_class_of_transformers(version: str, shards: int, tmp_path: Path) -> None:
    family, params, tensors = tiny("llama-canon")
    write_shards(tmp_path, as_hugging_face(tensors), shards)
    (tmp_path / "config.json").write_text(json.dumps(hugging_face_config(params, VOCABULARY, version)))
    require_logits(tmp_path, logits(family, params, tensors, IDS, halves=version == "huggingface"))


@pytest.mark.parametrize("shards", [1, 2])
def test_safetensors_under_the_published_names(shards: int, tmp_path: Path) -> None:
    _, params, tensors = tiny("gdn2-canon")
    half = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    write_published(tmp_path / "one", params, half)
    write_shards(shutil.copytree(tmp_path / "one", tmp_path / "other"), half, shards)
    (tmp_path / "other" / "consolidated.pth").unlink()
    one, other = (load_published(tmp_path / name).state_dict() for name in ("one", "other"))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items()) and one.keys() == other.keys()


def test_an_import_is_the_same_model_and_generates(tmp_path: Path) -> None:
    _, params, tensors = tiny("llama-canon")
    source = write_published(tmp_path / "repository" / "default", params, tensors).parent
    about = import_published(source, tmp_path / "own")
    assert about["vocabulary"] == VOCABULARY and about["parameters"] == sum(t.numel() for t in tensors.values())
    assert about["model"]["norm_eps"] == 0.03 and about["model"]["rope_base"] == 50.0
    (source / "default" / "consolidated.pth").write_bytes(b"")  # nothing of it is needed any more
    assert sorted(path.name for path in (tmp_path / "own").iterdir()) == ["model.json", "model.safetensors"]
    shutil.rmtree(source)
    model = load_published(tmp_path / "own")
    assert not model.training
    evaluation = build_task("copy", {"N": 6, "context": 28}).evaluate(model, seed=0, windows=2)
    assert evaluation.metrics["loss"].value > 1
    (answer,) = generate(model, [IDS.tolist()], 4)
    ids = IDS
    for token in answer:
        assert token == model(ids[None]).logits[0, -1].argmax()
        ids = torch.cat([ids, torch.tensor([token])])


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    _, params, tensors = tiny("mamba2-canon")
    write_published(tmp_path / "Mamba2Canon-tiny", params, tensors)
    cli = Cli(monkeypatch, capsys)
    about = cli.json("import Mamba2Canon-tiny")
    assert about["out"] == "models/Mamba2Canon-tiny" and about["model"]["model"] == "mamba2-mlp"
    status, out, _ = cli("import Mamba2Canon-tiny --out other")
    assert status == 0 and "mamba2-mlp 2L32D2H, Canon AbCD" in out and "load_published('other')" in out
    one, other = (load_published(tmp_path / place).state_dict() for place in ("models/Mamba2Canon-tiny", "other"))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    status, _, err = cli("import Mamba2Canon-tiny --out other")
    assert status == 2 and "out = 'other': exists; name another folder" in err
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "model.safetensors").write_text("mine")
    status, _, err = cli("import Mamba2Canon-tiny --out taken")
    assert status == 2 and "exists" in err and (tmp_path / "taken" / "model.safetensors").read_text() == "mine"
    status, _, err = cli("import other")
    assert status == 2 and "other was imported before" in err


class Executed:
    """Pickled, it makes a folder when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def change(folder: Path, **changes: Any) -> None:
    content = json.loads((folder / "params.json").read_text())
    content["model"] |= changes
    (folder / "params.json").write_text(json.dumps(content))


def save(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = torch.load(folder / "consolidated.pth", weights_only=True)
    change(content["model"])
    torch.save(content, folder / "consolidated.pth")


WQ = "layers.1.attention.wq.weight"

WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda f: [path.unlink() for path in f.iterdir()], "has no weights: it needs consolidated.pth, "),
    "no settings": (lambda f: (f / "params.json").unlink(), "params.json is missing, the settings of Llama"),
    "no JSON": (lambda f: (f / "params.json").write_text("{"), "params.json is damaged: not valid JSON"),
    "no model": (lambda f: (f / "params.json").write_text("[]"), "params.json: model is missing"),
    "no width": (lambda f: (f / "params.json").write_text('{"model": {}}'), "params.json: model: n_layers is missing"),
    "words": (lambda f: change(f, n_heads="4"), "n_heads = '4': must be an integer"),
    "layers": (lambda f: change(f, n_layers=1), "layers.1.attention_norm.weight is one too many"),
    "many layers": (lambda f: change(f, n_layers=10**8), "must be of at most 1000 layers"),
    "heads": (lambda f: change(f, n_heads=5, rope_dim=None), "5 heads don't divide the width 64"),
    "rotation": (lambda f: change(f, rope_dim=6), "rope_dim = 6: must be null, 16 or a quarter of that, 4"),
    "points": (lambda f: change(f, canon_set="ABE"), "unknown point 'E'"),
    "kernel": (lambda f: change(f, canon_kernel=3), "canon_kernel = 3: must be 4, as in all published models"),
    "tied": (lambda f: change(f, weight_tying=True), "weight_tying = True: must be False"),
    "eps": (lambda f: change(f, norm_eps=0), "norm_eps = 0: must be a number of at least"),
    "base": (lambda f: change(f, rope_theta="x"), "rope_theta = 'x': must be a number"),
    "flag": (lambda f: change(f, qk_norm="yes"), "qk_norm = 'yes': must be true or false"),
    "inner": (lambda f: change(f, hidden_dim=10**6), "mlp_ratio = 15625.0: must be a number from 0 to 64"),
    "vocabulary": (
        lambda f: change(f, vocab_size=14),
        "tok_embeddings.weight has the shape [13, 64]: must be [14, 64]",
    ),
    "set": (lambda f: change(f, canon_set=""), "layers.0.canonA.weight is one too many"),
    "missing": (lambda f: save(f, lambda m: m.pop(WQ)), f"{WQ} is missing: must be [64, 64] (q x d) (1 of 33 are"),
    "extra": (lambda f: save(f, lambda m: m.update({"freqs": torch.zeros(2)})), "freqs is one too many"),
    "shape": (lambda f: save(f, lambda m: m.update({WQ: m[WQ][1:]})), f"{WQ} has the shape [63, 64]: must be [64, 64]"),
    "turned": (lambda f: save(f, lambda m: m.update({WQ: m[WQ][None]})), f"{WQ} has the shape [1, 64, 64]"),
    "integers": (lambda f: save(f, lambda m: m.update({WQ: m[WQ].long()})), f"{WQ} = a tensor of torch.int64: must"),
    "no tensor": (lambda f: save(f, lambda m: m.update({WQ: 3})), f"{WQ} = 3: must be a plain tensor"),
    "sparse": (lambda f: save(f, lambda m: m.update({WQ: m[WQ].to_sparse()})), f"{WQ} = a tensor of"),
    "shapes alone": (lambda f: save(f, lambda m: m.update({WQ: m[WQ].to("meta")})), f"{WQ} = a tensor of"),
    "another model": (lambda f: save(f, lambda m: m.clear()), "is of no published model (it has no tensors;"),
    "no weights": (
        lambda f: torch.save({"optimizer": 1}, f / "consolidated.pth"),
        "has optimizer; it must be torch.save",
    ),
    "a list": (
        lambda f: torch.save([1], f / "consolidated.pth"),
        'is a list; it must be torch.save({"model": tensors})',
    ),
    "cut": (lambda f: os.truncate(f / "consolidated.pth", 20000), "consolidated.pth: is damaged (OSError"),
    "nothing": (lambda f: (f / "consolidated.pth").write_bytes(b""), "consolidated.pth: is no file of weights"),
    "code": (
        lambda f: torch.save({"model": {}, "more": Executed(f / "executed")}, f / "consolidated.pth"),
        "consolidated.pth: holds more than weights, and nothing of it was executed; it must be",
    ),
    "pickle": (
        lambda f: (f / "consolidated.pth").write_bytes(pickle.dumps(Executed(f / "executed"))),
        "consolidated.pth: is no file of weights, and nothing of it was executed; it must be torch.save",
    ),
    "folder": (
        lambda f: ((f / "consolidated.pth").unlink(), (f / "consolidated.pth").mkdir()),
        "consolidated.pth: not a file",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_one_line_and_nothing_is_executed(what: str, tmp_path: Path) -> None:
    make, says = WRONG[what]
    _, params, tensors = tiny("llama-canon")
    folder = write_published(tmp_path / "published", params, tensors)
    make(folder)
    with pytest.raises(InputError) as error:
        import_published(folder, tmp_path / "out")
    assert says in str(error.value) and "\n" not in str(error.value) and str(folder) in str(error.value)
    assert not (folder / "executed").exists() and not (tmp_path / "out").exists()


SHARD = "model-00002-of-00002.safetensors"


def index(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "model.safetensors.index.json"
    content = json.loads(path.read_text())
    change(content["weight_map"])
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda f: (f / SHARD).unlink(), f"cannot read {{}}/{SHARD}: No such file"),
        (lambda f: os.truncate(f / SHARD, 100), f"{SHARD}: is no whole safetensors file"),
        (lambda f: shutil.copy(f / SHARD.replace("2-", "1-", 1), f / SHARD), "is in another shard too"),
        (
            lambda f: index(f, lambda m: m.update(x="../x")),
            "weight_map, x = '../x': must be the name of a file beside it",
        ),
        (lambda f: index(f, lambda m: m.update(x="")), "weight_map, x = '': must be the name of a file beside it"),
        (lambda f: index(f, lambda m: m.update(x=SHARD)), f"{SHARD}: x is missing, which model.safetensors.index.json"),
        (lambda f: index(f, lambda m: m.clear()), "it has no tensors"),
        (lambda f: (f / "config.json").unlink(), "config.json is missing, the settings of LlamaCanonForCausalLM"),
        (lambda f: (f / "config.json").write_text("[]"), "config.json: must be a JSON object"),
        (lambda f: (f / "config.json").write_text("{}"), "config.json: model_type = None: must be 'LlamaCanon'"),
    ],
)
def test_what_is_wrong_with_shards(make: Callable[[Path], object], says: str, tmp_path: Path) -> None:
    _, params, tensors = tiny("llama-canon")
    write_shards(tmp_path, as_hugging_face(tensors))
    (tmp_path / "config.json").write_text(json.dumps(hugging_face_config(params, VOCABULARY, "lingua")))
    make(tmp_path)
    with pytest.raises(InputError) as error:
        load_published(tmp_path)
    assert says.format(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rope_version": "other"}, "rope_version = 'other': must be 'huggingface' or 'lingua'"),
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling = {'type': 'linear'}: must be None"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings = True: must be False"),
        ({"rms_norm_eps": None}, "rms_norm_eps = None: must be a number"),
    ],
)
def test_what_the_class_of_transformers_may_not_have(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    _, params, tensors = tiny("llama-canon")
    write_shards(tmp_path, as_hugging_face(tensors), 1)
    content = hugging_face_config(params, VOCABULARY, "lingua") | changes
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        load_published(tmp_path)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("gla5-canon", {"canon_set": "AbCD"}, "canon_set = 'AbCD': must be 'AbbCD' or 'bb'"),
        ("gdn2-canon", {"canon_set": "bb"}, "trans.model.layers.0.canonA.weight is one too many"),
        ("gdn2-conv", {"canon_set": "AbbCD"}, "trans.model.layers.0.canonA.weight is missing: must be [32, 1, 4]"),
        ("mamba2-conv", {"mamba_ssm": 2**62}, "state = 4611686018427387904: must be an integer from 1 to 65536"),
        ("mamba2-conv", {"mamba_ssm": None}, "mamba_ssm = None: must be an integer"),
    ],
)
def test_what_the_linear_models_may_not_have(name: str, changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    _, params, tensors = tiny(name)
    with pytest.raises(InputError) as error:
        load_published(write_published(tmp_path, params | changes, tensors))
    assert says in str(error.value)


def test_a_folder_that_was_imported_and_changed(tmp_path: Path) -> None:
    _, params, tensors = tiny("gla5-conv")
    own = tmp_path / "own"
    import_published(write_published(tmp_path / "published", params, tensors), own)
    data = bytearray((own / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (own / "model.safetensors").write_bytes(data)
    with pytest.raises(InputError, match=r"model.safetensors is damaged: its weights are not those"):
        load_published(own)
    (own / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"cannot read .*model.safetensors: No such file"):
        load_published(own)


def test_an_imported_folder_that_names_a_file_executes_nothing(tmp_path: Path) -> None:
    source = tmp_path / "mixer.py"
    source.write_text(f"import os\nos.mkdir({str(tmp_path / 'executed')!r})\nclass Mine: ...\n")
    about = {"model": {"model": f"{source}:Mine", "size": "1L32D"}, "vocabulary": 5, "weights_sha256": ""}
    published.write_json(tmp_path / "model.json", about)
    published.save_weights(tmp_path / "model.safetensors", {"norm.weight": torch.ones(32)})
    with pytest.raises(InputError, match="unknown model"):
        load_published(tmp_path)
    assert not (tmp_path / "executed").exists()


def test_a_model_beyond_the_memory(tmp_path: Path) -> None:
    family, params = "Llama", {"dim": 65536, "n_layers": 500, "n_heads": 512}
    wanted = shapes(family, params, 10)
    few = torch.zeros(1, 1)
    tensors = {name: few.expand(shape) if len(shape) == 2 else few[0].expand(shape) for name, shape in wanted.items()}
    with pytest.raises(InputError, match="size = '500L65536D512H': its parameters alone take"):
        load_published(write_published(tmp_path, params, tensors))


def test_a_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "facebook/PhysicsLM4.2__Llama-1B-Nemo-1T-lr0.003"
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # as where it isn't installed
    with pytest.raises(
        InputError, match=r"no folder here; fetching it .* needs huggingface_hub, which isn't installed"
    ):
        load_published(name)
    _, params, tensors = tiny("llama")
    kept = write_published(tmp_path / "kept" / "default", params, tensors).parent
    asked = []

    def snapshot_download(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(kept)

    hub = SimpleNamespace(snapshot_download=snapshot_download, __file__="hub.py")
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert load_published(name).config.vocabulary == VOCABULARY
    assert asked == [(name, ["default/params.json", "default/consolidated.pth"])]

    def fails(*_: object, **__: object) -> None:
        raise ConnectionError("no route\nto host")

    hub.snapshot_download = fails
    with pytest.raises(InputError, match=r"can't be fetched .* a network .* a login \(ConnectionError: no route\)"):
        load_published(name)
    for wrong in ("nothing", "a/b/c", "/no/such/folder", str(kept / "default" / "params.json")):
        with pytest.raises(InputError, match="is no folder, and no name on the Hugging Face hub such as owner/name"):
            load_published(wrong)
