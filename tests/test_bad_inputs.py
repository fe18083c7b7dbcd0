"""Each bad input is one clear line, soon, and leaves nothing behind."""

import io
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bad_inputs import ALL
from bad_inputs.case import Bad
from canonlab import cli
from canonlab.training.loop import train
from canonlab.training.run import create_run
from tiny_runs import Recorder, tiny_config

LONGEST = 600
"""Characters of a message."""

SECONDS = 20
"""A net for what hangs, not a measurement: none takes five seconds on an idle machine, and the slowest are printed."""

MEMORY = 4 << 30
"""Bytes that an input may make the process take besides what it has."""


class TooLong(BaseException):
    """Raised by the alarm; no command handles it."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, seed in (("run", 0), ("other", 1)):
        train(create_run(tiny_config(steps=4, eval_every=2, checkpoint_every=2, seed=seed), folder / name), Recorder())
    shutil.copytree(folder / "run", folder / "begun")
    (folder / "begun" / "result.json").unlink()
    return folder


SLOWEST: dict[str, float] = {}


@pytest.fixture(scope="module", autouse=True)
def slowest() -> Iterator[None]:
    yield
    print("\nslowest:", *sorted(((round(s, 2), t) for t, s in SLOWEST.items()), reverse=True)[:20], sep="\n  ")


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for parent, names, files in os.walk(folder):
        for name in [*names, *files]:
            path = os.path.join(parent, name)
            status = os.lstat(path)
            found[os.path.relpath(path, folder)] = (0, 0) if name in names else (status.st_size, status.st_mtime_ns)
    return found


@pytest.mark.parametrize("bad", ALL, ids=[bad.title for bad in ALL])
def test_bad_input(
    bad: Bad, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "above" / "work"
    work.mkdir(parents=True)
    if any(word in ("run", "begun") for word in bad.words):
        shutil.copytree(runs, work, dirs_exist_ok=True)
    bad.make(work)
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "argv", ["canonlab", *bad.words])
    monkeypatch.setattr(sys, "stdin", io.StringIO(bad.stdin))
    before = tree(tmp_path)
    status = within(SECONDS, bad)
    out, err = capsys.readouterr()
    left = [path for path, what in tree(tmp_path).items() if before.get(path) != what and not path.endswith(".lock")]
    problems = {
        f"status {status}": status != bad.status,
        "a traceback": "Traceback" in err,
        f"{len(err.splitlines())} lines": len(err.splitlines()) != 1 or not err.startswith("canonlab: error: "),
        f"{len(err)} characters": len(err) > LONGEST,
        "control characters": not err.rstrip("\n").isprintable(),
        "does not say what it is about": not all(word in err for word in bad.says),
        "prints": bool(out),
        f"leaves {left[:4]}": bool(left),
    }
    found = "; ".join(problem for problem, is_there in problems.items() if is_there)
    assert not found, f"{found} | {err[:300]!r} {err[-200:]!r}"


def test_there_are_hundreds_of_them() -> None:
    assert len({bad.title for bad in ALL}) >= 400


def within(seconds: int, bad: Bad) -> object:
    """The exit status of the command, with bounds on time and memory that only what is wrong runs into."""

    def ring(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    signal.alarm(seconds)
    began = time.monotonic()
    try:
        cli.main()
    except SystemExit as stop:
        return stop.code
    except BaseException as error:  # none of them may come out of there
        return f"{type(error).__name__}: {str(error)[:100]!r}"
    finally:
        SLOWEST[bad.title] = time.monotonic() - began
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
