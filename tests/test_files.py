"""Atomic files."""

from pathlib import Path

import pytest

from canonlab.errors import InputError
from canonlab.files import read_json, replacing, write_json, write_text, writing


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half of")
        raise RuntimeError
    assert read_json(path)["a"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


@pytest.mark.parametrize("path", [".", "/", "..", "file/below", "folder"])
def test_a_path_that_cannot_be_written_is_named(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=f"^csv '{path}': cannot be written: [A-Z]"):
        write_text(Path(path), "text", "csv")
    assert {p.name for p in tmp_path.iterdir()} == {"file", "folder"}


def test_what_is_no_fault_of_the_path_is_a_failure(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="csv '.*file': cannot be written: No space left"),
        writing(tmp_path / "file", "csv"),
    ):
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


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
