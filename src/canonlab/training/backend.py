"""What a run runs on: resolved once when the run is created, stored, and never chosen again."""

import contextlib
import dataclasses
import functools
import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch

from canonlab.canon import Canon, choose_implementation
from canonlab.errors import InputError, require_integer, shown, unknown
from canonlab.models.decoder import Decoder
from canonlab.models.mixers import fla
from canonlab.models.mixers.base import Mixer
from canonlab.models.mixers.implementations import available
from canonlab.training.config import MOST_THREADS, BackendConfig

COMPILE_FROM_WIDTH = 256
"""Below it a CPU run is over before compiling has paid for itself: `canonlab bench train`, the tiny model."""

BF16_FROM_WIDTH, BF16_FROM_HEADS = 128, 64 * 64
"""The least width, and the least product of the width and that of attention heads, at which bf16 pays on a CPU. Below
them converting, and attention in narrow heads, cost more than faster products save. On one core of an AMD EPYC (Zen 5)
a step of llama-rope takes 0.6 times as long in bf16 at 2L128D, but 1.3 times at 2L128D8H, and 1.4 times at 2L64D4H."""

GRAPHS = 64
"""Compiled forms of blocks that a run may need: one for each kind of block and shape of batch."""


@dataclass(frozen=True)
class Backend:
    """Device, dtype of products, whether blocks are compiled, CPU threads; who computes Canon and linear mixers."""

    device: str
    precision: str
    compile: bool
    threads: int
    canon: str
    linear: str

    def __post_init__(self) -> None:
        require_integer("threads", self.threads, 1, MOST_THREADS)

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which forward passes run."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(torch.device(self.device).type, torch.bfloat16)

    def eagerly(self) -> AbstractContextManager[Any]:
        """The context in which compiled blocks run as they are written, for any shape of batch."""
        return torch.compiler.set_stance("force_eager") if self.compile else contextlib.nullcontext()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """The context in which a run works: with its CPU threads, and arithmetic as `precision` has it.

        Afterwards all is as it was. Meanwhile nothing of what other runs of the process, or a user's file that was
        imported for one of them, have made of it counts: a run has the bits that it has alone.

        A compiled run starts with nothing compiled by others: the compiler counts the shapes of all blocks of a process
        together, and goes on eagerly, thus to other bits, when there are too many. That many of one run are an error
        (`limit_passed`).
        """
        before = torch.get_num_threads(), torch.get_default_dtype(), torch.get_float32_matmul_precision()
        compiling: AbstractContextManager[Any] = contextlib.nullcontext()
        if self.compile:
            torch.compiler.reset()
            compiling = torch._dynamo.config.patch(recompile_limit=GRAPHS, fail_on_recompile_limit_hit=True)
        try:
            _set_arithmetic(self.threads, torch.float32, "highest")
            with compiling:
                yield
        finally:
            _set_arithmetic(*before)

    def place(self, model: Decoder) -> Decoder:
        """Move a model to the device, fix what computes its layers, and compile its blocks where asked."""
        for module in model.modules():
            if isinstance(module, Canon):
                module.implementation = self.canon
            elif isinstance(module, Mixer):
                module.implementation = self.linear
        model.to(self.device)
        if self.compile:
            model.compile_blocks()
        return model


def _set_arithmetic(threads: int, dtype: torch.dtype, products: str) -> None:
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)
    torch.set_float32_matmul_precision(products)


def limit_passed(error: BaseException) -> str | None:
    """A line where an error means that a compiled run needs more than `GRAPHS`.

    It is known by its name, as the module that has its class takes seconds to import.
    """
    if type(error).__name__ != "FailOnRecompileLimitHit":
        return None
    return (
        f"more than {GRAPHS} kinds of blocks and shapes of batches to compile, and eager ones have other bits; "
        "begin it anew with compile = off"
    )


