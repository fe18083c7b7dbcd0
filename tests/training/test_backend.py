"""What a run runs on is found once, and said where something is missing."""

import contextlib
import dataclasses
import shutil
from pathlib import Path

import pytest
import torch

from canonlab.errors import Failed, InputError
from canonlab.training import backend
from canonlab.training.backend import resolve_backend
from canonlab.training.config import BackendConfig, RunConfig
from canonlab.training.loop import train
from canonlab.training.plan import plan_run
from canonlab.training.run import create_run
from tiny_runs import Recorder, alone, tiny_config, varied

CPU = BackendConfig(device="cpu")


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_multiplies_bf16", lambda device: True)
    monkeypatch.setattr(backend, "_can_compile", lambda device: True)


def test_a_large_model_is_compiled_in_bf16_and_a_tiny_one_is_not() -> None:
    large, _ = resolve_backend(CPU, 512)
    assert (large.precision, large.compile, large.threads) == ("bf16", True, torch.get_num_threads())
    tiny, _ = resolve_backend(CPU, 32)
    assert (tiny.precision, tiny.compile) == ("fp32", False)


@pytest.mark.parametrize(
    ("model", "size", "precision"),
    [
        ("llama-rope", "2L128D", "bf16"),
        ("llama-rope", "2L128D4H", "bf16"),
        ("llama-rope", "2L128D8H", "fp32"),
        ("llama-rope", "2L256D16H", "bf16"),
        ("llama-rope", "2L256D32H", "fp32"),
        ("gdn,llama-rope", "2L128D8H", "fp32"),
        ("gdn", "2L128D8H", "bf16"),
        ("gdn", "2L64D", "fp32"),
        ("llama-rope", "2L64D", "fp32"),
    ],
)
def test_bf16_is_taken_where_it_pays_for_width_and_heads(model: str, size: str, precision: str) -> None:
    config = varied(tiny_config(), "model", model=model, size=size, canon="none")
    config = varied(config, "backend", precision="auto")
    assert plan_run(config).backend.precision == precision


def test_what_was_asked_for_is_taken() -> None:
    asked = BackendConfig(device="cpu", precision="bf16", compile="on", threads=3)
    found, notes = resolve_backend(asked, 32)
    assert (found.precision, found.compile, found.threads, notes) == ("bf16", True, 3, [])


def test_hardware_without_bf16_gets_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_multiplies_bf16", lambda device: False)
    assert resolve_backend(CPU, 512)[0].precision == "fp32"


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True}, "fp32"),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}, "bf16"),
        ({"cpu_name": "AMD EPYC", "avx512_bf16": True}, "bf16"),
        ({"cpu_name": "AMD EPYC"}, "fp32"),
        ({}, "fp32"),
    ],
)
def test_bf16_is_taken_where_it_is_known_to_be_faster(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, object], precision: str
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert resolve_backend(dataclasses.replace(CPU, compile="off"), 512)[0].precision == precision
    asked = BackendConfig(device="cpu", precision="bf16", compile="off")
    assert resolve_backend(asked, 512)[0].precision == "bf16"


def test_without_a_compiler_blocks_are_eager_and_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_can_compile", lambda device: False)
    found, notes = resolve_backend(CPU, 512)
    assert not found.compile
    assert len(notes) == 1
    assert "C++ compiler" in notes[0]
    with pytest.raises(InputError, match="needs a C\\+\\+ compiler"):
        resolve_backend(BackendConfig(device="cpu", compile="on"), 512)


def test_no_compiler_on_the_path_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(backend.shutil, "which", lambda name: None)
    assert not backend._can_compile(torch.device("cpu"))


@pytest.mark.parametrize("device", ["abacus", "gpu", "meta", "xpu", "cuda:", "cuda:x", "cpu:0", ""])
def test_an_unknown_device_is_named_with_those_that_there_are(device: str) -> None:
    with pytest.raises(InputError, match=rf"unknown device '{device}'.*\(allowed: auto, cpu, cuda, cuda:N, mps\)$"):
        resolve_backend(BackendConfig(device=device), 512)


def test_an_unusable_device_is_named() -> None:
    with pytest.raises(InputError, match="device = 'cuda:99': not usable here"):
        resolve_backend(BackendConfig(device="cuda:99"), 512)


def test_threads_and_arithmetic_are_those_of_the_run_while_it_works_and_the_others_afterwards() -> None:
    """A user's file may change them when it is imported, which is for all runs of a sweep."""

    def state() -> tuple[int, torch.dtype, str]:
        return torch.get_num_threads(), torch.get_default_dtype(), torch.get_float32_matmul_precision()

    before = state()
    found, _ = resolve_backend(BackendConfig(device="cpu", threads=before[0] + 1), 32)
    with contextlib.ExitStack() as afterwards:
        afterwards.callback(torch.set_default_dtype, before[1])
        afterwards.callback(torch.set_float32_matmul_precision, before[2])
        torch.set_default_dtype(torch.float64)
        torch.set_float32_matmul_precision("medium")
        with pytest.raises(KeyError), found.working():
            assert state() == (before[0] + 1, torch.float32, "highest")
            raise KeyError
        assert state() == (before[0], torch.float64, "medium")
    assert state() == before


def compiled(context: int, model: str = "llama-rope") -> RunConfig:
    """A compiled run on windows of that size."""
    config = varied(tiny_config(steps=2), "task", set={"N": 6, "context": context})
    return varied(varied(config, "model", model=model, size="2L16D2H", canon="AC"), "backend", compile="on")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_run_after_others_has_the_bits_that_it_has_alone(tmp_path: Path) -> None:
    """The compiler's limit of shapes in a process is 8; here it is 2, as fewer runs pass it."""
    with torch._dynamo.config.patch(recompile_limit=2):
        runs = [create_run(compiled(context), tmp_path / str(context)) for context in (28, 29, 30)]
        weights = [train(run, Recorder())["weights_sha256"] for run in runs]
    assert weights[-1] == alone(compiled(30), tmp_path / "alone")["weights_sha256"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_run_of_more_shapes_than_are_compiled_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "GRAPHS", 1)
    run = create_run(compiled(28, "llama-rope,gla"), tmp_path / "run")
    with pytest.raises(Failed, match="^more than 1 .*, and eager ones have other bits; begin it anew with compile = o"):
        train(run, Recorder())
    assert not run.done
