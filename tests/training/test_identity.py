"""One run or two? What identifies runs, and how configurations may grow."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from canonlab import training
from canonlab.errors import InputError, Interrupted
from canonlab.models.config import ModelConfig
from canonlab.models.mixers.attention import Attention
from canonlab.models.mixers.gla import GLA
from canonlab.results.groups import sections
from canonlab.results.load import load_runs
from canonlab.tasks.catalog import build_task
from canonlab.tasks.copy import Copy
from canonlab.training import config, copies, identity, record, run
from canonlab.training.backend import Backend
from canonlab.training.checkpoint import SafetensorsStore
from canonlab.training.loop import evaluate_checkpoint, train
from canonlab.training.metrics_log import read_metrics
from canonlab.training.plan import plan_run
from canonlab.training.record import read_record
from canonlab.training.run import create_run, known_runs, open_run, open_trained
from tiny_runs import Recorder, edit, make_runs, tiny_config, varied

INTRODUCED = {
    config.TrainingConfig: {
        "steps": 10_000, "exposures": 0, "batch": 32, "lr": 0.001, "seed": 0, "warmup": 1000, "schedule": "cosine",
        "weight_decay": 0.03, "beta1": 0.9, "beta2": 0.98, "eps": 1e-06, "clip": 1.0, "isolate": False, "microbatch": 0,
        "eval_every": 1000, "eval_windows": 64, "final_windows": 0, "checkpoint_every": 1000, "log_every": 10,
        "optimizer": "adamw",
    },
    ModelConfig: {
        "model": "llama-rope", "size": "8L512D", "canon": "original", "canon_kernel": 4, "canon_residual": True,
        "canon_activation": False, "canon_frozen": False, "mlp": "preset", "mlp_ratio": 0.0, "activation": "preset",
        "exact_intermediate": False, "tied": False, "mixer": {}, "norm_eps": 0.0, "rope_base": 0.0,
        "canon_scale": False, "canon_dynamic": False, "canon_gate": False, "canon_layers": "all", "canon_across": False,
    },
    identity.CanonConfig: {
        "points": "", "kernel": 4, "residual": True, "activation": False, "frozen": False, "scale": False,
        "dynamic": False, "gate": False, "blocks": "", "across": False,
    },
    identity.MLPConfig: {"activation": "silu", "bias": False, "std": 0.02},
    identity.DecoderConfig: {
        "canon": {
            "points": "", "kernel": 4, "residual": True, "activation": False, "frozen": False, "scale": False,
            "dynamic": False, "gate": False, "blocks": "", "across": False,
        }, "tied": False,
        "norm": "rms", "norm_eps": 1e-06, "embedding_std": 0.02, "head_std": 0.02,
    },
    Attention.Config: {
        "position": "rope", "kv_heads": 0, "qk_norm": False, "bias": False, "norm_eps": 1e-06, "rope_base": 10000.0,
    },
    GLA.Config: {
        "feature_map": "identity", "key_share": 0.5, "value_share": 1.0, "conv1d": False, "gate_rank": 0,
        "low_rank_std": 0.02, "norm_eps": 1e-06,
    },
}  # fmt: skip
"""The values that fields were introduced with. They may be added to, never changed: finished runs rest on them."""


@pytest.mark.parametrize("cls", INTRODUCED, ids=lambda cls: cls.__qualname__)
def test_what_a_field_was_introduced_with_never_changes(cls: type) -> None:
    assert identity.introduced(cls).items() >= INTRODUCED[cls].items()


def test_identities_of_this_version() -> None:
    """Pinned: a change voids every finished run of every user."""
    plans = {
        "tiny": tiny_config(),
        "hybrid": varied(
            tiny_config(),
            "model",
            model="gla,gdn,mamba2-mlp,llama-moe",
            size="4L64D4H",
            canon="AbC",
            mixer={"low_rank_std": 0.02},
        ),
        "capo": dataclasses.replace(tiny_config(), task=config.TaskConfig("capo", {"N": 8})),
    }
    assert {name: plan_run(each).identity[:16] for name, each in plans.items()} == PINNED


PINNED = {"tiny": "a92a2f898a69b529", "hybrid": "409399c9f3e7c670", "capo": "dd408011af2ebfb1"}


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("backend", {"threads": 2}),
        ("backend", {"compile": "auto"}),
        ("training", {"microbatch": 2}),
        *(("training", {name: "loss" if name == "metric" else 3}) for name in identity.MEASURING),
    ],
)
def test_machine_and_measuring_make_no_other_run(tmp_path: Path, part: str, changes: dict[str, Any]) -> None:
    first, second = tiny_config(), varied(tiny_config(), part, **changes)
    assert plan_run(first).identity == plan_run(second).identity
    done = create_run(first, parent=tmp_path)
    result = train(done, Recorder())
    listener = Recorder()
    again = create_run(second, parent=tmp_path)
    assert again.folder == done.folder
    assert train(again, listener) == result and listener.records == []
    ((name, value),) = changes.items()
    if value != "auto":
        (message,) = listener.messages
        assert f"was begun with {name} = " in message and f"asked for: {value}" in message


def test_the_microbatch_counts_where_experts_are_balanced_within_it() -> None:
    plans = [
        plan_run(
            varied(varied(tiny_config(), "model", model="llama-moe", canon="ABC"), "training", microbatch=microbatch)
        )
        for microbatch in (0, 2)
    ]
    assert plans[0].identity != plans[1].identity


def stopped(folder: Path, each: Any, step: int = 6) -> None:
    def stop(entry: dict[str, Any]) -> None:
        if entry["step"] == step:
            raise Interrupted("", "")

    with pytest.raises(Interrupted):
        train(create_run(each, folder), Recorder(stop))


def test_a_resume_with_other_settings_keeps_those_of_the_run_and_gives_its_bits(folder: Path, tmp_path: Path) -> None:
    whole = train(create_run(tiny_config(), tmp_path / "whole"), Recorder())
    stopped(folder, tiny_config())
    other = varied(tiny_config(log_every=1, microbatch=1), "backend", threads=2)
    resumed = create_run(other, folder)
    assert resumed.plan.backend.threads == 1 and resumed.plan.config.training.microbatch == 0
    result = train(resumed, Recorder())
    assert result["weights_sha256"] == whole["weights_sha256"]
    logged = [
        [entry["step"] for entry in read_metrics(path / "metrics.jsonl")] for path in (folder, tmp_path / "whole")
    ]
    assert logged[0] == logged[1]


def test_a_run_of_a_preset_that_has_changed_goes_on_as_it_was(folder: Path, tmp_path: Path) -> None:
    """gla began with decays N(0, 0.02) once, and a folder of then doesn't say so in its user's words."""
    then = varied(tiny_config(), "model", model="gla", mixer={"low_rank_std": 0.02})
    whole = train(create_run(then, tmp_path / "whole"), Recorder())
    stopped(folder, then)
    edit(folder / "config.json", lambda file: file["asked"]["model"].pop("mixer"))
    assert read_record(folder).asked["model"]["mixer"] == {"low_rank_std": 0.02}
    resumed = open_run(folder)
    assert resumed.plan.identity == plan_run(then).identity
    assert train(resumed, Recorder())["weights_sha256"] == whole["weights_sha256"]
    assert evaluate_checkpoint(open_trained(folder), "last", 4, None)[1] == 12


def test_a_device_that_is_gone_is_said(folder: Path) -> None:
    stopped(folder, tiny_config())
    edit(folder / "config.json", lambda file: file["machine"].update(device="cuda:7", linear="fla", canon="triton"))
    listener = Recorder()
    train(open_run(folder), listener)
    said = "\n".join(listener.messages)
    assert "was begun on cuda:7, which isn't here: it goes on on cpu, so bits will differ" in said
    assert "linear mixers by fla and goes on by torch" in said and "Canon by triton" in said
    assert evaluate_checkpoint(open_trained(folder), "last", 4, None)[1] == 12


def test_a_sweep_finds_its_runs_whatever_their_folders_are_called(tmp_path: Path) -> None:
    make_runs([tiny_config()], tmp_path)
    (folder,) = known_runs(tmp_path).values()
    folder.rename(tmp_path / "renamed")
    listener = Recorder()
    (found,) = make_runs([varied(tiny_config(), "backend", threads=2)], tmp_path, listener)
    assert found.folder == tmp_path / "renamed" and listener.records == []


@pytest.mark.parametrize("precisions", [("fp32", "bf16"), ("bf16", "fp32")])
def test_a_precision_left_open_is_that_of_the_run_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precisions: tuple[str, str]
) -> None:
    there, here = precisions
    create_run(varied(tiny_config(), "backend", precision=there), parent=tmp_path)
    monkeypatch.setattr(
        training.plan, "resolve_backend", lambda *_: (Backend("cpu", here, False, 1, "numba", "torch"), [])
    )
    (found,) = make_runs([varied(tiny_config(), "backend", precision="auto")], tmp_path)
    assert found.plan.backend.precision == there and len(known_runs(tmp_path)) == 1
    created = create_run(varied(tiny_config(), "backend", precision=here), parent=tmp_path)
    assert created.plan.backend.precision == here and len(known_runs(tmp_path)) == 2


FOLDERS = sorted(path for path in (Path(__file__).parent / "folders").glob("*/*") if path.is_dir())


@pytest.fixture(params=FOLDERS, ids=lambda path: f"{path.parent.name}-{path.name}")
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a folder as some version wrote it."""
    return Path(shutil.copytree(request.param, tmp_path / "written"))


