"""`canonlab compare`: models of one's own beside the references."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from canonlab.cli import compare as module
from canonlab.cli.compare import compare
from canonlab.errors import InputError
from canonlab.sweeps import suite
from canonlab.training.config import RunConfig
from tiny_runs import MIXER


@pytest.mark.parametrize("budget", ["", "10", "10 days", "-3m", "m"])
def test_a_budget_is_a_time(budget: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="budget = .*: must be a time, such as 90s, 10m or 2h"):
        compare(("gdn",), budget=budget, out=tmp_path / "out")
    with pytest.raises(InputError, match="name a model"):
        compare((), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_model_is_trained_beside_references_and_one_more_trains_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = suite.run_of

    def short(*args: Any) -> RunConfig:
        run = whole(*args)
        training = dataclasses.replace(run.training, steps=4, eval_every=2, eval_windows=2, final_windows=4)
        return dataclasses.replace(run, training=training)

    monkeypatch.setattr(suite, "run_of", short)
    monkeypatch.setattr(suite, "REFERENCES", suite.REFERENCES[:2])
    monkeypatch.setattr(module, "REFERENCES", suite.REFERENCES[:2])
    (tmp_path / "mine.py").write_text(MIXER)
    mine, out = f"{tmp_path / 'mine.py'}:Mean", tmp_path / "out"
    compare((mine,), skills=("copy", "depo"), out=out, as_json=True)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(row["skill"], row["model"]) for row in found["profile"]] == [
        (skill, name) for skill in ("copy", "depo") for name in ("Mean", "Mean + Canon-ACD")
    ]
    assert found["pairs"] == len(found["differences"]) == 8 and len(found["sentences"]) == 4
    assert all(row["place"].endswith("of 3") for row in found["profile"])
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/result.json")}
    assert len(before) == 2 * 4 * 3
    compare((mine, "gla"), skills=("copy", "depo"), out=out, as_json=True)
    after = {path: path.stat().st_mtime_ns for path in out.glob("*/result.json")}
    assert before.items() <= after.items() and len(after) == len(before) + 2 * 2 * 3
    assert all((out / name).is_file() for name in ("report.html", "profile.html", "profile.svg"))
