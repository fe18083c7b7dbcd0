"""Bad values are refused with the field, the value and what is allowed."""

from typing import Any

import pytest

from canonlab.errors import InputError
from canonlab.training.config import BackendConfig, TrainingConfig


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("steps", 0, "an integer of at least 1"),
        ("steps", 2.5, "an integer of at least 1"),
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
