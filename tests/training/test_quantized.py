"""Runs that quantize others: their folders, and what the commands make of them."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from canonlab.claims.architecture import Architecture
from canonlab.errors import InputError
from canonlab.files import read_json, sha256
from canonlab.models.config import ModelConfig
from canonlab.models.presets import PRESETS
from canonlab.quantization.config import QuantizationConfig
from canonlab.results.cells import cells
from canonlab.results.groups import sections
from canonlab.results.load import load_runs
from canonlab.training import quantized
from canonlab.training.checkpoint import MODEL, SafetensorsStore
from canonlab.training.config import BackendConfig, RunConfig, StartConfig, TaskConfig, TrainingConfig
from canonlab.training.loop import evaluate_checkpoint, train
from canonlab.training.plan import plan_run
from canonlab.training.quantized import make_quantized, produce
from canonlab.training.record import read_record
from canonlab.training.run import RunFolder, create_run, find_run, known_runs, open_run, open_trained
from commands import Cli
from tiny_runs import MIXER, Recorder, edit, tiny_config, varied


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


@pytest.fixture
def origin(tmp_path: Path) -> RunFolder:
    run = create_run(tiny_config(), tmp_path / "origin")
    train(run, Recorder())
    return run


def quantize(origin: RunFolder, *words: Any) -> tuple[RunFolder, dict[str, Any]]:
    parent = origin.folder.parent
    run = find_run(origin.plan.quantized(QuantizationConfig(*words)), parent, known_runs(parent))
    return run, make_quantized(run, origin, Recorder())


def test_a_quantized_run_is_a_run(origin: RunFolder) -> None:
    run, result = quantize(origin, 4, "gptq", 5)
    trained = origin.result()
    assert run.folder.parent == origin.folder.parent and "-gptq4-" in run.folder.name
    config = read_json(run.folder / "config.json")
    assert config["config"] == {**read_json(origin.folder / "config.json")["config"], **made_of(4, "gptq", 5)}
    assert config["identified_by"]["quantization"] == {"bits": 4, "method": "gptq", "windows": 5}
    assert result["cost"] | {"seconds": 0} == trained["cost"] | {"seconds": 0}
    assert result["data_sha256"] == trained["data_sha256"] and result["best"] is result["log"] is None
    assert result["weights_sha256"] != trained["weights_sha256"]
    stored = SafetensorsStore(run.folder / "checkpoints").load("last", run.identity)
    assert stored and stored.weights_alone and stored.facts["step"] == 12
    name = "model/blocks.0.mlp.down.weight"
    before = SafetensorsStore(origin.folder / "checkpoints").load("last", origin.identity)
    assert before
    integers = stored.tensors[name] * 7 / before.tensors[name].abs().amax(1, keepdim=True)
    assert (integers - integers.round()).abs().max() < 1e-4
    again, step_of = evaluate_checkpoint(open_trained(run.folder), "last", 8, None)
    assert again.plain()["metrics"] == result["evaluation"]["metrics"] and step_of == 12


def made_of(*words: Any) -> dict[str, Any]:
    return {"quantization": QuantizationConfig(*words).plain()}


def test_it_is_found_again_and_nothing_is_made_twice(origin: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    run, result = quantize(origin, 4, "nearest")
    run.folder.rename(run.folder.with_name("renamed"))
    monkeypatch.setattr(quantized, "evaluate", None)
    again, shown = quantize(origin, 4, "nearest")
    assert again.folder.name == "renamed" and shown == result
    assert open_run(again.folder).plan.identity == again.identity == plan_run(asked(4, "nearest")).identity


def asked(*words: Any) -> RunConfig:
    return dataclasses.replace(tiny_config(), quantization=QuantizationConfig(*words))


@pytest.mark.parametrize("left", ["config.json", "checkpoints"])
def test_a_half_made_one_is_completed(origin: RunFolder, left: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run, result = quantize(origin, 3)
    (run.folder / "result.json").unlink()
    if left == "config.json":
        shutil.rmtree(run.folder / "checkpoints")
    else:
        monkeypatch.setattr(quantized, "quantize", None)
    again, second = quantize(origin, 3)
    assert again.folder == run.folder
    for key in ("weights_sha256", "evaluation", "data_sha256"):
        assert second[key] == result[key]


def test_what_can_not_be_quantized(origin: RunFolder, tmp_path: Path, cli: Cli) -> None:
    for words, said in {
        "--bits 9": "bits = 9: must be an integer from 2 to 8",
        "--bits 1": "bits = 1: must be an integer from 2 to 8",
        "--bits 0": "bits = 0: must be an integer from 2 to 8",
        "--bits 4 --method gtpq": "did you mean 'gptq'?",
        "--bits 4 --windows 0": "windows = 0: must be an integer",
    }.items():
        status, _, err = cli(f"quantize {origin.folder} {words}")
        assert status == 2 and said in err and err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["origin"]
    create_run(tiny_config(seed=1), tmp_path / "begun")
    diverges = create_run(tiny_config(lr=1e30, clip=0.0, warmup=0, steps=40, log_every=1), tmp_path / "lost")
    with pytest.raises(Exception, match="not finite"):
        train(diverges, Recorder())
    run, _ = quantize(origin, 8, "nearest")
    (tmp_path / "empty").mkdir()
    for folder, said in {
        "begun": "isn't done; go on with it by canonlab resume",
        "lost": "diverged at step",
        run.folder.name: "is quantized already",
        "empty": "is not a run folder",
    }.items():
        status, _, err = cli(f"quantize {origin.folder} {tmp_path / folder} --bits 4")
        assert status == 2 and said in err and err.count("\n") == 1
    assert len(known_runs(tmp_path)) == 4, "nothing was begun"
    status, _, err = cli(f"resume {run.folder}")
    assert status == 2 and "nothing is trained" in err


def test_commands_take_it(origin: RunFolder, tmp_path: Path, cli: Cli) -> None:
    (made,) = cli.json(f"quantize {origin.folder} --bits 3 --method nearest")
    folder = Path(made["folder"])
    assert cli.json(f"quantize {origin.folder} --bits 3 --method nearest")[0] == made
    assert cli.json(f"eval {folder} --windows 8")["metrics"] == made["evaluation"]["metrics"]
    status, out, err = cli(f"status {tmp_path}")
    assert status == 0 and "2 of 2 done" in out, err
    status, out, err = cli(f"report {tmp_path} --out {tmp_path / 'page.html'}")
    assert status == 0 and "nearest" in out, err
    assert "3 bits, by nearest" in (tmp_path / "page.html").read_text()
    status, _, err = cli(f"export {folder} --out {tmp_path / 'exported'}")
    assert status == 0, err
    status, _, err = cli(f"claims {tmp_path}")
    assert status == 0, err
    (elsewhere,) = cli.json(f"quantize {origin.folder} --bits 3 --method nearest --out {tmp_path / 'other'}")
    assert Path(elsewhere["folder"]).parent == tmp_path / "other"
    assert elsewhere["weights_sha256"] == made["weights_sha256"]


def test_it_is_another_architecture_than_the_trained_one(origin: RunFolder, tmp_path: Path) -> None:
    quantize(origin, 4), quantize(origin, 4, "gptq", 7)
    (section,) = sections(load_runs([tmp_path]))
    found = {cell.architecture: cell for cell in cells(section)}
    base = "llama-rope + Canon-ABCD"
    assert {*found} == {base, f"{base}, 4 bits, by gptq", f"{base}, 4 bits, by gptq, from 7 windows"}
    assert len({cell.terms for cell in found.values()}) == 1, "which may be compared"
    unquantized = Architecture("llama-rope", "ABCD")
    assert [unquantized.fits(cell.rows[0].settings) for cell in found.values()].count(True) == 1
    assert unquantized.fits(found[base].rows[0].settings)


def test_isolated_instances_a_users_mixer_and_an_area(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MIXER)
    config = varied(
        tiny_config(isolate=True, metric="area_loss"), "model", model=f"{tmp_path / 'mine.py'}:Mean", canon="AC"
    )
    origin = create_run(config, tmp_path / "runs" / "origin")
    train(origin, Recorder())
    (tmp_path / "mine.py").unlink()
    run, result = quantize(open_run(origin.folder), 8)
    assert (run.folder / "sources" / "mine.py").exists()
    assert result["evaluation"]["headline"][0] == "loss"
    assert len(load_runs([tmp_path / "runs"])) == 2


def test_in_bf16_the_weights_of_now_are_used(tmp_path: Path) -> None:
    """Autocast may remember weights: what it remembered would be those from before they were quantized."""
    origin = create_run(varied(tiny_config(), "backend", precision="bf16"), tmp_path / "origin")
    train(origin, Recorder())
    run, result = quantize(origin, 4)
    again = evaluate_checkpoint(open_trained(run.folder), "last", 8, None)[0]
    assert again.plain()["metrics"] == result["evaluation"]["metrics"]


def test_one_that_is_asked_for_alone_has_its_origin_trained_beside_it(tmp_path: Path, cli: Cli) -> None:
    run = create_run(asked(4, "nearest"), parent=tmp_path)
    result = produce(run, Recorder())
    (origin,) = (path for identity, path in known_runs(tmp_path).items() if identity != run.identity)
    assert read_json(origin / "result.json")["data_sha256"] == result["data_sha256"]
    listener = Recorder()
    assert produce(run, listener) == result and listener.records == []


def test_a_recipe_asks_for_bits_that_there_are() -> None:
    with pytest.raises(InputError, match="bits = 16: must be"):
        plan_run(asked(16))


@pytest.mark.parametrize("model", PRESETS)
def test_every_preset_can_be_quantized_and_evaluated(model: str, tmp_path: Path) -> None:
    config = varied(
        tiny_config(steps=2, eval_every=2, final_windows=2), "model", model=model, size="1L32D4H", canon="AC"
    )
    if model.endswith("moe"):
        config = varied(config, "model", canon="A")
    origin = create_run(config, tmp_path / "origin")
    train(origin, Recorder())
    for method in ("gptq", "nearest"):
        _, result = quantize(origin, 4, method)
        assert 0 < result["evaluation"]["metrics"]["loss"]["value"] < 10


@pytest.mark.slow
def test_of_a_trained_model_gptq_keeps_more_than_rounding_and_eight_bits_keep_all(tmp_path: Path) -> None:
    config = RunConfig(
        TaskConfig("capo", {"N": 50}),
        ModelConfig(size="1L64D4H", canon="none", tied=True),
        TrainingConfig(steps=400, batch=4, lr=0.01, warmup=20, eval_every=400, checkpoint_every=400, seed=100),
        BackendConfig(device="cpu", precision="fp32", compile="off", threads=1),
    )
    origin = create_run(config, tmp_path / "origin")
    trained = train(origin, Recorder())
    metrics = trained["evaluation"]["metrics"]

    def loss(*words: Any) -> float:
        return float(quantize(origin, *words)[1]["evaluation"]["metrics"]["loss"]["value"])

    before = metrics["loss"]["value"]
    assert before < 1
    for bits, share in {4: 0.95, 3: 0.9}.items():
        assert before < loss(bits, "gptq") < before + share * (loss(bits, "nearest") - before)
    eight = loss(8, "nearest"), loss(8, "gptq")
    assert all(abs(each - before) < 1e-3 for each in eight)


def test_the_checkpoint_holds_all_weights(origin: RunFolder) -> None:
    run, _ = quantize(origin, 8, "nearest")
    names = [
        {*tensors.tensors}
        for each in (origin, run)
        if (tensors := SafetensorsStore(each.folder / "checkpoints").load("last", each.identity))
    ]
    assert names[1] == {name for name in names[0] if name.startswith(MODEL)}


def test_eight_bits_change_the_loss_by_less_than_its_interval(tmp_path: Path) -> None:
    config = tiny_config(steps=150, batch=16, eval_every=150, checkpoint_every=150, final_windows=64)
    origin = create_run(config, tmp_path / "origin")
    metric = train(origin, Recorder())["evaluation"]["metrics"]["loss"]
    assert metric["value"] < 1
    for method in ("gptq", "nearest"):
        loss = quantize(origin, 8, method)[1]["evaluation"]["metrics"]["loss"]["value"]
        assert metric["low"] < loss < metric["high"]


@pytest.mark.parametrize("value", [None, 3, "gptq", []])
def test_a_record_whose_quantization_is_none_is_left_out_of_reports(origin: RunFolder, value: Any) -> None:
    run, _ = quantize(origin, 4, "nearest")

    def change(file: dict[str, Any]) -> None:
        file["config"]["quantization"] = file["identified_by"]["quantization"] = value
        file["identity"] = sha256(file["identified_by"])

    (run.folder / "result.json").unlink()
    edit(run.folder / "config.json", change)
    with pytest.raises(InputError, match="config: quantization = .*must be an object"):
        load_runs([run.folder])


def test_a_run_goes_on_from_quantized_weights_and_is_quantized_again(origin: RunFolder) -> None:
    first, _ = quantize(origin, 4, "nearest")
    config = dataclasses.replace(tiny_config(steps=4), start=StartConfig(str(first.folder)))
    tuned = create_run(config, origin.folder.parent / "tuned")
    assert tuned.plan.content["start"] == {
        **read_record(first.folder).identified_by,
        "checkpoint": "last",
        "step": 12,
        "lora": 0,
        "lora_embedding": 0,
    }
    weights = [
        SafetensorsStore(folder).load(name, identity)
        for folder, name, identity in (
            (first.folder / "checkpoints", "last", first.identity),
            (tuned.folder, "start", sha256(read_record(first.folder).identified_by)),
        )
    ]
    assert weights[0] and weights[1] and weights[0].weights.keys() == weights[1].weights.keys()
    assert all(torch.equal(tensor, weights[1].weights[name]) for name, tensor in weights[0].weights.items())
    train(tuned, Recorder())
    again, _ = quantize(tuned, 3, "nearest")
    assert again.plan.content["quantization"] == {"bits": 3, "method": "nearest"}
    assert again.plan.content["start"]["quantization"] == {"bits": 4, "method": "nearest"}
