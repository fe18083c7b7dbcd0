"""Bad values are refused with the field, the value and what is allowed."""

from typing import Any

import pytest

from canonlab.errors import InputError
from canonlab.models.config import ModelConfig
from canonlab.training.config import BackendConfig, RunConfig, TaskConfig, TrainingConfig, overlay, run_config


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("steps", 0, "an integer of at least 1"),
        ("steps", 2.5, "an integer of at least 0"),
        ("batch", True, "an integer of at least 1"),
        ("lr", 0.0, "a number above 0"),
        ("lr", -1e-3, "a number above 0"),
        ("lr", float("nan"), "a number above 0"),
        ("lr", float("inf"), "a number above 0 and finite"),
        ("lr", "fast", "a number above 0"),
        ("beta2", 1.0, "a number at least 0 and below 1"),
        ("clip", -1, "a number at least 0"),
        ("seed", -1, "an integer of at least 0"),
        ("microbatch", 5, "must divide the batch 32"),
        ("schedule", "cosin", "did you mean 'cosine'"),
        ("optimizer", "adam", "did you mean 'adamw'"),
    ],
)
def test_training(field: str, value: Any, allowed: str) -> None:
    with pytest.raises(InputError, match=field) as caught:
        TrainingConfig(**{field: value})
    assert allowed in str(caught.value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"), [("precision", "fp16"), ("compile", "maybe"), ("linear", "x"), ("threads", -1)]
)
def test_backend(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{field} .*{value!r}"):
        BackendConfig(**{field: value})


def test_a_run_from_plain_data_over_what_its_task_publishes() -> None:
    assert run_config({"task": "mano"}) == RunConfig(
        TaskConfig("mano"), ModelConfig(), TrainingConfig(steps=80_000, batch=64, lr=3e-4, weight_decay=0.1)
    )
    content = {
        "task": {"name": "capo", "set": {"N": 9}},
        "model": {"canon": "A", "mlp_ratio": 2, "mixer": {"heads": 2}},
        "training": {"batch": "24", "lr": 1, "warmup": 2e2},
        "backend": None,
    }
    config = run_config(content)
    assert config == run_config({"task": {"name": "capo"}} | content)
    assert config.task.set == {"N": 9}
    assert (config.model.model, config.model.size, config.model.tied, config.model.canon) == (
        "gpt2-original",
        "4-4",
        True,
        "A",
    )
    assert (config.training.exposures, config.training.weight_decay) == (100, 0.01)
    assert repr((config.training.batch, config.training.lr, config.training.warmup)) == "(24, 1.0, 200)"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "task: missing; name one, such as task: copy"),
        ({"task": {"set": {"N": 3}}}, "task: missing"),
        ({"task": 3}, "task = 3: must be a mapping of fields"),
        ({"task": {"name": 3}}, "task.name = 3: must be text"),
        ({"task": {"name": ["copy"]}}, "task.name = ['copy']: must be text"),
        ({"task": {"name": "copy", "set": [1]}}, "task.set = [1]: must be a mapping"),
        ({"task": {"name": "copy", "set": {1: 2}}}, "name in task.set = 1: must be text"),
        ({"task": "copy", "trainig": {}}, "unknown field 'trainig'; did you mean 'training'"),
        ({"task": "copy", "training": {"step": 3}}, "unknown field of training 'step'; did you mean 'steps'"),
        ({"task": "copy", "training": [1]}, "training = [1]: must be a mapping of fields"),
        ({"task": "copy", "training": {"lr": "fast"}}, "training.lr = 'fast': must be a number"),
        ({"task": "copy", "training": {"steps": True}}, "training.steps = True: must be an integer"),
        ({"task": "copy", "training": {"lr": True}}, "training.lr = True: must be a number"),
        ({"task": "copy", "training": {"steps": float("inf")}}, "training.steps = inf: must be an integer"),
        ({"task": "copy", "training": {"lr": float("inf")}}, "lr = inf: must be a number above 0 and finite"),
        ({"task": "copy", "training": {"isolate": "yes"}}, "training.isolate = 'yes': must be true or false"),
        ({"task": "copy", "model": {"size": 8}}, "model.size = 8: must be text"),
        ({"task": "copy", "model": {"mixer": None}}, "model.mixer = None: must be a mapping"),
    ],
)
def test_what_is_wrong_with_a_run_is_said(content: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        run_config(content)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_layers_of_mappings() -> None:
    below = {"a": {"b": 1, "c": {"d": 2}}, "e": {"f": 3}, "g": 4}
    assert overlay(below, {"a": {"c": {"h": 5}}, "e": 6, "g": {"i": 7}}) == {
        "a": {"b": 1, "c": {"d": 2, "h": 5}},
        "e": 6,
        "g": {"i": 7},
    }
    overlay(below, {})["a"]["c"]["d"] = 0
    assert below["a"]["c"]["d"] == 2
