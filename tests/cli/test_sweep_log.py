"""How a sweep is told: in place on a terminal, in lines elsewhere."""

import io
import sys
from pathlib import Path

import pytest

from canonlab.cli import sweep_log
from canonlab.cli.sweep_log import SweepLog, duration, summary
from canonlab.sweeps.status import RunStatus, Survey, Task


def run(name: str, state: str, value: float | None = None, **more: object) -> RunStatus:
    """A run of a cell that is called after the first letter of its name."""
    task = Task(f"{name[0]}-lr0.1-s{name[1:]}-0123456789", name[0], 10)
    metric = "" if value is None else "accuracy"
    return RunStatus(task, state, metric=metric, value=value, share=True, **more)  # type: ignore[arg-type]


def survey(*runs: RunStatus, left: float | None = None) -> Survey:
    """A survey of runs."""
    return Survey(Path("runs"), list(runs), left)


BEFORE = survey(run("a1", "running", step=5, steps=9), run("a2", "to do"), run("b1", "done", 0.25), left=90)
AFTER = survey(run("a1", "done", 0.5), run("a2", "failed", reason="no memory"), run("b1", "done", 0.25))


def test_a_line_says_it_all() -> None:
    assert summary(BEFORE) == "1 of 3 done, 1 running, 1 to do, 2 min left; best: b 25.0%"
    assert summary(AFTER) == "2 of 3 done, 1 failed; best: a 50.0%, b 25.0%"
    assert summary(survey(run("a1", "to do"))) == "0 of 1 done, 1 to do"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5400, "1.5 h"), (200_000, "2.3 days")]
)
def test_seconds_are_said_as_people_do(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_without_a_terminal_lines_say_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    with SweepLog() as log:
        for seen in (BEFORE, BEFORE, AFTER):
            log.next = 0.0
            log.update(lambda seen=seen: seen)  # type: ignore[misc]
        log.update(lambda: AFTER, last=True)
    assert said.getvalue().splitlines() == [
        summary(BEFORE),
        "a-lr0.1-s1-0123456789: done, accuracy 50.0%",
        "a-lr0.1-s2-0123456789: failed: no memory",
        summary(AFTER),
    ]


def test_looking_takes_a_tenth_of_the_time_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    looks: list[float] = []

    def look() -> Survey:
        looks.append(now[0])
        now[0] += 3.0
        return BEFORE

    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(sweep_log.time, "monotonic", lambda: now[0])
    log = SweepLog()
    for _ in range(100):
        log.update(look)
        now[0] += 1.0
    spent = 3.0 * len(looks)
    assert len(looks) > 2 and spent <= 0.11 * (now[0] - 100.0) + 3.0


def test_the_picture_names_runs_cells_and_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    SweepLog.print(BEFORE)
    SweepLog.print(AFTER)
    said = capsys.readouterr().out
    for words in (
        "1 of 3 done, 1 running, 1 to do, 2 min left",
        "running: a-lr0.1-s1-0123456789, step 5 of 9",
        "a-lr0.1-s2-0123456789: failed: no memory",
        "accuracy 50.0%  lr0.1-s1",
    ):
        assert words in said


def test_a_screen_has_no_more_cells_than_fit() -> None:
    many = survey(*(run(f"{chr(0x4E00 + number)}1", "done", 0.5) for number in range(40)))
    out = io.StringIO()
    sweep_log.terminal.Terminal(out, width=100).print(sweep_log._picture(many))
    assert out.getvalue().count("accuracy 50.0%") == sweep_log.MOST_CELLS and "and 10 more cells" in out.getvalue()
