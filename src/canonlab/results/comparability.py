"""What two runs must have in common to be compared, setting by setting, with the reasons: one list for all who compare.

Findings, claims and tables ask this list alone. A setting that is not on it counts as its nearest parent that is, so a
new field of training must be shared until somebody writes down here why it need not be. Two things are no settings and
are asked of the runs themselves: that equal seeds saw equal data, by their hash (`compare.common_seeds`), and that both
sides were tried at as many learning rates (`cells.as_many_rates`).
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """Whether runs that are compared must share a setting (a dotted key, with all that is below it), and why."""

    setting: str
    shared: bool
    why: str


RULES = (
    Rule("task", True, "another task, or the same one at another difficulty, is another question"),
    Rule("model", False, "it is what is compared"),
    Rule("model.size", True, "a larger model is better at nearly everything"),
    Rule("resolved", False, "it is the model again, as its words were understood"),
    Rule("training", True, "how long a model learns, from how much and by which updates changes what it comes to"),
    Rule("training.lr", False, "each architecture stands with the best of its own rates, as different ones suit them"),
    Rule("training.seed", False, "seeds are repetitions, and equal ones are compared with each other"),
    Rule("training.microbatch", False, "a batch in parts has the gradient of the whole, balance of experts aside"),
    Rule("precision", True, "bf16 rounds what fp32 does not, and some mixers take that worse than others"),
    Rule("start", True, "what a run goes on from must have been trained alike"),
    Rule("start.model", False, "it is what is compared, as it was trained first"),
    Rule("start.training.lr", False, "each architecture stands with the best of its own rates there too"),
    Rule("measuring", False, "when it is evaluated, logged or saved changes no weight"),
    Rule("machine", False, "device, threads and kernels do the same arithmetic, rounded in another order"),
)


@functools.cache
def must_share(key: str) -> bool:
    """Whether runs that are compared must share the setting at a dotted key: what the nearest rule says."""
    above = [rule for rule in RULES if f"{key}.".startswith(f"{rule.setting}.")]
    return max(above, key=lambda rule: len(rule.setting)).shared


def terms(settings: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The terms on which a row is compared: of its settings by dotted key those that its opponents must share, sorted,
    each with its value as text."""
    return tuple(sorted((key, repr(value)) for key, value in settings.items() if must_share(key)))
