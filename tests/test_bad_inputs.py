"""What the command line makes of bad input: one clear line, soon, whatever it is, and nothing is left behind.

The inputs are in tests/bad_inputs, by kind. Each is given to `main` in this process, where a start takes no time, and
some are given once more to a process of its own.
"""

import io
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bad_inputs import ALL, environment
from bad_inputs.case import Bad
from canonlab import cli
from canonlab.data.jit import cache_root
from canonlab.training.loop import train
from canonlab.training.run import create_run
from tiny_runs import Recorder, tiny_config

if sys.platform == "win32":
    pytest.skip("there are no pipes and devices among the files there", allow_module_level=True)

LONGEST = 600
SECONDS = 20
"""After which an input is said to hang: five are too many, on a machine that does nothing else."""

MEMORY = 4 << 30
"""Bytes that an input may take, beside what the tests have taken before."""

CACHE = str(cache_root())
ONE_BY_ONE = [bad for bad in ALL if not bad.environment]
PROCESSES = [*ONE_BY_ONE[:: len(ONE_BY_ONE) // 10], *(bad for bad in ALL if bad.environment)]

slowest = [(0.0, "")]


class TooLong(BaseException):
    """No command catches this one."""


@pytest.fixture(scope="module", autouse=True)
def said(request: pytest.FixtureRequest) -> Iterator[None]:
    """Says at the end which input took longest."""
    yield
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{len(ALL)} bad inputs; the longest took {max(slowest)[0]:.1f} s: {max(slowest)[1][:100]}")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`run` and `other` are finished; `begun` is `run` without its result."""
    folder = tmp_path_factory.mktemp("runs")
    for name, seed in (("run", 0), ("other", 1)):
        config = tiny_config(steps=4, eval_every=2, checkpoint_every=2, seed=seed)
        train(create_run(config, folder / name), Recorder())
    shutil.copytree(folder / "run", folder / "begun")
    (folder / "begun" / "result.json").unlink()
    return folder


@pytest.fixture
def prepared(tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder; a home folder and others are beside and above it."""
    folder = tmp_path / "above" / "work"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CANONLAB_CACHE", CACHE)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return folder


def make(bad: Bad, folder: Path, runs: Path) -> dict[str, tuple[int, ...]]:
    """Make a folder ready; what is on the disk then."""
    if {"run", "begun"} & set(bad.words):
        shutil.copytree(runs, folder, dirs_exist_ok=True)
    bad.make(folder)
    return tree(folder.parents[1])


def tree(folder: Path) -> dict[str, tuple[int, ...]]:
    """What is in a folder, to any depth, with size and time of last change of what is no folder; locks apart."""
    found = {}
    for parent, folders, files in os.walk(folder):
        found |= {os.path.join(parent, name): () for name in folders}
        for path in (os.path.join(parent, name) for name in files if name != ".lock"):
            status = os.lstat(path)
            found[path] = (status.st_size, status.st_mtime_ns)
    return found


def require_one_clear_line(bad: Bad, status: int, out: str, err: str) -> None:
    assert (status, out) == (2, ""), err
    assert err.startswith("canonlab: error: ") and err.endswith("\n")
    line = err[:-1]
    assert line.isprintable(), "one line, nothing that a terminal acts on"
    assert len(line) <= LONGEST
    assert not [word for word in bad.says if word not in line], line


@contextmanager
def bounded(bad: Bad) -> Iterator[None]:
    """A time and, where it can be limited, memory; so that an input that takes all of one stops the test alone."""

    def ring(*_: object) -> None:
        raise TooLong

    before, limits = signal.signal(signal.SIGALRM, ring), resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, limits[1]))
    signal.alarm(SECONDS)
    began = time.monotonic()
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        slowest.append((time.monotonic() - began, bad.title))


@pytest.mark.parametrize("bad", ONE_BY_ONE, ids=[bad.title[:100] for bad in ONE_BY_ONE])
def test_is_one_clear_line(
    bad: Bad, prepared: Path, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = make(bad, prepared, runs)
    monkeypatch.setattr(sys, "argv", ["canonlab", *bad.words])
    monkeypatch.setattr(sys, "stdin", io.StringIO(bad.stdin))
    with pytest.raises(SystemExit) as stop, bounded(bad):
        cli.main()
    require_one_clear_line(bad, int(stop.value.code or 0), *capsys.readouterr())
    assert tree(prepared.parents[1]) == before


@pytest.mark.slow
@pytest.mark.parametrize("bad", PROCESSES, ids=[bad.title[:100] for bad in PROCESSES])
def test_is_one_clear_line_of_a_process(bad: Bad, prepared: Path, runs: Path) -> None:
    before = make(bad, prepared, runs)
    command = [sys.executable, "-m", "canonlab", *bad.words]
    surroundings = os.environ | bad.environment
    ended = subprocess.run(command, input=bad.stdin, env=surroundings, capture_output=True, text=True, timeout=120)
    require_one_clear_line(bad, ended.returncode, ended.stdout, ended.stderr)
    assert tree(prepared.parents[1]) == before


@pytest.mark.slow
@pytest.mark.parametrize("variables", environment.IGNORED, ids=str)
def test_what_the_environment_says_is_no_reason_to_stop(variables: dict[str, str], prepared: Path) -> None:
    command = [sys.executable, "-m", "canonlab", *environment.SAMPLE.split()]
    found = [
        subprocess.run(command, env=os.environ | more, capture_output=True, text=True, timeout=120)
        for more in ({}, variables)
    ]
    assert [ended.returncode for ended in found] == [0, 0]
    assert found[0].stdout == found[1].stdout != ""
    assert "Traceback" not in found[1].stderr


def test_there_are_many_and_no_two_are_the_same() -> None:
    titles = [bad.title for bad in ALL]
    assert len(set(titles)) >= 400
    assert [title for title in set(titles) if titles.count(title) > 1] == []
