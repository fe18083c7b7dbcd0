"""The log: cut back on resume, torn last lines, damage."""

from pathlib import Path

import pytest

from canonlab.errors import InputError
from canonlab.training.metrics_log import MetricsLog, read_metrics


def lines(path: Path, count: int) -> None:
    log = MetricsLog(path, 0)
    for step in range(1, count + 1):
        log.append({"kind": "train", "step": step})
    log.sync()
    log.close()


def test_resume_cuts_back_to_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines(path, 9)
    MetricsLog(path, 6).close()
    assert [r["step"] for r in read_metrics(path)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("torn", [b'{"kind": "tr', b"{", b'{"kind": "train", "step": 10}', b"\xff\xfe"])
def test_a_torn_last_line_is_left_out(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    lines(path, 9)
    path.write_bytes(path.read_bytes() + torn)
    assert len(read_metrics(path)) == 9
    log = MetricsLog(path, 9)
    log.append({"kind": "train", "step": 10})
    log.close()
    assert [r["step"] for r in read_metrics(path)] == list(range(1, 11))


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines(path, 2)
    path.write_text(path.read_text().replace('"format": 2', '"format": 3'))
    with pytest.raises(InputError, match="written by a newer canonlab"):
        read_metrics(path)


@pytest.mark.parametrize("damage", [b"garbage", b'{"kind": "train"}', b"[]", b'{"step": "3"}', b""])
def test_damage_in_the_middle_names_the_line(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    lines(path, 9)
    content = path.read_bytes().split(b"\n")
    content[3] = damage
    path.write_bytes(b"\n".join(content))
    with pytest.raises(InputError, match=r"metrics.jsonl, line 4( is damaged|: step)"):
        MetricsLog(path, 9)
    assert path.read_bytes() == b"\n".join(content), "a damaged log is left for its owner to see"
