"""What a stream is given: colours where it is a terminal, and no escape sequence of anybody else's anywhere."""

import io
import re
import sys

import pytest
from rich.text import Text

from canonlab.checks import Check
from canonlab.cli import console, terminal
from canonlab.cli.console import Progressing, Terminal
from canonlab.tasks.catalog import build_task

EVIL = "\x1b[31m[bold]\x9b2J\u202e:smile:[/]\x07"
SHOWN = r"\x1b[31m[bold]\x9b2J\u202e:smile:[/]\x07"
VARIABLES = (
    "NO_COLOR",
    "FORCE_COLOR",
    "TTY_COMPATIBLE",
    "TTY_INTERACTIVE",
    "CLICOLOR_FORCE",
    "COLORTERM",
    "TERM",
    "COLUMNS",
)


class Stream(io.StringIO):
    """Standard output or error."""

    def __init__(self, tty: bool) -> None:
        super().__init__()
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing that speaks of terminals but TERM."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return monkeypatch


def window(monkeypatch: pytest.MonkeyPatch, tty: bool) -> str:
    """A window of a task as standard output gets it."""
    out = Stream(tty)
    monkeypatch.setattr(sys, "stdout", out)
    console.print_window(build_task("copy", {"N": 4, "context": 20}), 3, [0, 1, 2], [0, 1, 0])
    return out.getvalue()


def test_a_terminal_has_colours(environment: pytest.MonkeyPatch) -> None:
    assert re.search(r"\x1b\[[0-9;]*35m", window(environment, tty=True))


@pytest.mark.parametrize(
    "settings", [{}, {"FORCE_COLOR": "1"}, {"FORCE_COLOR": "3", "TTY_COMPATIBLE": "1", "TTY_INTERACTIVE": "1"}]
)
def test_nothing_else_has(environment: pytest.MonkeyPatch, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        environment.setenv(name, value)
    text = window(environment, tty=False)
    assert "\x1b" not in text and "[" in text, "brackets stand for what colours would show"
    err = Stream(tty=False)
    environment.setattr(sys, "stderr", err)
    with Progressing() as progress:
        assert not progress.live
        progress.message("a line")
    assert err.getvalue() == "a line\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_what_a_user_has_forbidden(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    environment.setenv("FORCE_COLOR", "1")
    text = window(environment, tty=True)
    assert not re.search(r"\x1b\[([0-9]+;)*[34][0-9]m", text)
    assert ("\x1b" in text) == (name == "NO_COLOR"), "bold is no colour, but too much for a dumb terminal"


def test_a_dumb_terminal_has_no_bar(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TERM", "dumb")
    environment.setattr(sys, "stderr", Stream(tty=True))
    assert not Progressing().live
    environment.setenv("TERM", "xterm")
    assert Progressing().live


@pytest.mark.parametrize("tty", [False, True])
def test_names_act_on_no_terminal(environment: pytest.MonkeyPatch, tty: bool) -> None:
    for stream in ("stdout", "stderr"):
        environment.setattr(sys, stream, Stream(tty))
    environment.setenv("NO_COLOR", "1")
    environment.setenv("COLUMNS", "400")
    console.print_rows([{EVIL: EVIL, "number": 3}])
    console.print_checks([Check(EVIL, False, EVIL, EVIL)])
    console.print_tables([Text(EVIL)])
    metric = {"value": 0.5, "low": 0.1, "high": 0.9, "right": 3, "count": 6}
    console.print_evaluation({"metrics": {EVIL: metric}, "headline": [EVIL], "notes": {EVIL: 1.0}}, EVIL)
    terminal.say(EVIL)
    terminal.warn(EVIL)
    with Progressing() as progress:
        progress.message(EVIL)
        row = progress.bar.add_task(EVIL, total=3, facts=EVIL)
        progress.bar.update(row, completed=1)
    for stream, least in ((sys.stdout, 10), (sys.stderr, 2)):
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()) if tty else stream.getvalue()  # type: ignore[attr-defined]
        assert not re.search("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e]", text)
        assert text.replace("\\x07", "").count(SHOWN.replace("\\x07", "")) >= least
        assert "😄" not in text


def test_a_line_of_a_message_is_one_line(environment: pytest.MonkeyPatch) -> None:
    err = Stream(tty=False)
    environment.setattr(sys, "stderr", err)
    Progressing().message("runs/a\ncanonlab: all is well")
    assert err.getvalue() == "runs/a\\ncanonlab: all is well\n"


def test_a_terminal_breaks_lines_of_a_heading() -> None:
    out = Stream(tty=False)
    Terminal(out).print(Text("FLOPs\n/token"))
    assert out.getvalue() == "FLOPs\n/token\n"
