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
SECONDS = int(os.environ.get("ALARM", 20))


class TooLong(BaseException):
    """No command knows this one."""


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
    new = sorted(p for p, what in tree(tmp_path).items() if before.get(p) != what)
    problems = []
    if status != bad.status:
        problems.append(f"status {status}")
    if "Traceback" in err:
        problems.append("traceback")
    lines = err.splitlines()
    if len(lines) != 1 or not err.startswith("canonlab: error: "):
        problems.append(f"{len(lines)} lines")
    if len(err) > LONGEST:
        problems.append(f"{len(err)} long")
    if not err.rstrip("\n").isprintable():
        problems.append("not printable")
    missing = [w for w in bad.says if w not in err]
    if missing:
        problems.append(f"does not say {missing}")
    if out:
        problems.append("prints")
    new = [p for p in new if not p.endswith(".lock")]
    if new:
        problems.append(f"leaves {new[:4]}")
    assert not problems, f"{'; '.join(problems)} | {err[:300]!r} {err[-200:]!r}"


def within(seconds: int, bad: Bad) -> int:
    def ring(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 30), hard))
    signal.alarm(seconds)
    began = time.monotonic()
    cpu = time.process_time()
    try:
        cli.main()
    except SystemExit as stop:
        return stop.code
    except TooLong:
        return "too long"
    except BaseException as error:
        import traceback

        tb = traceback.extract_tb(error.__traceback__)
        own = [f for f in tb if "canonlab" in f.filename]
        return f"raised {type(error).__name__}: {str(error)[:100]!r} at {[f'{Path(f.filename).name}:{f.lineno}' for f in own[-3:]]}"
    finally:
        SLOWEST[bad.title] = time.monotonic() - began
        if "TIMES" in os.environ:
            open(os.environ["TIMES"], "a").write(
                f"{bad.kind}\t{time.process_time() - cpu:.3f}\t{time.monotonic() - began:.3f}\t{bad.title}\n"
            )
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
