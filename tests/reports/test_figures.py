"""Figures: one for everything on the page, as PDF and PNG, the same bytes for the same runs."""

import contextlib
import json
import re
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from canonlab.errors import InputError
from canonlab.reports import figures
from canonlab.reports.figures import write_figures
from canonlab.results.groups import sections
from canonlab.results.load import load_runs

Fabricate = Callable[..., Path]
Draw = Callable[[Path], dict[str, Any]]


@pytest.mark.slow
def test_everything_is_drawn(campaign: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    runs = load_runs([campaign])
    written = write_figures(runs, tmp_path / "figures")
    names = {path.name for path in written}
    depo = "depo-N10-K4-V50-lengths_1_1-context96"
    assert {f"{depo}-accuracy_k4.pdf", f"{depo}-speed.png", "depo-K4-V50-lengths_1_1-context96-heatmaps.pdf"} <= names
    assert {"copy-N64-context130-token_accuracy.png", "copy-context130-heatmaps.png"} <= names
    assert all(path.read_bytes().startswith((b"%PDF", b"\x89PNG")) for path in written)
    again = write_figures(runs, tmp_path / "again")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in written]


def test_without_matplotlib_it_says_what_to_install(
    campaign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'canonlab\[figures\]'"):
        write_figures(load_runs([campaign]), tmp_path)


@pytest.fixture
def draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Draw:
    """The figures of the runs in a folder, by the end of their names, laid out but not saved."""
    pytest.importorskip("matplotlib")
    drawn: dict[str, Any] = {}

    def save(figure: Any, path: Path, **_: Any) -> None:
        figure.draw_without_rendering()
        drawn[path.stem.partition("context96-")[2] or path.stem] = figure

    monkeypatch.setattr("canonlab.reports.figures.writing", lambda path, _: contextlib.nullcontext(path))
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", save)
    return lambda folder: drawn if write_figures(load_runs([folder]), tmp_path / "figures") else {}


def legend(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_names_are_drawn_as_they_are(fabricate: Fabricate, draw: Draw) -> None:
    """Dollars are no mathematics, and a name that begins with "_" has its place in the legend."""
    folder = fabricate(model="mine.py:_Mixer", lr=0.001)
    for path in (folder / "result.json", folder / "metrics.jsonl"):
        path.write_text(path.read_text().replace("accuracy_k4", "cost $\\\\x$"))
    found = draw(folder)
    assert found["cost_x"].axes[0].get_ylabel() == "cost $\\x$ (%)"
    assert legend(found["cost_x"]) == legend(found["speed"]) == ["_Mixer + Canon-ABCD"]


def test_a_size_has_its_own_curves_of_the_best_rates(fabricate: Fabricate, draw: Draw) -> None:
    for size in ("2L64D", "8L512D"):
        for lr, steps in ((0.001, 1000), (0.003, 1000)):
            folder = fabricate(size=size, lr=lr, steps=steps)
            result = json.loads((folder / "result.json").read_text())
            value = 0.9 if (size, lr) in (("2L64D", 0.003), ("8L512D", 0.001)) else 0.1
            result["evaluation"]["metrics"]["accuracy_k4"].update(value=value, right=int(1000 * value))
            (folder / "result.json").write_text(json.dumps(result))
    fabricate(size="8L512D", canon="", stop=200)
    found = draw(folder.parent)
    assert "accuracy_k4" not in found
    best = "llama-rope + Canon-ABCD, size"
    assert legend(found["2L64D-accuracy_k4"]) == [f"{best} 2L64D, learning rate 0.003"]
    begun = "llama-rope, size 8L512D, learning rate 0.003"
    assert legend(found["8L512D-accuracy_k4"]) == [begun, f"{best} 8L512D, learning rate 0.001"]


def test_no_two_of_many_curves_look_alike(fabricate: Fabricate, draw: Draw) -> None:
    for number in range(20):
        folder = fabricate(model=f"own{number}", stop=200)
    lines = draw(folder.parent)["accuracy_k4"].axes[0].get_lines()
    assert len({(line.get_color(), str(line._dash_pattern)) for line in lines}) == 20


def test_names_of_heat_maps_do_not_overlap(fabricate: Fabricate, draw: Draw) -> None:
    for number in range(4):
        folder = fabricate(model=f"hybrid-of-attention-and-something-new-{number}")
    figure = draw(folder.parent)["heatmaps"]
    boxes = [axis.title.get_window_extent() for axis in figure.axes]
    assert len(boxes) == 4 and all(left.x1 < right.x0 for left, right in pairwise(boxes))


@pytest.mark.parametrize(("greatest", "labels"), [(6e5, ["200K", "500K"]), (2e8, ["1M", "10M", "100M"])])
def test_parameters_are_written_out(fabricate: Fabricate, draw: Draw, greatest: float, labels: list[str]) -> None:
    for seed, parameters in enumerate((2e5, greatest)):
        folder = fabricate(seed=seed)
        result = json.loads((folder / "result.json").read_text())
        result["evaluation"]["metrics"]["bits"] = {"value": parameters, "low": parameters, "high": parameters}
        result["evaluation"]["notes"] = {"N": 50_000, "parameters": parameters, "r_max": 2.5}
        (folder / "result.json").write_text(json.dumps(result))
    axis = draw(folder.parent)["capacity"].axes[0]
    low, high = axis.get_xlim()
    places = zip(axis.get_xticks(), axis.get_xticklabels(), strict=True)
    assert [label.get_text() for place, label in places if low <= place <= high] == labels


def metrics_of(folder: Path, names: list[str]) -> None:
    """The first metric of a fabricated run under several names."""
    for file in ("result.json", "metrics.jsonl"):
        lines = [json.loads(line) for line in (folder / file).read_text().splitlines()]
        for line in lines:
            found = line.get("evaluation", line)
            if "metrics" in found:
                value = next(iter(found["metrics"].values()))
                found |= {"metrics": dict.fromkeys(names, value), "headline": names}
        (folder / file).write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_any_names_make_files_of_their_own(
    fabricate: Fabricate, depo: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scripts that nobody foresaw, capitals that some systems ignore, names of devices, and more letters than fit."""
    for kind in ("_curves", "_heatmaps", "_speed"):
        monkeypatch.setattr(figures, kind, lambda *_: "drawn")
    names = [
        "точность",
        "точности",
        "正解率",
        "a/b",
        "a b",
        "A b",
        "../../x",
        "",
        "😀",
        "y" * 300,
        "y" * 301,
        "\x1b[2J",
    ]
    parameters = {"N": 10, "grammar": "文" * 200, "words": ["q" * 90] * 3}
    tasks = ("../../etc", "con", "Задача", "задачи")
    for task in tasks:
        folder = fabricate({**depo, "parameters": {**parameters, "task": task}})
        edit = (folder / "config.json").read_text().replace('"name": "depo"', f'"name": "{task}"')
        (folder / "config.json").write_text(edit)
        metrics_of(folder, names)
    drawn = [name for name, _ in figures._named(figures._figures(None, sections(load_runs([folder.parent]))))]
    assert len({name.lower() for name in drawn}) == len(drawn) >= len(tasks) * len(names)
    for name in drawn:
        assert re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]*", name) and len(f"{name}.pdf") <= 120
        assert not re.match(r"con(\.|$)", name, re.IGNORECASE)
