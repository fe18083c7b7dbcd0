"""The command line called as from a shell, in this process."""

import io
import json
import shlex
import sys
from typing import Any

import pytest

from canonlab import cli


class Cli:
    """Runs commands in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, command: str, stdin: str = "") -> tuple[int, str, str]:
        """(exit status, standard output, standard error)."""
        self.monkeypatch.setattr(sys, "argv", ["canonlab", *shlex.split(command)])
        self.monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        out, err = self.capsys.readouterr()
        return int(exit_.value.code or 0), out, err

    def json(self, command: str, stdin: str = "") -> Any:
        status, out, err = self(f"{command} --json", stdin)
        assert status == 0, err
        return json.loads(out)

    def lines(self, command: str, stdin: str = "") -> list[Any]:
        status, out, err = self(f"{command} --json", stdin)
        assert status == 0, err
        return [json.loads(line) for line in out.splitlines()]
