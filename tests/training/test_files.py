"""Atomic files."""

from pathlib import Path

import pytest

from canonlab.errors import InputError
from canonlab.training.files import read_json, replacing, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half of")
        raise RuntimeError
    assert read_json(path)["a"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_a_newer_format_is_refused_and_this_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    assert read_json(path) == {"format": 1, "a": 1}
    path.write_text('{"format": 99}')
    with pytest.raises(InputError, match="format 99, written by a newer canonlab"):
        read_json(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read .*nothing.json"):
        read_json(tmp_path / "nothing.json")
