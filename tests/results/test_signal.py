"""How plainly settings tell architectures apart."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from canonlab.errors import InputError
from canonlab.results.groups import sections
from canonlab.results.load import load_runs
from canonlab.results.signal import Signal, as_row, signals

Fabricate = Callable[..., Path]
LOSSES = {"llama-rope": [0.5, 0.52, 0.54], "gla": [0.1, 0.12, 0.14], "gdn": [0.9, 0.92, 0.94]}


def made(fabricate: Fabricate, losses: dict[str, list[float]], **settings: float) -> Path:
    folder = Path()
    for model, values in losses.items():
        for seed, loss in enumerate(values):
            folder = fabricate(model=model, canon="", seed=seed, **settings)
            result = json.loads((folder / "result.json").read_text())
            metric = {"value": loss, "low": loss, "high": loss, "right": None, "count": 1000}
            result["evaluation"]["metrics"]["loss"] = metric
            (folder / "result.json").write_text(json.dumps(result))
    return folder.parent


def found(folder: Path, metric: str = "loss") -> list[Signal]:
    return list(signals(sections(load_runs([folder])), metric))


def test_the_spread_of_architectures_over_that_of_seeds(fabricate: Fabricate) -> None:
    (one,) = found(made(fabricate, LOSSES))
    assert one.ratio == pytest.approx(0.4 / 0.02) and (one.decided, one.pairs, one.seeds) == (3, 3, 3)
    assert one.means == pytest.approx({"llama-rope": 0.52, "gla": 0.12, "gdn": 0.92}) and not one.settings


def test_each_setting_by_itself(fabricate: Fabricate) -> None:
    made(fabricate, LOSSES)
    alike = {name: [0.5, 0.6, 0.7] for name in LOSSES}
    first, second = found(made(fabricate, alike, lr=0.01))
    assert [next(iter(each.settings)) for each in (first, second)] == ["training.lr"] * 2
    by_rate = {each.settings["training.lr"]: (each.ratio, each.decided) for each in (first, second)}
    assert by_rate.pop(0.01) == (0, 0) and next(iter(by_rate.values()))[1] == 3
    assert as_row(first)["decided"] in ("0 of 3", "3 of 3")


def test_one_architecture_has_no_signal_and_a_metric_has_to_be_there(fabricate: Fabricate) -> None:
    folder = made(fabricate, {"mamba2": [0.1, 0.2, 0.3]})
    assert found(folder) == []
    assert found(made(fabricate, LOSSES), "area_accuracy_k1")
    with pytest.raises(InputError, match="unknown metric 'los'.*did you mean 'loss'"):
        found(folder, "los")