@pytest.fixture
def grown(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes this the next version, which has a field more of everything."""

    def grow() -> None:
        for cls in (
            config.TrainingConfig,
            ModelConfig,
            identity.CanonConfig,
            identity.MLPConfig,
            identity.DecoderConfig,
        ):
            more = dataclasses.make_dataclass(
                cls.__name__, [("novelty", str, dataclasses.field(default="off"))], bases=(cls,), frozen=True
            )
            for module in (config, copies, identity, record, run, training.plan, training.start):
                if getattr(module, cls.__name__, None) is cls:
                    monkeypatch.setattr(module, cls.__name__, more)

    return grow


@pytest.mark.parametrize("later", [False, True])
def test_folders_of_every_version_are_read(written: Path, later: bool, grown: Callable[[], None]) -> None:
    if later:
        grown()
    here = read_record(written)
    asked = varied(tiny_config(), "model", size="1L8D1H", canon="AC")
    asked = dataclasses.replace(
        asked,
        task=config.TaskConfig("copy", {"N": 4, "context": 16}),
        training=config.TrainingConfig(steps=40, batch=4, lr=0.01, warmup=4),
    )
    assert here.identity == plan_run(asked).identity and known_runs(written.parent) == {here.identity: written}
    assert evaluate_checkpoint(open_trained(written), "last", 8, None)[0].metrics["token_accuracy"].count == 32
    opened = open_run(written)
    assert opened.plan.config.training.log_every == 10  # as the folder has it
    opened = create_run(asked, parent=written.parent)
    assert opened.folder == written
    result = train(opened, Recorder())
    assert result["data_sha256"] == "639a135809db6d901a56df3597ff2327adf5349b668991b9263c60e2068f46fa"
    names = (written, FOLDERS[0].parent / "finished")
    ours, theirs = (
        SafetensorsStore(path / "checkpoints").load("last", read_record(path).written_identity) for path in names
    )
    assert ours and theirs
    for name, tensor in ours.tensors.items():  # bits are another machine's
        torch.testing.assert_close(tensor, theirs.tensors[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("before", "now", "identity"),
    [
        ("gdn2", "gdn-wide", "45d7d4f5679d1130"),
        ("llama-rope,gdn2,gdn", "llama-rope,gdn-wide,gdn", "fe0a7b91b20a772b"),
        ("gdn2", "gdn2", "108cabcbcb989ed1"),
    ],
)
def test_gdn2_is_what_it_was_when_a_folder_was_written(
    before: str, now: str, identity: str, folder: Path, tmp_path: Path
) -> None:
    """Identities as the version had them that called gdn-wide so, and as the one has that knows Gated DeltaNet-2.

    gdn-wide has another epsilon since, which such a folder doesn't name.
    """
    size, then = "3L32D2H" if "," in now else "1L32D2H", {} if now == before else {"norm_eps": 1e-6}
    each = varied(tiny_config(), "model", model=now, size=size, canon="AbC", mixer=then)
    whole = train(create_run(each, tmp_path / "whole"), Recorder())
    stopped(folder, each)
    edit(folder / "config.json", lambda file: file["asked"]["model"].update(model=before, mixer={}))
    here = read_record(folder)
    assert here.identity[:16] == identity and here.asked["model"]["model"] == now
    (section,) = sections(load_runs([folder]))
    assert section.rows[0].settings["model.model"] == now
    assert evaluate_checkpoint(open_trained(folder), "last", 4, None)[1] == 4
    assert train(open_run(folder), Recorder())["weights_sha256"] == whole["weights_sha256"]


def test_a_folder_of_a_later_version_whose_new_field_is_at_its_default(
    folder: Path, monkeypatch: pytest.MonkeyPatch, grown: Callable[[], None]
) -> None:
    before = plan_run(tiny_config()).identity
    with monkeypatch.context():
        grown()
        each = tiny_config()
        later = config.TrainingConfig(**dataclasses.asdict(each.training))
        stopped(folder, dataclasses.replace(each, training=later))
        monkeypatch.undo()
    assert read_record(folder).identity == before
    assert open_run(folder).plan.identity == before
    assert train(open_run(folder), Recorder())["identity"] == before


def test_a_field_of_a_later_version_that_is_not_at_its_default_is_another_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, grown: Callable[[], None]
) -> None:
    before = plan_run(tiny_config()).identity
    grown()
    each = tiny_config()
    later = config.TrainingConfig(**dataclasses.asdict(each.training), novelty="on")  # type: ignore[call-arg]
    train(create_run(dataclasses.replace(each, training=later), folder), Recorder())
    monkeypatch.undo()
    assert read_record(folder).identity != before
    with pytest.raises(InputError, match=r"a run of a newer canonlab: this one has no training.novelty"):
        open_run(folder)
    assert evaluate_checkpoint(open_trained(folder), "last", 4, None)[1] == 12  # asks for task and model alone


def test_a_parameter_that_a_task_gains_changes_no_data() -> None:
    @dataclasses.dataclass(frozen=True)
    class Grown(Copy):
        shift: int = dataclasses.field(default=0, metadata={"introduced": 0})

    task = build_task("copy", {"N": 6, "context": 28})
    same, other = Grown(N=6, context=28), Grown(N=6, context=28, shift=1)
    assert same.identity == task.identity and same.stream_key(0) == task.stream_key(0)
    assert other.identity["parameters"] == {"N": 6, "shift": 1} and other.stream_key(0) != task.stream_key(0)


def test_an_evaluation_asks_for_task_and_model_alone(folder: Path) -> None:
    train(create_run(tiny_config(), folder), Recorder())
    edit(folder / "config.json", lambda file: file["asked"]["training"].update(schedule="unheard-of"))
    with pytest.raises(InputError):
        open_run(folder)
    assert evaluate_checkpoint(open_trained(folder), "best", 4, None)[0].metrics
    edit(folder / "config.json", lambda file: file["asked"]["model"].update(canon="ABC"))
    with pytest.raises(InputError, match="model.canon"):
        open_trained(folder)
