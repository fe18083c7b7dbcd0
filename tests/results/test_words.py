"""Names and numbers for people."""

import math

import pytest

from canonlab.results import words
from canonlab.results.words import setting_text
from canonlab.tasks.catalog import build_task
from fabricate import metric


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("accuracy_k4", "4-hop accuracy"),
        ("accuracy_k16", "16-hop accuracy"),
        ("token_accuracy_k4", "4-hop token accuracy"),
        ("accuracy_l10", "accuracy at length 10"),
        ("accuracy_depth3", "accuracy at depth 3"),
        ("accuracy_x2", "accuracy, x = 2"),
        ("token_accuracy", "token accuracy"),
        ("first_4", "first 4 all right"),
        ("all", "all right"),
        ("kl", "kl"),
    ],
)
def test_metric_labels(name: str, label: str) -> None:
    assert words.metric_label(name) == label


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ("training.lr", "learning rate"),
        ("start.lora", "lora"),
        ("start.precision", "parent's precision"),
        ("start.quantization.bits", "parent's bits"),
        ("start.start.training.lr", "parent's parent's learning rate"),
    ],
)
def test_setting_labels(key: str, label: str) -> None:
    assert words.setting_label(key) == label


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0.0%"),
        (0.0001, "<0.1%"),
        (0.0006, "0.1%"),
        (0.634, "63.4%"),
        (0.9994, "99.9%"),
        (0.9999, ">99.9%"),
        (1, "100.0%"),
    ],
)
def test_only_nothing_and_everything_read_so(share: float, text: str) -> None:
    assert words.percent(share) == text


def test_values_and_intervals() -> None:
    assert words.value_text(math.nan, True) == words.NOTHING
    assert words.value_text(0.123456, False) == "0.1235"
    assert words.interval_text(metric(0.63, 0.6, 0.66, 630, 1000), True) == "[60.0..66.0]"
    assert words.interval_text(metric(0.63, 0.6, 0.66), False) == "[0.6..0.66]"
    assert words.interval_text(metric(0.63), True) == ""
    assert words.interval_text(metric(math.nan, 0, 1, 0, 0), True) == ""
    assert words.range_text(0.58, 0.651, True) == "58.0..65.1"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (999.6, "1K"),
        (98_304, "98.3K"),
        (999_600, "1M"),
        (1.5e9, "1.5G"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_si(number: float | None, text: str) -> None:
    assert words.si(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.21, "0.2 s"), (48.2, "48 s"), (300, "5 min"), (7300, "2.0 h"), (864_000, "10 days"), (None, "–")],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


def test_settings() -> None:
    settings = {"training.lr": 0.0003, "model.canon": "", "a_b": (1, 2), "on": True, "sha": "0a" * 32}
    assert (
        words.settings_text(settings)
        == "learning rate = 0.0003, Canon = none, a b = (1, 2), on = yes, sha = 0a0a0a0a0a"
    )


def test_enumeration() -> None:
    assert [words.enumeration("abc"[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]


def test_parts_of_a_mixture() -> None:
    task = build_task("biod-junk")
    wanted = "1 window of biod-mini (N = 200, N0 = 16,777,216)"
    assert setting_text(task.parameters["parts"]).startswith(f"({wanted}, 7 windows of biod-mini (N = 10,000,000")
    capo = build_task("capo-junk", {"parts": [{"task": "capo", "domain": True}, {"task": "mano", "share": 3}]})
    first, second = capo.identity["parameters"]["parts"]
    assert setting_text(first) == "1 window of capo (N = 50,000, simple = no) with a token of its own"
    assert setting_text(second).startswith("3 windows of mano (L = 10")