def resolve_backend(config: BackendConfig, width: int, head: int | None = None) -> tuple[Backend, list[str]]:
    """The backend for a model of that width, and lines that say what was not available.

    `head` is the width of its narrowest attention heads, None where it has none.
    """
    notes: list[str] = []
    device = find_device(config.device)
    on_cpu = device.type == "cpu"
    precision = config.precision
    if precision == "auto":
        pays = not on_cpu or (width >= BF16_FROM_WIDTH and width * (head or width) >= BF16_FROM_HEADS)
        precision = "bf16" if pays and _multiplies_bf16(device) else "fp32"
    compile_blocks = config.compile == "on"
    if config.compile == "auto":
        compile_blocks = device.type == "cuda" or (on_cpu and width >= COMPILE_FROM_WIDTH)
    if compile_blocks and not _can_compile(device):
        if config.compile == "on":
            raise InputError(
                "compile = 'on': torch.compile needs a C++ compiler (g++ or clang++) and found none that works"
            )
        notes.append("no working C++ compiler: blocks run eagerly, which is slower")
        compile_blocks = False
    threads = config.threads or min(torch.get_num_threads(), MOST_THREADS)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    linear = config.linear
    if linear == "auto":
        linear = available(device)[-1]
    elif linear == "fla":
        fla.require(device)
    elif linear not in available(device):
        raise InputError(f"linear = 'numba': needs a CPU and numba, and is to run on {str(device)!r}")
    return Backend(str(device), precision, compile_blocks, threads, choose_implementation(device, dtype), linear), notes


def usable(begun: Backend) -> tuple[Backend, list[str]]:
    """The backend that a run was begun with, as far as this machine has it, and what it has not, in lines."""
    notes = []
    backend = begun
    try:
        find_device(backend.device)
    except InputError:
        there = str(find_device("auto"))
        notes.append(f"the run was begun on {begun.device}, which isn't here: it goes on on {there}")
        backend = dataclasses.replace(backend, device=there, compile=backend.compile and there.startswith("cuda"))
    device = torch.device(backend.device)
    if backend.compile and not _can_compile(device):
        notes.append("the run was begun compiled and goes on eagerly: no C++ compiler works here")
        backend = dataclasses.replace(backend, compile=False)
    canon = choose_implementation(device, torch.bfloat16 if backend.precision == "bf16" else torch.float32)
    if backend.canon not in (canon, "reference"):
        notes.append(f"the run was begun with Canon by {backend.canon} and goes on by {canon}")
        backend = dataclasses.replace(backend, canon=canon)
    if backend.linear not in available(device):
        notes.append(f"the run was begun with linear mixers by {backend.linear} and goes on by torch")
        backend = dataclasses.replace(backend, linear="torch")
    return backend, [f"{note}, so bits will differ" for note in notes]


DEVICES = ("auto", "cpu", "cuda", "cuda:N", "mps")


def find_device(name: str) -> torch.device:
    """The device that a word of `DEVICES` stands for. InputError for others, and where it can't be used."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise unknown("device", name, DEVICES)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device = {shown(name)}: not usable here ({reason})") from None
    return device


def _multiplies_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bf16 faster than fp32, by what is known of it.

    Emulated bf16 is slower. So are AVX-512's bf16 instructions on Intel's processors, at 0.58 of fp32's rate on a Xeon;
    their matrix unit (AMX) is much faster, and so are the instructions on AMD's. No measurement: what a run is must not
    hang on what else its machine was doing.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        has = torch.cpu.get_capabilities()
        return bool(has.get("amx_bf16") or (has.get("avx512_bf16") and "AMD" in str(has.get("cpu_name"))))
    return False


def _can_compile(device: torch.device) -> bool:
    """Whether torch.compile works, found by compiling one tiny function."""
    if device.type == "cpu" and not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++", "cl")):
        return False
    return _compiles(device)


@functools.cache
def _compiles(device: torch.device) -> bool:
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(8, device=device))
    except Exception:  # a broken tool chain fails in ways of its own, and each means the same here
        return False
    return True


def environment(device: str) -> dict[str, str]:
    """Versions and machine, for the record: what a bit-exact resume depends on besides the configuration."""
    hardware = torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor()
    return {**_packages(), "python": platform.python_version(), "system": platform.system(), "hardware": hardware}


@functools.cache
def _packages() -> dict[str, str]:
    return {name: metadata.version(name) for name in ("canonlab", "torch", "numpy", "numba", "safetensors")}


def _processor() -> str:
    name = torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"
