"""Kernels are cached under a hash of all that they use, and work without a cache as well."""

import importlib
import os
import shutil
import sys
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from subprocess import PIPE, Popen
from types import FunctionType
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest

import canonlab
from canonlab.data import jit


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache folder for the kernels that the test makes."""
    monkeypatch.setenv("CANONLAB_CACHE", str(tmp_path / "cache"))
    jit.kernel_cache.cache_clear()
    yield tmp_path / "cache"
    jit.kernel_cache.cache_clear()


def add_one(x: int) -> int:
    return x + 1


def test_machine_code_is_loaded_from_the_cache(fresh: Path) -> None:
    outside = numba.config.CACHE_DIR
    first = jit.kernel(add_one)
    assert outside == numba.config.CACHE_DIR
    assert first(1) == 2
    assert list((fresh / "kernels").rglob("*.nbc"))
    second = jit.kernel(add_one)
    assert second(2) == 3
    assert not first.stats.cache_hits and second.stats.cache_hits  # type: ignore[attr-defined]


def test_an_unwritable_cache_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CANONLAB_CACHE", str(tmp_path / "file" / "cache"))
    jit.kernel_cache.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="CANONLAB_CACHE"):
            compiled = jit.kernel(add_one)
        assert compiled(1) == 2
    finally:
        jit.kernel_cache.cache_clear()


def test_a_cache_that_vanishes_is_no_obstacle(fresh: Path) -> None:
    compiled = jit.kernel(add_one)
    shutil.rmtree(fresh)
    fresh.touch()
    with pytest.warns(RuntimeWarning, match="cache"):
        assert compiled(1) == 2


def test_a_damaged_cache_is_no_obstacle(fresh: Path) -> None:
    jit.kernel(add_one)(1)
    for path in (fresh / "kernels").rglob("*.nb*"):
        path.write_bytes(path.read_bytes()[:20])
    with pytest.warns(RuntimeWarning, match="cache"):
        assert jit.kernel(add_one)(1) == 2


HELPER = """from canonlab.data.jit import inlined

STEP = 1


@inlined
def step(x):
    return x + STEP
"""
MAIN = """from canonlab.data.jit import kernel
from helper import step


@kernel
def run(x):
    return step(x)
"""


def test_only_what_a_kernel_uses_compiles_it_anew(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """numba's own cache would go on with the old helper: the kernel's own file stays the same."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "main.py").write_text(MAIN)

    def result(helper: str) -> tuple[int, bool]:
        """What the kernel returns for 10, and whether it was compiled."""
        (tmp_path / "helper.py").write_text(helper)
        for name in ("main", "helper"):
            sys.modules.pop(name, None)
        kernel = importlib.import_module("main").run
        return kernel(10), not kernel.stats.cache_hits

    assert result(HELPER) == (11, True)
    assert result(HELPER) == (11, False)
    assert result(HELPER.replace("STEP = 1", "STEP = 2")) == (12, True)
    assert result(HELPER.replace("x + STEP", "x - STEP")) == (9, True)
    described = HELPER.replace("(x):\n", '(x):\n    """Says what it does."""\n')
    assert result(f"{described}\nOTHER = 7  # and more\n\n\ndef unused():\n    return STEP\n") == (11, False)


def test_the_fingerprint_sees_every_kind_of_value() -> None:
    def of(**values: Any) -> str:
        """The fingerprint of a kernel that names these."""
        return jit.fingerprint(jit.kernel(FunctionType(named.__code__, values)))

    def named() -> Any:
        return value, other  # type: ignore[name-defined]  # noqa: F821

    pair, turned = NamedTuple("Pair", [("a", int), ("b", int)]), NamedTuple("Pair", [("b", int), ("a", int)])
    one, two = IntEnum("Kind", {"A": 1}), IntEnum("Kind", {"A": 2})
    zeros = np.zeros(2, np.int32)
    values = [1, 2, True, 1.0, np.uint64(1), np.int64(1), (1, 2), (1, 3), zeros, zeros + 1, zeros.astype(np.int64)]
    values += [pair, turned, one, two, one.A, two.A, np, np.int32, np.int64, len, add_one, jit.kernel(add_one)]
    assert len({of(value=value, other=0) for value in values}) == len(values)
    assert of(value=add_one, other=0) == of(value=add_one, other=0, third=3)
    with pytest.raises(TypeError, match="module 'canonlab"):
        of(value=jit, other=0)
    layouts = [numba.typeof((0, made(1, 2))) for made in (pair, turned)]
    assert len({jit.fingerprint(jit.kernel(add_one), [layout]) for layout in layouts}) == 2


@pytest.mark.parametrize(
    ("platform", "variable", "folder"),
    [
        ("linux", "XDG_CACHE_HOME", "chosen/canonlab"),
        ("win32", "LOCALAPPDATA", "chosen/canonlab"),
        ("linux", "HOME", "chosen/.cache/canonlab"),
        ("darwin", "HOME", "chosen/Library/Caches/canonlab"),
        ("linux", "CANONLAB_CACHE", "chosen"),
    ],
)
def test_cache_folder(
    platform: str, variable: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CANONLAB_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, str(tmp_path / "chosen"))
    if variable != "HOME" or os.name == "posix":
        assert jit.cache_root() == tmp_path / folder


STARTED_TOGETHER = """
import sys
import numpy
from canonlab.data import jit


def fill(array):
    for i in range(array.size):
        array[i] = i


compiled = jit.kernel(fill)
print("ready", flush=True)
sys.stdin.readline()
compiled(numpy.empty(3, sys.argv[1]))
print(sum(compiled.stats.cache_misses.values()))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("dtypes", "compiled"), [(["i4"] * 3, 1), (["i4", "i8", "f4"], 3)])
def test_processes_that_start_together_compile_a_kernel_once(tmp_path: Path, dtypes: list[str], compiled: int) -> None:
    program = tmp_path / "program.py"
    program.write_text(STARTED_TOGETHER)
    environment = os.environ | {
        "CANONLAB_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": str(Path(canonlab.__file__).parents[1]),
    }

    def start(dtype: str) -> Popen[str]:
        command = [sys.executable, str(program), dtype]
        return Popen(command, stdin=PIPE, stdout=PIPE, text=True, env=environment)

    processes = [start(dtype) for dtype in dtypes]
    assert [process.stdout.readline() for process in processes if process.stdout] == ["ready\n"] * len(dtypes)
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    assert sum(int(process.communicate()[0]) for process in processes) == compiled
    assert len(list((tmp_path / "cache").rglob("*.nbc"))) == compiled
