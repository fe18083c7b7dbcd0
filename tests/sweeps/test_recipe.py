"""The recipe format: which runs a mapping describes, and one line for whatever is wrong in it."""

import time
from pathlib import Path
from typing import Any

import pytest

from canonlab.errors import InputError
from canonlab.sweeps.recipe import (
    Recipe,
    load_recipe,
    parse_recipe,
    recipe_text,
    require_baseline,
    shipped_recipes,
)
from canonlab.training.config import run_config


def described(content: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The runs of a Depo recipe as (N, steps, model, Canon set, size)."""
    runs = parse_recipe({"task": "depo1", **content}).runs
    return [(r.task.set.get("N"), r.training.steps, r.model.model, r.model.canon, r.model.size) for r in runs]


def test_without_a_grid_there_is_one_run() -> None:
    assert parse_recipe({"task": "mano"}).runs == [run_config({"task": {"name": "mano"}})]


def test_a_grid_is_all_with_all_and_the_last_varies_fastest() -> None:
    runs = parse_recipe({"task": "mano", "grid": {"training.lr": [0.1, 0.2], "training.seed": [5, 6]}}).runs
    assert [(r.training.lr, r.training.seed) for r in runs] == [(0.1, 5), (0.1, 6), (0.2, 5), (0.2, 6)]


def test_fields_named_together_vary_together() -> None:
    grid = {"task.set.N, training.steps": [[10, 100], [20, 300]], "model.canon": ["none", "AC"]}
    assert described({"grid": grid}) == [
        (10, 100, "llama-rope", "none", "8L512D"),
        (10, 100, "llama-rope", "AC", "8L512D"),
        (20, 300, "llama-rope", "none", "8L512D"),
        (20, 300, "llama-rope", "AC", "8L512D"),
    ]


def test_variants_add_to_the_grid_or_replace_its_fields() -> None:
    content = {
        "training": {"steps": 9},
        "grid": {"model.size": ["2L64D", "4L64D"]},
        "variants": [
            {"model.model": ["llama-rope"], "model.canon": ["none", "ABCD"]},
            {"model.model": ["gla"], "model.canon": ["AbCD"], "model.size": ["8L64D"]},
        ],
    }
    assert described(content) == [
        (None, 9, "llama-rope", "none", "2L64D"),
        (None, 9, "llama-rope", "ABCD", "2L64D"),
        (None, 9, "llama-rope", "none", "4L64D"),
        (None, 9, "llama-rope", "ABCD", "4L64D"),
        (None, 9, "gla", "AbCD", "8L64D"),
    ]


def test_runs_share_nothing() -> None:
    runs = parse_recipe({"task": {"name": "depo1", "set": {"N": 9}}, "grid": {"task.set.K": [2, 3]}}).runs
    assert [r.task.set for r in runs] == [{"N": 9, "K": 2}, {"N": 9, "K": 3}]


def test_a_variant_brings_its_tasks_published_settings() -> None:
    runs = parse_recipe({"variants": [{"task.name": ["mano"]}, {"task.name": ["lano-cfg3f"]}]}).runs
    assert [(r.training.batch, r.training.warmup, r.training.schedule) for r in runs] == [
        (64, 1000, "cosine"),
        (96, 0, "linear"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"variant": []}, "did you mean 'variants'"),
        ({"variants": {"training.lr": [0.1]}}, "variants: must be a list of grids"),
        ({"extend": "laptop/copy"}, "did you mean 'extends'"),
        ({"variants": [{"training.lr": 0.1}]}, "variants: training.lr = 0.1: must be a list of values, such as [0.1]"),
        ({"variants": ["training.lr"]}, "variants = 'training.lr': must map fields"),
        ({"grid": {"training.lr": []}}, "grid: training.lr = []: must be a list of values"),
        ({"grid": 3}, "grid = 3: must map fields"),
        ({"task": None}, "task: missing"),
        ({"task": {"set": {"N": 3}}}, "task: missing"),
        ({"training": False}, "training = False: must be a mapping"),
        ({"traning": 3}, "did you mean 'training'"),
        ({"backend": {"compile": "of"}}, "unknown compile 'of'; did you mean 'off'"),
        ({"backend": {"precision": "fp16"}}, "unknown precision 'fp16'"),
        ({"backend": {"linear": "x"}}, "unknown linear 'x'"),
        ({"training": {"schedule": "cos"}}, "unknown schedule 'cos'"),
        ({"grid": {"training.lr, training.seed": [[0.1, 0], [0.2]]}}, "takes rows of 2 values, not [0.2]"),
        ({"grid": {"training.lr, training.seed": [0.1]}}, "takes rows of 2 values, not 0.1"),
        ({"grid": {"training.lr, training.stpes": [[0.1, 9]]}}, "did you mean 'steps'"),
        ({"variants": [{"model.modle": ["gla"]}]}, "did you mean 'model'"),
        ({"grid": {"trainign.lr": [0.1]}}, "did you mean 'training'"),
        ({"grid": {"lr": [0.1]}}, "must be a field inside a part"),
        (
            {"grid": {"training.lr, training.seed": [[0.1, 0]]}, "variants": [{"training.lr": [0.2]}]},
            "'training.lr' varies twice",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(content: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_recipe({"task": "mano", **content})
    assert message in str(error.value) and "\n" not in str(error.value)


def seeds_and_steps(recipe: Recipe) -> list[tuple[int, int]]:
    return [(run.training.seed, run.training.steps) for run in recipe.runs]


def test_changes_are_laid_over_a_recipe() -> None:
    content = {"task": "mano", "training": {"steps": 9}, "grid": {"training.seed": [5, 6], "model.canon": ["A", "B"]}}
    changed = parse_recipe(content, changes={"training.seed": [0, 1, 2], "training.steps": 100, "model.canon": "none"})
    assert seeds_and_steps(changed) == [(0, 100), (1, 100), (2, 100)]
    assert {run.model.canon for run in changed.runs} == {"none"}
    assert seeds_and_steps(parse_recipe(content, changes={"training.seed": 3, "model.canon": "C"})) == [(3, 9)]


def test_a_change_replaces_a_field_wherever_it_varies() -> None:
    content = {
        "grid": {"task.set.N, training.steps": [[10, 100], [20, 100], [10, 300]], "training.seed": [5]},
        "variants": [{"model.canon": ["A", "B"]}, {"training.seed": [6], "model.canon": ["C"]}],
    }
    runs = parse_recipe({"task": "depo1", **content}, changes={"training.steps": 7, "training.seed": [1]}).runs
    assert [(r.task.set["N"], r.training.steps, r.model.canon, r.training.seed) for r in runs] == [
        (10, 7, "A", 1),
        (10, 7, "B", 1),
        (20, 7, "A", 1),
        (20, 7, "B", 1),
        (10, 7, "C", 1),
        (20, 7, "C", 1),
    ]


def test_a_list_is_the_value_of_an_axis_of_lists() -> None:
    changes = {"task.set.lengths": [[2, 3]], "task.set.N, training.steps": [[9, 10], [8, 20]]}
    runs = parse_recipe({"task": {"name": "depo1", "set": {"lengths": [1, 1]}}}, changes=changes).runs
    assert [(r.task.set, r.training.steps) for r in runs] == [
        ({"lengths": [2, 3], "N": 9}, 10),
        ({"lengths": [2, 3], "N": 8}, 20),
    ]


def test_a_parameter_is_set_after_all_of_them() -> None:
    recipe = parse_recipe(
        {"task": "depo1", "grid": {"task.set": [{"N": 9, "K": 2}, {"N": 7}]}}, changes={"task.set.N": 5}
    )
    assert [run.task.set for run in recipe.runs] == [{"N": 5, "K": 2}, {"N": 5}]


def test_runs_that_a_change_makes_alike_are_one() -> None:
    content = {"task": "mano", "variants": [{"model.canon": ["A"]}, {"model.canon": ["B"], "training.seed": [0, 1]}]}
    assert len(parse_recipe(content).runs) == 3
    assert seeds_and_steps(parse_recipe(content, changes={"model.canon": "C"})) == [(0, 80_000), (1, 80_000)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training.sed": 1}, "unknown field of training 'sed'; did you mean 'seed'"),
        ({"seed": 1}, "'seed': must be a field inside a part, such as training.lr"),
        ({"training.seed": []}, "--set: training.seed = []: must be a list of values"),
        ({"training.seed": True}, "training.seed = True: must be an integer"),
        ({"training.seed.x": 1}, "training.seed = {'x': 1}: must be an integer"),
        ({"task.name.x": 1}, "'task.name.x': goes through 'name', which is no mapping"),
    ],
)
def test_what_is_wrong_with_a_change_is_said(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_recipe({"task": "mano"}, changes=changes)
    assert message in str(error.value)


def test_a_recipe_extends_another_one(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "name: base\nabout: what the base is about\n"
        "task: {name: depo1, set: {N: 9, K: 2}}\nmodel: {size: 2L64D, canon: A}\ntraining: {steps: 5}\n"
        "grid: {training.lr: [0.1, 0.2], training.seed: [0, 1]}\n"
        "variants: [{model.canon: [B, C], model.tied: [true]}]\n"
    )
    top = tmp_path / "top.yaml"
    top.write_text("extends: base.yaml\ntask: {set: {K: 3}}\ntraining: {lr: 0.5}\ngrid: {training.seed: [7]}\n")
    recipe = load_recipe(str(top))
    assert (recipe.name, recipe.about) == ("top", "")
    assert [(r.task.set, r.model.canon, r.model.tied, r.training.lr, r.training.seed) for r in recipe.runs] == [
        ({"N": 9, "K": 3}, canon, True, 0.5, 7) for canon in ("B", "C")
    ]
    top.write_text("extends: base.yaml\ntask: mano\nvariants: [{model.canon: [D]}]\n")
    (tmp_path / "above.yaml").write_text("extends: top.yaml\nmodel: {canon: none}\n")
    assert {(r.task.name, r.model.canon, r.model.tied) for r in load_recipe(str(top)).runs} == {("mano", "D", False)}
    assert {(r.task.name, r.model.canon) for r in load_recipe(str(tmp_path / "above.yaml")).runs} == {("mano", "none")}


def test_a_recipe_laid_over_several_makes_the_runs_of_all(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("extends: laptop/copy\ntraining: {batch: 4}\nbaseline: llama-nope\n")
    content = {"extends": ["one.yaml", "laptop/copy", "laptop/capo"], "grid": {"training.seed": [7]}}
    found = parse_recipe(content, tmp_path / "mine.yaml")
    parts = [parse_recipe({**content, "extends": each}, tmp_path / "mine.yaml").runs for each in content["extends"]]
    assert found.runs == [run for part in parts for run in part] and {run.training.seed for run in found.runs} == {7}
    assert found.baseline == "llama-nope"
    twice = parse_recipe({"extends": ["laptop/copy", "laptop/copy"]})
    assert twice.runs == parse_recipe({"extends": "laptop/copy"}).runs


def test_a_recipe_extends_a_shipped_one() -> None:
    shipped = load_recipe("laptop/copy").runs
    extended = parse_recipe({"extends": "laptop/copy", "training": {"steps": 7}}).runs
    assert {run.training.steps for run in extended} == {7}
    assert [(r.model, r.training.seed) for r in extended] == [(r.model, r.training.seed) for r in shipped]


def test_recipes_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a"), ("c", "c")):
        (tmp_path / f"{name}.yaml").write_text(f"extends: {other}.yaml\n")
    for name in "abc":
        with pytest.raises(InputError, match=rf"extends = '{name}.yaml': .*{name}.yaml extends itself"):
            load_recipe(str(tmp_path / f"{name}.yaml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: laptop/cpy", "no such file either) 'laptop/cpy'; did you mean 'laptop/copy'"),
        ("extends: []", "extends = []: must be a recipe"),
        ("extends: [laptop/copy, 3]", "extends = ['laptop/copy', 3]: must be a recipe"),
        ("extends: broken.yaml", "broken.yaml, line 2: 'lr' is given twice"),
    ],
)
def test_what_is_wrong_with_extending_is_said(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "broken.yaml").write_text("training: {lr: 1,\nlr: 2}\n")
    (tmp_path / "top.yaml").write_text(text)
    with pytest.raises(InputError) as error:
        load_recipe(str(tmp_path / "top.yaml"))
    assert message in str(error.value)


def test_too_many_runs_are_counted_and_not_made() -> None:
    axes = {f"training.{field}": list(range(1000)) for field in ("seed", "warmup", "log_every")}
    start = time.process_time()
    with pytest.raises(InputError, match="the recipe has 1,000,000,000 runs: at most 100,000"):
        parse_recipe({"task": "mano", "grid": axes})
    with pytest.raises(InputError, match="the recipe has 100,001 runs"):
        parse_recipe({"task": "mano", "grid": {"training.seed": list(range(100_001))}})
    assert time.process_time() - start < 1


def test_a_shipped_recipe_by_name() -> None:
    assert "laptop/copy" in shipped_recipes()
    assert load_recipe("laptop/copy") == load_recipe("recipes/laptop/copy.yaml")


@pytest.mark.parametrize(
    "name", ["../../docs", "/tmp/x", "C:\\x", ".git", "con", "a/b", "", "\x1b[2J", "х" * 9, "x" * 200]
)
def test_a_name_that_is_no_folder_of_its_own_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"^name = '.*': must be a file's name of at most 120 letters, "):
        parse_recipe({"task": "copy", "name": name})


def test_a_recipe_without_a_name_is_called_after_its_file(tmp_path: Path) -> None:
    found = {}
    for stem in ("mine", "my runs", "опыт", "опыт 2", "con"):
        (tmp_path / f"{stem}.yaml").write_text("{task: copy, name: }" if stem == "mine" else "task: copy")
        found[stem] = load_recipe(str(tmp_path / f"{stem}.yaml")).name
    assert found["mine"] == "mine" and found["my runs"] == "my_runs" and found["con"] == "_con"
    assert len(set(found.values())) == 5 and all(name.isascii() and "/" not in name for name in found.values())


def test_a_recipe_and_what_it_extends_may_lie_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "base.yaml").write_text("task: copy\ntraining: {steps: 7}\n")
    (tmp_path / "mine.yaml").write_text("extends: ~/base.yaml\n")
    assert load_recipe("~/mine.yaml").runs[0].training.steps == 7


def test_a_baseline_is_one_of_the_models(tmp_path: Path) -> None:
    content = {"task": "copy", "model": {"model": "gla"}, "baseline": "gla"}
    assert parse_recipe(content).baseline == "gla"
    require_baseline(parse_recipe(content))
    for wrong in ("gdn", "gla/AB"):
        with pytest.raises(InputError, match=f"unknown baseline '{wrong}'"):
            require_baseline(parse_recipe({**content, "baseline": wrong}))
    with pytest.raises(InputError, match="baseline"):
        parse_recipe({**content, "baseline": ["gla"]})
    (tmp_path / "below.yaml").write_text("task: copy\nbaseline: llama-rope\n")
    assert parse_recipe({"extends": "below.yaml"}, tmp_path / "above.yaml").baseline == "llama-rope"


def test_the_text_of_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("task: copy\n")
    assert recipe_text(str(tmp_path / "mine.yaml")) == "task: copy\n"
    assert "extends: mini/_panel" in recipe_text("mini/depo") and "grid" in recipe_text("mini/_panel")
    assert not any("_panel" in name for name in shipped_recipes())
    with pytest.raises(InputError, match="unknown recipe"):
        recipe_text("mini/nothing")
