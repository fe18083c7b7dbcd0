"""The recipe format: which runs a mapping describes, and one line for whatever is wrong in it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from canonlab.errors import InputError
from canonlab.sweeps.recipe import load_recipe, parse_recipe, read_run_config, read_yaml, run_config, shipped_recipes


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


@pytest.mark.parametrize("key", ["grid", "variants"])
def test_one_run_has_no_grid(tmp_path: Path, key: str) -> None:
    (tmp_path / "many.yaml").write_text(f"task: mano\n{key}: " + "{training.lr: [0.1]}\n")
    with pytest.raises(InputError, match=key):
        read_run_config(tmp_path / "many.yaml")


@pytest.mark.parametrize("field", ["steps", "lr", "seed"])
def test_yes_is_no_number(field: str) -> None:
    with pytest.raises(InputError, match=f"training.{field} = True: must be a number"):
        parse_recipe({"task": "copy", "training": {field: True}})


@pytest.mark.parametrize("text", ["1e-3", "1.0e-3", ".1e-2", "1E-3", "0.001"])
def test_numbers_with_an_exponent(text: str) -> None:
    assert read_yaml(text) == 0.001 and yaml.safe_load("1e-3") == "1e-3"


def test_on_and_off_are_words_and_true_and_yes_are_not(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("backend: {compile: off}\nmodel: {tied: true, canon_frozen: yes}\n")
    assert read_run_config(tmp_path / "run.yaml") == {
        "backend": {"compile": "off"},
        "model": {"tied": True, "canon_frozen": True},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo: 3", "unknown field 'foo'"),
        ("traning: {lr: 1}", "did you mean 'training'"),
        ("training: 3", "training = 3: must be a mapping"),
        ("training: {step: 3}", "did you mean 'steps'"),
    ],
)
def test_what_is_wrong_with_one_run_is_said(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_run_config(tmp_path / "run.yaml")


def test_a_run_is_not_looked_for_among_the_shipped_recipes() -> None:
    with pytest.raises(InputError, match="cannot read laptop/copy: No such file or directory$"):
        read_run_config(Path("laptop/copy"))


def test_a_shipped_recipe_by_name() -> None:
    assert "laptop/copy" in shipped_recipes()
    assert load_recipe("laptop/copy") == load_recipe("recipes/laptop/copy.yaml")
