"""Kernels are cached under a hash of their sources, and work without a cache as well."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE

import numba
import pytest

import canonlab
from canonlab.data import jit

PACKAGE = Path(canonlab.__file__).parent


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


def test_the_hash_sees_every_source(tmp_path: Path) -> None:
    for folder in ("data", "tasks/depo", "training"):
        (tmp_path / folder).mkdir(parents=True)
    kernels = tmp_path / "tasks" / "depo" / "kernels.py"
    kernels.write_text("a = 1\n")
    hashes = [jit.sources_hash(tmp_path)]
    kernels.write_text("a = 2\n")
    hashes.append(jit.sources_hash(tmp_path))
    (tmp_path / "data" / "new.py").write_text("")
    hashes.append(jit.sources_hash(tmp_path))
    assert len(set(hashes)) == 3
    (tmp_path / "training" / "other.py").write_text("")
    (tmp_path / "tasks" / "notes.txt").write_text("")
    assert jit.sources_hash(tmp_path) == hashes[-1]


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
    environment = os.environ | {"CANONLAB_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(PACKAGE.parent)}

    def start(dtype: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(program), dtype]
        return subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True, env=environment)

    processes = [start(dtype) for dtype in dtypes]
    assert [process.stdout.readline() for process in processes if process.stdout] == ["ready\n"] * len(dtypes)
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    assert sum(int(process.communicate()[0]) for process in processes) == compiled
    assert len(list((tmp_path / "cache").rglob("*.nbc"))) == compiled


@pytest.mark.slow
def test_an_edit_of_an_inlined_helper_is_seen(tmp_path: Path) -> None:
    """numba's own cache would go on with the old helper: the kernel's own file stays the same."""
    shutil.copytree(PACKAGE, tmp_path / "canonlab", ignore=shutil.ignore_patterns("__pycache__"))
    program = "from canonlab.tasks.copy import Copy; print(Copy(4, 10).windows(0, 0, 3).tokens.tolist())"
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "CANONLAB_CACHE": str(tmp_path / "cache")}

    def run() -> str:
        return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True).stdout

    before = run()
    assert run() == before
    helper = tmp_path / "canonlab" / "data" / "random.py"
    helper.write_text(helper.read_text().replace("0x94D049BB133111EB", "0x94D049BB133111ED"))
    assert run() != before
