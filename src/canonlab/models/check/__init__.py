"""Whether a mixer keeps what `canonlab.models.mixers.base.Mixer` promises, and what it costs: the `check` command."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from canonlab.checks import Check, run_check
from canonlab.errors import InputError, unknown
from canonlab.models.check import compilation, costs, gradients, sequence, state, training
from canonlab.models.check.subject import Subject
from canonlab.models.config import ModelConfig


class Promise(NamedTuple):
    """`check` returns what was seen, or raises `Broken`; it says little where one of `needs` is a broken promise."""

    check: Callable[[Subject], str]
    needs: tuple[str, ...] = ("forward",)


CHECKS: dict[str, Promise] = {
    "forward": Promise(sequence.forward, ()),
    "initialisation": Promise(training.initialisation),
    "batch independence": Promise(sequence.batch_independence),
    "causality": Promise(sequence.causality, ("batch independence",)),
    "any length": Promise(sequence.any_length, ("causality",)),
    "segments": Promise(sequence.segments, ("any length",)),
    "padding": Promise(sequence.padding, ("segments",)),
    "point B": Promise(training.point_b),
    "point b": Promise(training.own_convolution),
    "dtypes": Promise(training.dtypes, ("initialisation",)),
    "causal gradients": Promise(gradients.causal_gradients, ("causality", "dtypes")),
    "gradients": Promise(gradients.gradients, ("causal gradients", "point B", "point b")),
    "segment gradients": Promise(gradients.segment_gradients, ("segments", "gradients")),
    "padding gradients": Promise(gradients.padding_gradients, ("padding", "segment gradients")),
    "state": Promise(state.state_layout, ("any length",)),
    "chunks": Promise(state.chunks, ("padding", "state")),
    "steps": Promise(state.steps, ("chunks",)),
    "reordering": Promise(state.reorder, ("chunks",)),
    "in a decoder": Promise(state.in_decoder, ("steps",)),
    "state gradients": Promise(gradients.state_gradients, ("padding gradients", "reordering", "in a decoder")),
    "compilation": Promise(compilation.compiles, ("any length", "dtypes")),
}
"""By name, each after those that it needs."""

COSTS = "costs"
"""The last one: whether the mixer can be counted and measured beside built-in ones."""


class Findings(NamedTuple):
    """The checks, and the rows of `costs.costs`, which are empty where costs weren't asked for or could not be had."""

    checks: list[Check]
    costs: list[dict[str, Any]]

    @property
    def failed(self) -> bool:
        """Whether a promise is broken; one that couldn't be checked isn't."""
        return any(check.passed is False for check in self.checks)


def chosen(only: Iterable[str] = (), skip: Iterable[str] = ()) -> tuple[str, ...]:
    """The names of checks in `only`, or all where it is empty, but those in `skip`. InputError for other names."""
    names = (*CHECKS, COSTS)
    only, skip = tuple(only), tuple(skip)
    for name in (*only, *skip):
        if name not in names:
            raise unknown("check", name, names)
    left = tuple(name for name in names if name in (only or names) and name not in skip)
    if not left:
        raise InputError("--only and --skip leave no check")
    return left


def check_mixer(model: ModelConfig, names: Iterable[str] = (*CHECKS, COSTS), device: str = "cpu") -> Findings:
    """The checks called `names` of the mixer of `model`, a preset's or a user's own, at that width and on `device`.

    A broken promise leaves those that need it unchecked, so that what fails is where to begin; one that isn't among
    `names` counts as kept. InputError for wrong arguments, or a hybrid.
    """
    rows: list[dict[str, Any]] = []

    def compare(_: Subject) -> str:
        rows.extend(costs.costs(model, device))
        return costs.summary(rows)

    promises = CHECKS | {COSTS: Promise(compare, ("any length",))}
    for name in (names := tuple(names)):
        if name not in promises:
            raise unknown("check", name, promises)
    subject, checks = Subject.of(model, device), []
    roots: dict[str, str] = {}  # what failed or wasn't checked for that -> where it begins
    for name in names:
        need = next((need for need in promises[name].needs if need in roots), None)
        if need is None:
            check = run_check(name, partial(promises[name].check, subject), "mixer")
            if check.passed is False:
                roots[name] = name
        else:
            roots[name] = roots[need]
            check = Check(name, None, f"rests on {need!r}", f"repair {roots[need]!r} first")
        checks.append(check)
    return Findings(checks, rows)
