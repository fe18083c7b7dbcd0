"""What commands write: never in the place of anything else, nor outside of where they were told to; and what they say
of what they can't read or write."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import Cli
from fabricate import write_run
from tiny_runs import TASK

Fabricate = Callable[..., Path]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    monkeypatch.chdir(tmp_path)
    return Cli(monkeypatch, capsys)


def everything(folder: Path) -> dict[str, bytes | None]:
    """All files below a folder."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


PARTS = ["config.json", "result.json", "metrics.jsonl", "environment.json", "failed.json", "CONFIG.json", ".lock"]
PARTS += ["checkpoints/last.safetensors", "checkpoints/page.html", "sources/mine.py", "tensorboard/x"]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("option", ["--out", "--csv", "--latex", "--figures"])
def test_no_output_takes_the_place_of_a_part_of_a_run(
    option: str, part: str, run: Cli, fabricate: Fabricate, tmp_path: Path
) -> None:
    folder = fabricate()
    before = everything(tmp_path)
    status, out, err = run(f"report {folder} {option} {folder}/{part}")
    assert (status, out, err.count("\n")) == (2, "", 1)
    field = option.removeprefix("--")
    assert re.match(rf"canonlab: error: {field} = '.*{re.escape(part)}': (.* belongs to the run|is a file)", err), err
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("report runs --out runs", "out = 'runs': is a folder; name a file"),
        ("report runs --csv runs", "csv = 'runs': is a folder; name a file"),
        ("report runs --figures note", "figures = 'note': is a file; name a folder"),
        ("report runs --csv a --latex a", "latex = 'a': is csv's place too; name another"),
        ("report runs --csv a --latex runs/../a", "latex = 'runs/../a': is csv's place too"),
        ("report runs --csv runs/report.html", "csv = 'runs/report.html': is out's place too"),
        ("report runs --latex x --figures x", "figures = 'x': is latex's place too"),
        ("show copy --out runs", "out = 'runs': is a folder; name a file"),
        ("export-data copy --count 1 --format jsonl --out runs", "out = 'runs': is a folder; name a file"),
        ("export-data copy --count 1 --format jsonl --out RUN/metrics.jsonl", "metrics.jsonl belongs to the run in"),
        ("show copy --out RUN/checkpoints/a.svg", "checkpoints belongs to the run in"),
        ("train copy --size 1L16D2H --out RUN/checkpoints/x", "checkpoints belongs to the run in"),
        ("sweep laptop/copy --set training.steps=1 --out RUN/sources", "sources belongs to the run in"),
    ],
)
def test_outputs_that_are_something_else(
    words: str, message: str, run: Cli, fabricate: Fabricate, tmp_path: Path
) -> None:
    (tmp_path / "note").touch()
    folder = fabricate().relative_to(tmp_path)
    before = everything(tmp_path)
    status, _, err = run(words.replace("RUN", str(folder)))
    assert status == 2 and message in err and everything(tmp_path) == before


def test_a_report_may_lie_in_a_run(run: Cli, fabricate: Fabricate) -> None:
    folder = fabricate()
    assert run(f"report {folder}")[0] == 0 and (folder / "report.html").exists()
    assert run(f"report {folder} --out {folder}/mine/page.html --csv {folder}/all.csv --latex {folder}/t.tex")[0] == 0
    assert {"report.html", "mine", "all.csv", "t.tex"} < {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["../../docs", "/tmp/canonlab-test-outside", "..", "a/b", "con"])
def test_a_sweep_stays_in_its_folder(name: str, run: Cli, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(f"name: {name}\ntask: copy\ntraining: {{steps: 1}}\nmodel: {{size: 1L16D2H}}\n")
    before = everything(tmp_path)
    status, _, err = run("sweep r.yaml")
    assert (status, err.count("\n"), everything(tmp_path) == before) == (2, 1, True)
    assert err.startswith(f"canonlab: error: name = {name!r}: must be a file's name of at most 120 letters, digits and")


def test_a_picture_stays_in_this_folder(run: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TASK.replace('"short-copy"', '"../outside"'))
    (tmp_path / "here").mkdir()
    os.chdir(tmp_path / "here")
    picture = run.json("show ../mine.py:ShortCopy")["picture"]
    assert [str(path) for path in Path().iterdir()] == [picture] and "/" not in picture


def test_every_path_may_begin_at_home(
    run: Cli, fabricate: Fabricate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    fabricate().rename(tmp_path / "run")
    home.mkdir()
    (tmp_path / "run").rename(home / "run")
    assert run("report ~/run --out ~/page.html --csv=~/all.csv")[0] == 0
    (home / "mine.py").write_text(TASK)
    (home / "one.yaml").write_text("task: ~/mine.py:ShortCopy\nmodel: {size: 1L16D2H}\ntraining: {steps: 0}\n")
    assert "steps = 0: must be" in run("train --config ~/one.yaml --out=~/new")[2]
    (home / "sweep.yaml").write_text("task: ~/mine.py:ShortCopy\ntraining: {steps: 0}\n")
    assert "steps = 0: must be" in run("sweep ~/sweep.yaml")[2]
    assert run("tasks ~/mine.py:ShortCopy")[0] == 0
    assert run("export-data copy --count 1 --format jsonl --out ~/rows")[0] == 0
    assert {path.name for path in home.iterdir()} == {
        "run", "page.html", "all.csv", "mine.py", "one.yaml", "sweep.yaml", "rows", "rows.meta.json"
    }  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == {"home", "runs"}


def test_results_that_can_not_be_written_to_are_shown_all_the_same(
    powerless: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Cli(monkeypatch, capsys)
    folder = write_run(powerless)
    for each in (folder, powerless):
        each.chmod(0o555)
    try:
        status, out, err = run(f"report {folder}")
        assert status == 2 and "llama-rope" in out and "page:" not in out
        assert err == f"canonlab: error: page '{folder}/report.html': cannot be written: Permission denied\n"
        status, out, _ = run(f"report {folder} --json")
        assert status == 2 and json.loads(out)["page"] is None and json.loads(out)["sections"]
    finally:
        for each in (powerless, folder):
            each.chmod(0o755)


def test_what_is_left_out_of_a_report_is_said(
    powerless: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Cli(monkeypatch, capsys)
    closed, _ = (write_run(powerless, seed=seed) for seed in range(2))
    closed.chmod(0)
    try:
        for command in (f"report {powerless}", f"claims {powerless}"):
            status, out, err = run(command)
            said = f"left out: cannot read {closed}: Permission denied"
            assert (status, err) == (0, f"canonlab: warning: {said}\n") and out
        assert said[1:] in (powerless / "report.html").read_text()
        assert json.loads(run(f"report {powerless} --json")[1])["left_out"] == [said]
        status, out, err = run(f"resume {closed}")
        assert (status, out) == (2, "") and err.endswith("config.json: Permission denied\n") and "damaged" not in err
    finally:
        closed.chmod(0o755)
