"""What is said of a recipe's runs before they start: their work, what has become of them, what they can decide."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from canonlab.models.cost import Cost, cost
from canonlab.results.findings import findings
from canonlab.results.groups import sections
from canonlab.results.load import load_runs
from canonlab.sweeps import forecast as module
from canonlab.sweeps.forecast import Comparisons, costs_of, forecast, states
from canonlab.sweeps.recipe import load_recipe, parse_recipe
from canonlab.training.plan import Plan, plan_runs
from tiny_runs import make_runs, tiny_config, varied

TINY = dataclasses.asdict(tiny_config(steps=2, eval_every=2))


def planned(grid: dict[str, Any], *variants: dict[str, Any]) -> list[Plan]:
    return plan_runs(parse_recipe({**TINY, "grid": grid, "variants": list(variants)}).runs)


def comparisons(plans: list[Plan]) -> list[Comparisons]:
    return forecast(plans, costs_of(plans), ["to do"] * len(plans)).comparisons


def test_work_is_that_of_all_runs_and_of_what_is_left() -> None:
    plans = plan_runs(load_recipe("laptop/copy").runs)
    found = forecast(plans, costs_of(plans), ["done", "interrupted", *["to do"] * 4])
    costs = [cost(plan.decoder, 130) for plan in plans]
    tokens = 600 * 32 * 130
    assert found.all == (6, 6 * tokens, sum(3 * each.flops_per_token * tokens for each in costs))
    assert found.left == (5, 5 * tokens, sum(3 * each.flops_per_token * tokens for each in costs[1:]))
    assert found.parameters == (costs[0].parameters, costs[-1].parameters)
    assert found.states == {"done": 1, "interrupted": 1, "to do": 4}
    assert found.comparisons == [Comparisons(1, 2, (1, 1), (3, 3), 3, 1, 1)] and found.seeds_for_all is None


def test_three_seeds_decide_what_is_plain_and_more_models_take_more_for_the_rest() -> None:
    grid = {"model.canon": ["A", "B", "C", "AC"], "training.seed": [0, 1]}
    assert comparisons(planned(grid)) == [Comparisons(1, 4, (1, 1), (2, 2), 4, 6, 0)]
    grid["training.seed"] = [0, 1, 2]
    plans = planned(grid)
    assert comparisons(plans) == [Comparisons(1, 4, (1, 1), (3, 3), 4, 6, 6)]
    found = forecast(plans, costs_of(plans), ["to do"] * len(plans))
    assert (found.seeds_for_all, found.seeds_within_gaps) == (None, 4)
    two = planned({**grid, "training.seed": [0, 1]})
    found = forecast(two, costs_of(two), ["to do"] * len(two))
    assert (found.seeds_for_all, found.seeds_within_gaps) == (3, 4)


def test_models_are_compared_at_one_size_in_one_way_of_training() -> None:
    grid = {"model.canon": ["A", "C"], "model.size": ["1L16D2H", "2L16D2H"], "training.steps": [2, 3]}
    assert comparisons(planned(grid)) == [Comparisons(4, 2, (1, 1), (1, 1), 3, 1, 0)]
    found = forecast(plans := planned({"training.steps": [2, 3]}), costs_of(plans), ["to do"] * len(plans))
    assert found.comparisons == [] and found.seeds_for_all is None


def test_pairs_need_seeds_of_both_and_as_many_rates() -> None:
    def variant(canon: str, rates: list[float], seeds: list[int]) -> dict[str, Any]:
        return {"model.canon": [canon], "training.lr": rates, "training.seed": seeds}

    both = variant("A", [0.1, 0.2], [0, 1, 2, 3])
    others = variant("C", [0.1, 0.2], [4, 1, 2, 3, 0]), variant("B", [0.1], [0, 1, 2, 3])
    assert comparisons(planned({}, both, *others)) == [Comparisons(1, 3, (1, 2), (4, 5), 4, 3, 1)]
    assert comparisons(planned({}, both, variant("C", [0.1, 0.2], [4, 5])))[0].decidable == 0


def test_a_decision_takes_the_seeds_that_the_report_asks_for(tmp_path: Path) -> None:
    plans = planned({"model.canon": ["A", "B", "C"], "training.seed": [0, 1]})
    make_runs([plan.asked for plan in plans], tmp_path)
    (section,) = sections(load_runs([tmp_path]))
    assert (
        {finding.comparison.needed for finding in findings(section)}
        == {each.needed for each in comparisons(plans)}
        == {4}
    )
    assert states(plans, tmp_path) == ["done"] * 6


def test_what_has_become_of_a_run_is_read_from_its_folder(tmp_path: Path) -> None:
    plans = planned({"training.seed": [0, 1, 2, 3, 4]})
    assert states(plans, tmp_path / "nowhere") == ["to do"] * 5
    runs = make_runs([plan.asked for plan in plans[:4]], tmp_path)
    for run in runs[1:]:
        (run.folder / "result.json").unlink()
        (run.folder / "checkpoints" / "last.safetensors").unlink()
    for run, file in zip(runs[2:], ("diverged.json", "failed.json"), strict=True):
        (run.folder / file).write_text("{}")
    before = sorted(tmp_path.rglob("*"))
    assert states(plans, tmp_path) == ["done", "interrupted", "diverged", "failed", "to do"]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_another_machine_began_in_another_precision_is_that_run(tmp_path: Path) -> None:
    plans = [dataclasses.replace(plan, asked=varied(plan.asked, "backend", precision="auto")) for plan in planned({})]
    (other,) = (varied(plan.asked, "backend", precision="bf16") for plan in plans)
    make_runs([other], tmp_path)
    assert plans[0].backend.precision == "fp32" and states(plans, tmp_path) == ["done"]


def test_a_model_is_counted_once_however_many_runs_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: Counter[str] = Counter()

    def counting(decoder: Any, context: int, device: str) -> Cost:
        counted[decoder.canon.points] += 1
        return cost(decoder, context, device)

    monkeypatch.setattr(module, "cost", counting)
    comparisons(planned({"model.canon": ["A", "B"], "training.lr": [0.1, 0.2], "training.seed": [0, 1, 2]}))
    assert counted == {"A": 1, "B": 1}
