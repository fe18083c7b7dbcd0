"""Runs with known numbers, in memory, and the numbers that make a claim true."""

import hashlib
import math
import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from canonlab.claims.architecture import Architecture
from canonlab.claims.claim import Claim
from canonlab.claims.contrast import Contrast, Measure
from canonlab.results.groups import Section, sections
from canonlab.results.load import Curves, Result, Run
from canonlab.tasks.base import Evaluation
from fabricate import metric, record

HEADLINE = {
    "copy": ("token_accuracy",),
    "depo": ("accuracy_k4", "accuracy_k2"),
    "brevo": ("accuracy",),
    "mano": ("accuracy_l10",),
    "lano": ("accuracy",),
    "capo": ("bits_per_parameter",),
    "real-life": ("common_sense",),
}
STEPS = 10_000

Side = tuple[Architecture, str, Measure]
Truth = dict[Side, float]
"""What a measure of an architecture on a task really is: a share, bits per parameter, or a step."""


def make_run(
    task: str,
    architecture: Architecture,
    metrics: Mapping[str, float],
    *,
    learnt: Mapping[str, int] | None = None,
    seed: int = 0,
    size: str = "8L512D",
    lr: float = 0.001,
    steps: int = STEPS,
    error: float = 0.001,
    **training: Any,
) -> Run:
    """A finished run. `learnt` has the step at which a metric's curve goes from 0 to 1; `error` is the evaluation's."""
    parameters = {"N": 10, "K": 4} if task == "depo" else {"N": 10}
    exposures = {"exposures": 100} if task == "capo" else {}
    model = {"size": size, "preset": str(architecture), "canon": {"points": architecture.canon}}
    asked: dict[str, Any] = {"model": architecture.model, "size": size, "canon": architecture.canon, "mixer": {}}
    for key, value in architecture.settings:
        (asked["mixer"] if key.startswith("mixer.") else asked)[key.removeprefix("mixer.")] = value
    config = {
        "task": {"name": task, "version": 1, "parameters": parameters, "context": 64, "source": None},
        "model": model,
        "training": {"steps": steps, "batch": 32, "lr": lr, "seed": seed, **exposures, **training},
        "precision": "fp32",
    }
    half = 1.96 * error
    found = {
        name: metric(value, value - half, value + half, None if task == "capo" else 1, 1000)
        for name, value in metrics.items()
    }
    evaluation = Evaluation(found, HEADLINE[task], {})
    curve = tuple(
        (step, Evaluation({name: metric(float(step >= at)) for name, at in learnt.items()}, (), {}))
        for step in range(100, steps + 1, 100)
        if learnt
    )
    cost = {"parameters": 1e6, "flops_per_token": 1.0, "tokens": 1.0, "seconds": 1.0}
    identity = hashlib.sha256(repr((config, asked)).encode()).hexdigest()
    curves = Curves(evaluations=curve)
    told = record(identity=identity, config=config, asked={"model": asked})
    return Run(Path(identity), told, curves, Result(evaluation, cost, {}))


def sides(contrast: Contrast, task: str) -> tuple[Side, Side | float]:
    """What is compared on a task; Depo's half of the hops is as good as all of them in these fixtures."""

    def side(architecture: Architecture, measure: Measure) -> Side:
        return architecture, task, Measure() if measure.kind in ("most", "half") else measure

    first, second = side(contrast.first, contrast.measure), contrast.second
    return first, second if isinstance(second, float) else side(second, contrast.against)


def truth(claim: Claim) -> Truth:
    """Numbers under which every contrast of a claim is true, by raising what must be greater until all are."""
    level: dict[Side, int] = {}
    fixed: Truth = {}
    pairs = [(*sides(contrast, task), contrast) for contrast in claim.contrasts for task in contrast.tasks]
    for first, second, contrast in pairs:
        level.setdefault(first, 0)
        if isinstance(second, float):
            fixed[first] = second + 0.008 if contrast.least == 0 else second - 0.06
        else:
            level.setdefault(second, 0)
    for _ in range(len(level)):
        for first, second, contrast in pairs:
            if not isinstance(second, float):
                level[first] = max(level[first], level[second] + (contrast.least == 0))
                if math.isfinite(contrast.most):
                    level[second] = max(level[second], level[first])
    assert max(level.values()) < 9, "the contrasts of this claim contradict each other"
    return {side: fixed.get(side, _number(side, at)) for side, at in level.items()}


def _number(side: Side, level: int) -> float:
    _, task, measure = side
    if measure.kind == "speed":
        return 6400 / 2**level
    return 0.5 * 1.5**level if task == "capo" else 0.15 + 0.1 * level


def runs(found: Truth, seeds: Iterable[int] = range(3), spread: float = 0.004) -> list[Run]:
    """A run of each architecture on each task for each seed, with numbers that differ a little between seeds."""
    result = []
    for architecture, task in dict.fromkeys((architecture, task) for architecture, task, _ in found):
        size = f"{architecture.layers}L64D8H" if architecture.layers else "8L512D"
        for seed in seeds:
            noise = random.Random(f"{architecture} {task} {seed}")
            metrics: dict[str, float] = {}
            learnt: dict[str, int] = {}
            for (other, where, measure), value in found.items():
                if (other, where) != (architecture, task):
                    continue
                if measure.kind == "speed":
                    learnt[measure.metric] = round(value, -2) + 100 * noise.randrange(2)
                else:
                    name = measure.metric or HEADLINE[task][0]
                    near = value * noise.uniform(1 - spread, 1 + spread)
                    metrics[name] = near
            main, *rest = HEADLINE[task]
            metrics.setdefault(main, 0.5)
            metrics |= {name: metrics[main] for name in rest if name not in metrics}
            result.append(make_run(task, architecture, metrics, learnt=learnt or None, seed=seed, size=size))
    return result


@pytest.fixture
def run() -> Callable[..., Run]:
    """`make_run`."""
    return make_run


@pytest.fixture
def true_numbers() -> Callable[[Claim], Truth]:
    """`truth`."""
    return truth


@pytest.fixture
def runs_of() -> Callable[..., list[Section]]:
    """`runs`, by task, as claims are judged by them."""
    return lambda *args, **settings: sections(runs(*args, **settings))
