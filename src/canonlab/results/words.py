"""Names and numbers as people read them; the same in the terminal, the page, figures and LaTeX."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from canonlab.errors import visible
from canonlab.tasks.metrics import AREA, Metric

NOTHING = "–"

INTERVALS = (
    "Square brackets: 95% interval within one run, that is, how far its finite number of evaluated answers can be off; "
    "answers of one window count as much as they differ. Mean and min..max: over seeds, that is, how much training "
    "once more changes the result. Neither says by itself that one row is better than another."
)

SETTINGS = {
    "canon": "Canon",
    "start.precision": "parent's precision",
    "machine.canon": "Canon implementation",
    "machine.linear": "implementation of linear mixers",
    "lr": "learning rate",
    "coincidence": "evaluation instances also trained on, at most",
    "data_sha256": "SHA-256 of the training data",
    "weights_sha256": "SHA-256 of the weights",
    "pieces": "hash of words and tokens",
}
"""Names in files that are not the ones to print."""

HASHES = ("pieces",)
"""Parameters that only say which words a task has: nobody can read them."""

FAMILIES = {"k": "{n}-hop {base}", "l": "{base} at length {n}", "depth": "{base} at depth {n}"}
"""How a metric of one difficulty reads: `accuracy_k4` is the member n = 4 of the family ("accuracy", "k")."""


def metric_family(name: str) -> tuple[str, str, int] | None:
    """(base, letter, n) of a metric of one difficulty, such as ("accuracy", "k", 4) for `accuracy_k4`; else None."""
    match = re.fullmatch(r"(.+)_([a-z]+)_?(\d+)", name)
    return (match[1], match[2], int(match[3])) if match else None


def metric_label(name: str) -> str:
    """A metric's name for people: `accuracy_k4` -> "4-hop accuracy", `area_loss` -> "loss over training"."""
    if name.startswith(AREA):
        return f"{metric_label(name.removeprefix(AREA))} over training"
    if family := metric_family(name):
        base, letter, n = family
        return FAMILIES.get(letter, "{base}, {letter} = {n}").format(base=metric_label(base), letter=letter, n=n)
    if match := re.fullmatch(r"first_(\d+)", name):
        return f"first {match[1]} all right"
    return "all right" if name == "all" else visible(name).replace("_", " ")


def title(text: str) -> str:
    """`text` with its first letter in upper case and the others as they are."""
    return visible(text[:1].upper() + text[1:])


def setting_label(key: str) -> str:
    """The name of a dotted configuration key for people: `training.lr` -> "learning rate", and that of a parent
    `start.training.lr` -> "parent's learning rate"."""
    origin, _, rest = key.partition(".")
    if origin == "start" and "." in rest:
        return f"parent's {setting_label(rest)}"
    last = key.rsplit(".", 1)[-1]
    return SETTINGS.get(key) or SETTINGS.get(last) or last.replace("_", " ")


def setting_text(value: Any) -> str:
    """A configuration value for people; of a SHA-256 the start."""
    if value is None or value == "" or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return _part_text(value)
    if isinstance(value, list | tuple):
        return f"({', '.join(map(setting_text, value))})"
    return value[:10] if re.fullmatch("[0-9a-f]{64}", str(value)) else visible(str(value))


def _part_text(part: Mapping[str, Any]) -> str:
    """A part of a mixture, as a task or a run has it: "7 windows of biod (N = 10,000,000)"."""
    name, given = part.get("task") or part.get("name"), part.get("set") or part.get("parameters") or {}
    settings = settings_text({key: value for key, value in given.items() if key not in HASHES})
    share = plural(part["share"], "window") + " of " if "share" in part else ""
    labelled = " with a token of its own" if part.get("domain") else ""
    return f"{share}{visible(str(name))}{f' ({settings})' if settings else ''}{labelled}"


def percent(share: float) -> str:
    """A share in percent with one decimal. Only exactly 0 and 1 read 0.0% and 100.0%."""
    text = f"{100 * share:.1f}%"
    if share > 0 and text == "0.0%":
        return "<0.1%"
    return ">99.9%" if share < 1 and text == "100.0%" else text


def value_text(value: float, is_share: bool) -> str:
    """The value of a metric: a share in percent, anything else (nats, bits) with four significant digits or whole."""
    if not math.isfinite(value):
        return NOTHING
    return percent(value) if is_share else _number(value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def range_text(low: float, high: float, is_share: bool) -> str:
    """From least to greatest, such as "58.0..65.1" in percent or "0.213..0.34"."""
    return f"{100 * low:.1f}..{100 * high:.1f}" if is_share else f"{_number(low)}..{_number(high)}"


def interval_text(metric: Metric, is_share: bool) -> str:
    """The interval within a run, such as "[60.0..66.0]"; empty when there is none, or the value is exact."""
    if metric.interval is None or metric.interval[0] == metric.interval[1]:
        return ""
    return f"[{range_text(*metric.interval, is_share)}]"


def settings_text(settings: dict[str, Any]) -> str:
    """Several settings in a line: "N = 10, K = 4"."""
    return ", ".join(f"{setting_label(key)} = {setting_text(value)}" for key, value in settings.items())


def whole(number: float | None) -> str:
    """A count in full: 98304 -> "98,304"."""
    return NOTHING if number is None or not math.isfinite(number) else f"{number:,.0f}"


def si(number: float | None) -> str:
    """A number of three significant digits with K, M, G, T, P or E: 98304 -> "98.3K"."""
    if number is None or not math.isfinite(number):
        return NOTHING
    for suffix in ("", "K", "M", "G", "T", "P"):
        if abs(number) < 999.5:
            return (f"{number:.3g}" if number != int(number) or suffix else f"{number:.0f}") + suffix
        number /= 1000
    return f"{number:.3g}E"


def duration(seconds: float | None) -> str:
    """A time span in the unit that suits it: 48.2 -> "48 s", 10000 -> "2.8 h"."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 100 * 3600 else f"{seconds / 86400:,.0f} days"


def enumeration(words: Iterable[str]) -> str:
    """A list in a sentence: "a", "a and b", "a, b and c"; nothing for none."""
    *head, last = [*words] or [""]
    return f"{', '.join(head)} and {last}" if head else last


def span(numbers: Sequence[int]) -> str:
    """The least and the greatest of numbers: "4", "3 to 6"."""
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def plural(count: int, noun: str) -> str:
    """A count and its noun: "1 run", "2 runs"."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
