"""The picture of an instance on the page."""

from pathlib import Path
from typing import Any

import pytest

from canonlab.reports.fragments import instance_html
from canonlab.reports.page import page_html
from canonlab.results.groups import sections
from canonlab.results.load import load_runs
from canonlab.training.loop import train
from canonlab.training.run import create_run
from tiny_runs import Recorder, tiny_config


def test_the_page_shows_what_the_task_asks(tmp_path: Path) -> None:
    train(create_run(tiny_config(steps=2), tmp_path / "run"), Recorder())
    runs = load_runs([tmp_path])
    (section,) = sections(runs)
    drawn = instance_html(section)
    assert "<svg" in drawn
    assert drawn in page_html(runs)


@pytest.mark.parametrize("change", [{"source": {"class": "Mine", "sha256": "0"}}, {"version": 99}, {"context": 77}])
def test_what_would_be_another_task_is_not_drawn(tmp_path: Path, change: dict[str, Any]) -> None:
    train(create_run(tiny_config(steps=2), tmp_path / "run"), Recorder())
    (section,) = sections(load_runs([tmp_path]))
    section.task.update(change)
    assert instance_html(section) == ""
