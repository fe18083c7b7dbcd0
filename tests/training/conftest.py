"""Fixtures of the training tests."""

from pathlib import Path

import pytest

from tiny_runs import Recorder


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"
