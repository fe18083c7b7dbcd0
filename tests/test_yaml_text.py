"""YAML without silent changes of meaning; every refusal names the place in one line."""

import math
import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from canonlab.errors import InputError
from canonlab.yaml_text import DEEPEST, MOST_BYTES, parse_mapping, parse_yaml, read_mapping


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.0e-3", 0.001),
        (".1e-2", 0.001),
        ("1E+3", 1000.0),
        ("2.", 2.0),
        ("-0", 0),
        ("+12", 12),
        ("10", 10),
        ("0.50", 0.5),
        ("1e03", 1000.0),
        ("-.inf", -math.inf),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("Null", None),
        ("", None),
        ("'010'", "010"),
        ('"1:30"', "1:30"),
        ("'true'", "true"),
        ("!!str 010", "010"),
        ("inf", "inf"),
        ("1.2.3", "1.2.3"),
        ("4-8", "4-8"),
        ("8L512D", "8L512D"),
        ("v1_000", "v1_000"),
        ("10:20x", "10:20x"),
        ("2026-01-01", "2026-01-01"),
        ("2026-01-01 10:00:00", "2026-01-01 10:00:00"),
        ("[1, [2, x], {a: b}]", [1, [2, "x"], {"a": "b"}]),
        ("<<: {a: 1}", {"<<": {"a": 1}}),
        ("=", "="),
    ],
)
def test_what_is_written_is_what_is_meant(text: str, value: Any) -> None:
    assert repr(parse_yaml(text, "here")) == repr(value)


@pytest.mark.parametrize("word", ["yes", "No", "on", "OFF", "y", "n"])
def test_only_true_and_false_are_booleans(word: str) -> None:
    assert parse_yaml(word, "here") == word


@pytest.mark.parametrize(
    "text",
    [
        *("010", "-007", "00.5", "0_7", "1:30", "190:20:30.15", "0o17", "0x1F", "-0B11", "1_000", "1_0.5", ".5_0"),
        "1e999",
        pytest.param("9" * 5000, id="5000 digits"),
    ],
)
def test_numbers_that_are_not_plain_are_refused(text: str) -> None:
    with pytest.raises(InputError) as error:
        parse_yaml(f"a: 1\nb: {text}", "f.yaml")
    message = str(error.value)
    assert message.startswith(f"f.yaml, line 2: '{text[:50]}") and len(message) < 250
    assert message.endswith("is no plain decimal number: write one, or put text in quotes")
    assert parse_yaml(f"'{text}'", "f.yaml") == text


def test_what_other_readers_make_of_such_numbers() -> None:
    assert yaml.safe_load("[010, 1:30, 0x1F, 1_000, 2026-01-01, yes]")[:4] == [8, 90, 31, 1000]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "f.yaml, line 3: 'a' is given twice"),
        ("a: {b: 1,\n 'b': 2}", "f.yaml, line 2: 'b' is given twice"),
        ("1: a\n1.0: b", "f.yaml, line 2: 1.0 is given twice"),
        ("a: &x [1]\nb: *x", "f.yaml, line 2: the alias 'x': write out what it stands for"),
        ("? [1]\n: 2", "f.yaml, line 1: a mapping or list in the place of a name"),
        ("a: !!int '010'", "f.yaml is not valid YAML: line 1: could not determine a constructor for the tag"),
        ("a: !!float 010", "f.yaml, line 1: '010' is no plain decimal number"),
        ("a: !!python/name:os.system", "f.yaml is not valid YAML: line 1: could not determine a constructor"),
        ("a: [1,\n2", "f.yaml is not valid YAML: line 2: while parsing a flow sequence, expected ',' or ']'"),
        ("a: 1\n---\nb: 2", "f.yaml is not valid YAML: line 2: expected a single document"),
        ("\x00", "f.yaml is not valid YAML: unacceptable character #x0000"),
        ('"\\UFFFFFFFF"', "f.yaml is not valid YAML: "),
        ("!" * 10_000, "f.yaml is not valid YAML: line 1: "),
    ],
)
def test_what_is_refused_is_said_in_one_line(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_yaml(text, "f.yaml")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize("part", ["[", "{a: ", "- ", "? ", "[a, {b: "])
def test_depth_is_bounded(part: str) -> None:
    with pytest.raises(InputError, match=f"line 1: more than {DEEPEST} mappings and lists inside one another"):
        parse_yaml(part * 10_000, "f.yaml")
    assert parse_yaml("[" * (DEEPEST - 1) + "]" * (DEEPEST - 1), "f.yaml")


def test_size_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_text("é" * MOST_BYTES)
    start = time.process_time()
    for read in (lambda: read_mapping(path), lambda: parse_yaml("- 1\n" * MOST_BYTES, str(path))):
        with pytest.raises(InputError, match="large.yaml is too large: at most 262,144 bytes are read"):
            read()
    assert time.process_time() - start < 1


def test_a_mapping_is_asked_for() -> None:
    assert parse_mapping("a: 1", "f.yaml") == {"a": 1}
    for text in ("", "- 1", "3"):
        with pytest.raises(InputError, match="f.yaml is empty, or not a mapping of fields"):
            parse_mapping(text, "f.yaml")


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("\ufeffa: 1\r\nb: é\r\n", encoding="utf-8")
    assert read_mapping(path) == {"a": 1, "b": "é"}
    path.write_bytes(b"a: \xff")
    with pytest.raises(InputError, match="f.yaml cannot be read as UTF-8 text"):
        read_mapping(path)
    with pytest.raises(InputError, match="cannot read nowhere: No such file or directory"):
        read_mapping(Path("nowhere"))
    with pytest.raises(InputError, match="not a file"):
        read_mapping(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="cannot read .*pipe: not a file"):
        read_mapping(tmp_path / "pipe")
