"""Standard streams that are closed, unread, full or poor in characters; and Ctrl-C before the program is there."""

import codecs
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from canonlab import cli
from canonlab.cli import streams
from canonlab.cli.console import Progressing
from canonlab.cli.streams import Stream
from canonlab.errors import Interrupted
from canonlab.training.loop import train
from canonlab.training.run import create_run
from tiny_runs import tiny_config

COMMANDS = ["--version", "tasks", "tasks --json", "tasks depo1", "sample copy --count 400 --json", "train --help"]


def status(monkeypatch: pytest.MonkeyPatch, command: str, **given: object) -> int:
    """The exit status of a command with these streams."""
    monkeypatch.setattr(sys, "argv", ["canonlab", *command.split()])
    for name, stream in given.items():
        monkeypatch.setattr(sys, name, stream)
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return int(exit_.value.code or 0)


def unread() -> io.TextIOWrapper:
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return open(writer, "w")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_goes_away_is_content(
    command: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out = unread()
    assert status(monkeypatch, command, stdout=out) == 0
    out.close()  # where Python would complain of what it could not write
    assert capfd.readouterr().err == ""


def test_an_error_stays_an_error_without_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    assert status(monkeypatch, "tasks nothing", stdout=unread(), stderr=unread()) == 2


@pytest.mark.parametrize("command", ["tasks", "tasks --json", "report"])
def test_streams_that_are_closed_from_the_start(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert status(monkeypatch, command, stdout=None, stderr=None, stdin=None) == (2 if command == "report" else 0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
@pytest.mark.parametrize("command", ["--version", "tasks --json"])
def test_output_that_can_not_be_written_is_a_failure(
    command: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w") as full:
        assert status(monkeypatch, command, stdout=full) == 1
    err = capfd.readouterr().err
    assert err.startswith("canonlab: error: ") and "No space left" in err and err.count("\n") == 1


def test_a_broken_pipe_of_somebody_else_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lose(*_: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("canonlab.cli.commands.run", lose)
    assert status(monkeypatch, "tasks") == 1
    assert capsys.readouterr().err == "canonlab: error: Broken pipe\n"


class Failing(io.StringIO):
    """A stream that fails from some write on."""

    def __init__(self, error: Exception, after: int) -> None:
        super().__init__()
        self.error, self.left = error, after

    def write(self, text: str) -> int:
        if not self.left:
            raise self.error
        self.left -= 1
        return super().write(text)


@pytest.mark.parametrize(
    "error", [BrokenPipeError(), OSError(5, "Input/output error"), ValueError("I/O on closed file")]
)
@pytest.mark.parametrize("tty", [False, True])
def test_no_run_is_lost_with_the_terminal(
    error: Exception, tty: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stream = Failing(error, after=2)
    monkeypatch.setattr(stream, "isatty", lambda: tty)
    monkeypatch.setattr(sys, "stderr", Stream(stream, dispensable=True))
    run = create_run(tiny_config(), tmp_path / "run")
    with Progressing() as listener:
        train(run, listener)
        listener.message("a last word")
    assert run.done and sys.stderr.lost  # type: ignore[attr-defined]
    print("nor is an error", file=sys.stderr)


def test_a_busy_terminal_is_not_lost() -> None:
    inner = Failing(BlockingIOError(), after=0)
    stream = Stream(inner, dispensable=True)
    stream.write("a")
    inner.left = 1
    stream.write("b")
    assert inner.getvalue() == "b" and not stream.lost


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("ascii", r"a - <-> ... \xe9 \u6587 \udcff"),
        ("latin-1", r"a - <-> ... é \u6587 \udcff"),
        ("utf-8", "a – ↔ … é 文 \\udcff"),
    ],
)
def test_characters_that_an_encoding_does_not_have(encoding: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding))
    streams.prepare()
    print("a – ↔ … é 文 \udcff", end="", flush=True)
    assert raw.getvalue().decode(encoding) == text
    with pytest.raises(UnicodeDecodeError):
        codecs.lookup_error("spelled")(UnicodeDecodeError("ascii", b"\xff", 0, 1, ""))


@pytest.mark.parametrize("command", ["--help", "tasks", "models --size 1L16D2H", "claims", "train --oops", "tasks 名"])
def test_every_command_writes_ascii(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = (io.TextIOWrapper(io.BytesIO(), "ascii") for _ in range(2))
    wrong = command in ("train --oops", "tasks 名")
    assert status(monkeypatch, command, stdout=out, stderr=err) == (2 if wrong else 0)
    written = err if wrong else out
    written.flush()
    assert len(written.buffer.getvalue()) > 30  # type: ignore[attr-defined]


def test_bytes_that_are_no_text_are_bad_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b'{"prompt": [0], \xff}\n'), "utf-8")
    assert status(monkeypatch, "score copy", stdin=stdin) == 2
    assert capsys.readouterr().err.startswith("canonlab: error: line 1 is not {")


INTERRUPTED_IMPORT = """
import os, signal, sys

class Finder:
    def find_spec(self, name, *_):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
from canonlab.cli import main
sys.argv = ["canonlab", "tasks"]
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
@pytest.mark.parametrize("name", ["torch", "canonlab.cli.commands"])
def test_ctrl_c_while_importing(name: str) -> None:
    code = INTERRUPTED_IMPORT.format(name=name)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "canonlab: interrupted\n")


def test_ctrl_c_while_stopping(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(commands: object) -> None:
        raise Interrupted("stopped at step 3 of 9", "canonlab resume x")

    monkeypatch.setattr("canonlab.cli.commands.run", run)
    assert status(monkeypatch, "resume x") == 0
    assert capsys.readouterr().err == "canonlab: stopped at step 3 of 9; go on with: canonlab resume x\n"
    finish = streams.finish
    monkeypatch.setattr(streams, "finish", lambda code: signal.raise_signal(signal.SIGINT) or finish(code))
    assert status(monkeypatch, "resume x") == 130
    assert capsys.readouterr().err.endswith("\ncanonlab: interrupted\n")


def test_a_program_in_the_background_stays_deaf_to_ctrl_c() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with cli._ctrl_c_ends_at_once():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    with cli._ctrl_c_ends_at_once():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
