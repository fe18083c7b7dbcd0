"""`canonlab compare`: models of one's own beside the references."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from canonlab.cli import compare as module
from canonlab.cli.compare import compare
from canonlab.errors import InputError
from canonlab.results.cells import cells
from canonlab.results.groups import sections
from canonlab.results.load import load_runs
from canonlab.results.profile import Profile, skill
from canonlab.sweeps import suite
from canonlab.sweeps.suite import Architecture
from canonlab.training.config import RunConfig
from tiny_runs import MIXER


@pytest.mark.parametrize("budget", ["", "10", "10 days", "-3m", "m"])
def test_a_budget_is_a_time(budget: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="budget = .*: must be a time, such as 90s, 10m or 2h"):
        compare(("gdn",), budget=budget, out=tmp_path / "out")
    with pytest.raises(InputError, match="name a model"):
        compare((), out=tmp_path / "out")
    with pytest.raises(InputError, match="baseline = 'gdn': is one of the models"):
        compare(("gdn",), baseline="gdn", out=tmp_path / "out")
    with pytest.raises(InputError, match="unknown model 'gdm'"):
        compare(("gla",), baseline="gdm/AbCD", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_look_is_made_on_the_skills_that_are_done_in_time(
    fabricate: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of a second keep the machine for half of one; of two skills those of the quicker one come first."""
    for seed in range(3):
        for model in ("gdn", "llama-rope"):
            folder = fabricate(model=model, canon="", seed=seed)
    (section,) = sections(load_runs([folder.parent]))
    named = {(str(cell.model["model.model"]), "none"): cell for cell in cells(section)}
    mine, others = [Architecture("gdn", "none")], [Architecture("llama-rope", "none")]
    sides = [(each.model, each.canon) for each in (*mine, *others)]
    skills = [skill(name, section, named, sides[:1], sides[1:]) for name in ("lano", "copy")]
    monkeypatch.setattr(module, "_seconds_of_a_run", lambda skill: {"copy": 2.0, "lano": 8.0}[skill.name])
    monkeypatch.setattr(module, "_open", lambda skill, architectures: [(mine[0], others[0])])
    runs = suite.suite(["lano", "copy"], [*mine, *others], 3)
    found = Profile(sides[:1], sides[1:], skills)

    def made(left: float) -> list[tuple[str, int]]:
        took = 0.5 * (2.0 + 8.0) / 2 * len(runs)
        more = module._in_time(found, runs, [*mine, *others], 4, left, took)
        return [(run.task.name, run.training.seed) for run in more]

    assert made(1.9) == []
    assert made(2.1) == made(9.9) == [("copy", 3), ("copy", 3)]
    assert made(10.1) == [("copy", 3), ("copy", 3), ("lano-mini", 3), ("lano-mini", 3)]


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
    capsys.readouterr()
    compare((mine,), skills=("copy",), baseline="llama-rope/ABCD", out=out, as_json=True)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {each["reference"] for each in found["differences"]} == {"llama-rope + Canon-ABCD"} and found["pairs"] == 2
    assert all(row["place"].endswith("of 3") for row in found["profile"])
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/result.json")} == after
    assert all((out / name).is_file() for name in ("report.html", "profile.html", "profile.svg"))
