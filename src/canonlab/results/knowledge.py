"""In which text a run has read the people whom its task is about. Source: arXiv 2404.05405, section 10."""

from collections.abc import Mapping
from typing import Any

from canonlab.results.groups import SIZE

KINDS = ("capo", "biod")
"""The tasks about people."""

ALONE, SIMPLE, JUNK, REPEATED, LABELLED = "alone", "simple", "junk", "repeated junk", "labelled, junk"
"""Texts: people alone, written anew each time or (`SIMPLE`) always alike; or in between of junk that never comes again,
of junk that does, and of the former with a token of their own before each of them (`LABELLED`)."""

WORDS = {
    ALONE: "",
    SIMPLE: "always in the same words",
    JUNK: "among junk",
    REPEATED: "among repeated junk",
    LABELLED: "among junk, with a token of their own",
}

ONCE = 1_000_000
"""Junk about as many people or more is taken to be read once."""

SCHEDULE = ("training.steps", "training.exposures", "training.lr")
"""What follows from the text and the exposures, or is each side's own."""

SCALED = (SIZE, "training.batch", "training.weight_decay")
"""What goes with the number of people, and differs between the sides where each stands with its best one."""


def useful(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """The task that a section is about, as its record has it: a mixture's first part, or itself."""
    if task["name"] != "mixture":
        return task
    part: Mapping[str, Any] = task["parameters"]["parts"][0]
    return part


def text(task: Mapping[str, Any]) -> str | None:
    """In which text people are read; None for one that no finding is about."""
    if task["name"] != "mixture":
        return SIMPLE if task["parameters"].get("simple") else ALONE
    first, *rest = task["parameters"]["parts"]
    if any(part["name"] not in KINDS for part in rest) or any(part["domain"] for part in rest):
        return None
    share = first["share"] / sum(part["share"] for part in task["parameters"]["parts"])
    if share != 1 / 8:
        return None
    once = all(part["parameters"]["N"] >= ONCE for part in rest)
    if first["domain"]:
        return LABELLED if once else None
    return JUNK if once else REPEATED
