"""Atomic files, names that are safe, and what is said of files that can't be read."""

import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from canonlab.errors import InputError, Unreadable
from canonlab.files import (
    FORMAT,
    exists,
    read_bytes,
    read_json,
    replacing,
    require_safe_name,
    safe_name,
    write_json,
    write_text,
    writing,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half of")
        raise RuntimeError
    assert read_json(path)["a"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="nobody knows there who is writing")
def test_what_a_kill_has_left_of_a_users_file_is_removed_and_nothing_else(tmp_path: Path) -> None:
    path, mine = tmp_path / "page.html", tmp_path / ".page.html.mine"
    left, other = tmp_path / ".page.html.12.34", tmp_path / ".other.html.12.34"
    for each in (left, other, mine):
        each.write_text("half of")
    with writing(path, "page") as living:
        living.write_text("first")
        assert not left.exists()
        with ThreadPoolExecutor() as pool:  # a second report on the same page meanwhile
            pool.submit(write_text, path, "second", "page").result()
        assert living.exists() and path.read_text() == "second"
    assert path.read_text() == "first"
    assert set(tmp_path.iterdir()) == {path, mine, other}


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
    assert read_json(path) == {"format": FORMAT, "a": 1}
    path.write_text('{"format": 1, "a": 1}')
    assert read_json(path) == {"format": 1, "a": 1}
    path.write_text('{"format": 99}')
    with pytest.raises(InputError, match="format 99, written by a newer canonlab"):
        read_json(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read .*nothing.json"):
        read_json(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    "change", [('"a": 1', '"a": 2'), ('"a": 1', '"a": true'), ('"a"', '"b"'), ('"sha256"', '"sha1"')]
)
def test_any_change_of_what_was_written_is_noticed(tmp_path: Path, change: tuple[str, str]) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"a": 1, "b": [0.1, None, "\u00e9"]})
    read_json(path)
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(InputError, match="file.json is damaged: its content is not what was written"):
        read_json(path)


def test_files_have_the_mode_that_the_umask_gives(tmp_path: Path) -> None:
    with replacing(tmp_path / "file") as temporary:
        temporary.chmod(0o600)
    (tmp_path / "plain").touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


HOSTILE = [
    "../../docs",
    "/etc/passwd",
    "C:\\windows",
    "~/x",
    ".",
    "..",
    "",
    " ",
    ".hidden",
    "a.",
    "a/b",
    "a\nb",
    "a\0b",
    "-\x1b[2J",
    "con",
    "Nul.tar.gz",
    "COM1",
    "имя",
    "名前" * 200,
    "x" * 1000,
    "\udcff",
    "a b",
    "é",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_safe_name_is_one_for_every_system(text: str, tmp_path: Path) -> None:
    name = safe_name(text)
    assert re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]*", name) and len(name) <= 120 and not name.endswith(".")
    assert not re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name, re.IGNORECASE)
    (tmp_path / name).touch()
    assert safe_name(name) == name, "a name that is safe stays as it is"
    with pytest.raises(InputError, match=r"^name = .*: must be a file's name of at most 120 letters.*, such as '.+'$"):
        require_safe_name("name", text)


def test_different_texts_have_different_names() -> None:
    texts = ["имя", "ИМЯ", "имена", "名前", "x" * 200, "x" * 201, "é", "e\u0301"]
    assert len({safe_name(text).lower() for text in texts}) == len(texts)
    assert require_safe_name("name", "paper_2.1-a+b") == "paper_2.1-a+b"


def loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize(("make", "reason"), [(Path.mkdir, "not a file"), (loop, "Too many levels of symbolic links")])
def test_what_the_system_says_is_no_damage(make: Callable[[Path], None], reason: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    make(path)
    for read in (read_bytes, read_json):
        with pytest.raises(InputError, match=f"^cannot read .*file.json: {reason}$"):
            read(path)


def test_a_file_that_is_closed_to_us(powerless: Path) -> None:
    path = powerless / "folder" / "file.json"
    path.parent.mkdir()
    write_json(path, {"a": 1})
    path.chmod(0)
    assert exists(path)
    with pytest.raises(Unreadable, match=r"^cannot read .*file.json: Permission denied$"):
        read_json(path)
    path.parent.chmod(0)
    with pytest.raises(Unreadable, match=r"^cannot read .*file.json: Permission denied$"):
        exists(path)
    path.parent.chmod(0o700)
    assert not exists(powerless / "nothing") and not exists(path / "below")


def test_bytes_of_a_name_that_are_no_text_are_written_out(tmp_path: Path) -> None:
    write_text(tmp_path / "page", "folder \udcff", "page")
    assert (tmp_path / "page").read_text() == "folder \\udcff"
