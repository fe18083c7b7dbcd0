"""How often intervals and verdicts are right, in simulated experiments whose truth is known.

A run's value is the truth, plus what its seed's data make of it (which all that are compared share), plus what its
initial weights make of it, plus the error of a finite evaluation. All are normal, and in percentage points. The runs
are made in memory; what is decided about them is asked of the code that reports, claims and `canonlab compare` ask.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from canonlab.claims.architecture import Architecture
from canonlab.claims.claim import FAILS, HOLDS, Claim, judge
from canonlab.claims.contrast import Contrast
from canonlab.results.cells import cells
from canonlab.results.findings import BETTER, findings
from canonlab.results.groups import Row, Section
from canonlab.results.load import Curves, Result, Run
from canonlab.results.profile import LOOKS, pairs
from canonlab.sweeps.suite import REFERENCES
from canonlab.tasks.base import Evaluation
from canonlab.tasks.metrics import Z95, Metric, share
from canonlab.training.record import Record

RATES = np.linspace(0.02, 0.98, 25)
"""True shares of right answers."""

CLUSTERS = ((64, 1, 0.0), (64, 8, 0.1), (64, 8, 0.5), (256, 8, 0.3), (256, 32, 0.5), (1000, 4, 0.9))
"""Windows, answers in a window on average, and the correlation of two answers of a window."""

SPREADS = (2.0, 3.0, 4.0)
"""Points, of the weights; the spread of the data is half as much."""

EVALUATION = 0.5
"""Points: the standard error of an evaluation whose 95% interval is one point to either side."""

UNLEARNT = 40.0
"""Points: what a run lacks that has not learnt a task which others have."""

Noise = Callable[[np.random.Generator, tuple[int, int, int]], np.ndarray]
"""What training once more makes of a run, in points: draws for (experiments, rows, seeds)."""


def normal(spread: float, learning: float = 1.0) -> Noise:
    """Normal, and, but with the chance of `learning`, UNLEARNT lower."""
    return lambda draw, shape: draw.normal(0, spread, shape) - UNLEARNT * (draw.random(shape) >= learning)


def _heavy(draw: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    return draw.standard_t(3, shape) * SPREADS[1] / math.sqrt(3)


def _partly(draw: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    return draw.normal(0, SPREADS[1], shape) - UNLEARNT * draw.integers(0, 3, shape) / 2


def _unequal(draw: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    return draw.normal(0, 1, shape) * np.exp(draw.uniform(np.log(0.3), np.log(20), (*shape[:2], 1)))


NOISES: dict[str, Noise] = {
    "normal": normal(SPREADS[1]),
    "heavy tails (Student's, 3 degrees)": _heavy,
    "learn or not, one in two": normal(SPREADS[1], 0.5),
    "learn or not, nine in ten": normal(SPREADS[1], 0.9),
    "learn, half, or not": _partly,
    "spreads from 0.3 to 20": _unequal,
}
"""Of architectures that are equally good; those of normal noise have a spread of 3 points."""

MODELS = 2
"""That `canonlab compare` compares with its references: one with and without Canon layers."""

COUNTS = (2, 4, 8, 12)
"""Of architectures in a section."""

TASK: dict[str, Any] = {"name": "simulated", "parameters": {}, "context": 1}
NOWHERE = Path()


def bench_statistics(experiments: int = 4000, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    """All simulations as tables by title.

    `experiments` is for each row; for coverage a tenth of it for each rate, for verdicts a quarter of it.
    """
    settings = [(spread, seeds) for spread in SPREADS for seeds in (2, 3, 5)]

    def comparisons(difference: float, rates: Sequence[tuple[int, int]], learning: float = 1.0) -> list[dict[str, Any]]:
        return [
            {
                "spread": spread,
                "seeds": seeds,
                "learning_rates": f"{tried[0]} and {tried[1]}",
                "clear": clear(difference, spread, seeds, tried, experiments, seed, learning),
            }
            for spread, seeds in settings
            for tried in rates
        ]

    cover = []
    for windows, answers, alike in CLUSTERS:
        found = coverage(windows, answers, alike, experiments // 10, seed)
        row = {"windows": windows, "answers": answers, "correlation": alike}
        cover.append({**row, "least": float(found.min()), "mean": float(found.mean())})
    judged = [
        {
            "comparisons": parts,
            "seeds": seeds,
            "first": first,
            "others": others,
            "verdict": verdict,
            "share": verdicts(parts, seeds, (first, others), verdict, experiments // 4, seed),
        }
        for parts, seeds in ((1, 3), (6, 3), (6, 5), (16, 3), (16, 5))
        for first, others, verdict in ((0.0, 0.0, FAILS), (0.0, 40.0, HOLDS), (10.0, 10.0, HOLDS), (-10.0, 10.0, FAILS))
    ]
    many = [
        {"noise": noise, "seeds": seeds}
        | {f"{count} architectures": several(count, seeds, experiments, seed, noise)[1] for count in COUNTS}
        for noise in NOISES
        for seeds in (3, 4, 5)
    ]
    power = [
        {"lead": lead, "seeds": seeds}
        | {f"{count} architectures": several(count, seeds, experiments, seed, lead=lead)[0] for count in COUNTS}
        for lead in (10.0, 30.0)
        for seeds in (3, 4, 5, 6)
    ]
    looks = [
        {"noise": noise, "lead": lead} | {f"pairs at {min(LOOKS)} seeds": found[0], "anything": found[1]}
        for noise, lead in [*((noise, 0.0) for noise in NOISES), ("normal", 10.0), ("normal", 30.0)]
        for found in [looked(experiments // 4, seed, noise, lead)]
    ]
    return {
        "95% intervals of shares from 2 to 98% that hold the truth": cover,
        "comparisons whose interval leaves out zero, without a difference": comparisons(0.0, [(1, 1), (3, 3), (3, 1)]),
        "the same where runs learn or don't, each with a chance of one half": comparisons(0.0, [(1, 1), (3, 3)], 0.5),
        "the same with a difference of 10 points, where all runs learn": comparisons(10.0, [(1, 1), (3, 3)]),
        "sections of equal architectures in which anything is decided": many,
        "decided comparisons with an architecture that is so many points better than the others; spread 3": power,
        "what canonlab compare decides: share of the pairs, and experiments with any pair": looks,
        "verdicts on claims by the true differences, in points; spread 3": judged,
    }


def several(
    architectures: int, seeds: int, experiments: int, seed: int = 0, noise: str = "normal", lead: float = 0.0
) -> tuple[float, float]:
    """How often architectures that are equal but for the first one's lead are told apart, with a noise of `NOISES`.

    Shares of the comparisons that are decided, and of experiments in which any is.
    """
    draw = np.random.default_rng([seed, architectures, seeds])
    truth = [lead, *[0.0] * (architectures - 1)]
    decided = [
        sum(finding.verdict == BETTER for finding in findings(section))
        for section in _experiments(draw, truth, SPREADS[1], NOISES[noise], seeds, [1] * architectures, experiments)
    ]
    return sum(decided) / (experiments * (architectures - 1)), sum(map(bool, decided)) / experiments


def looked(experiments: int, seed: int = 0, noise: str = "normal", lead: float = 0.0) -> tuple[float, float]:
    """What `canonlab compare` decides between two models, so many points better, and its references.

    Shares of the pairs that are decided at the first look, and of experiments in which any pair is after all looks,
    which here have seeds of every architecture, as if each were in a pair that is still open.
    """
    draw = np.random.default_rng([seed, round(lead)])
    truth = [*[lead] * MODELS, *[0.0] * len(REFERENCES)]
    first = decided = 0
    for section in _experiments(draw, truth, SPREADS[1], NOISES[noise], max(LOOKS), [1] * len(truth), experiments):
        named = {cell.model["model.model"]: cell for cell in cells(section)}
        its = [named[_name(number)] for number in range(len(truth))]  # not the best first, as they come
        found = [pair for pair in pairs(section, its[:MODELS], its[MODELS:]) if not pair.open]
        first += sum(pair.seeds == min(LOOKS) for pair in found)
        decided += bool(found)
    return first / (experiments * MODELS * len(REFERENCES)), decided / experiments


def coverage(windows: int, answers: int, alike: float, experiments: int, seed: int = 0) -> np.ndarray:
    """For each of RATES, how often the interval of `share` holds it.

    Windows differ in how many answers they have (Poisson, at least one) and, by a beta distribution that makes two
    answers of a window correlate by `alike`, in how many of these are right.
    """
    draw = np.random.default_rng([seed, windows, answers, round(1000 * alike)])
    found = np.zeros(len(RATES))
    for number, rate in enumerate(RATES):
        count = 1 + draw.poisson(answers - 1, (experiments, windows))
        strength = (1 - alike) / alike if alike else np.inf
        chance = draw.beta(rate * strength, (1 - rate) * strength, count.shape) if alike else rate
        right = draw.binomial(count, chance)
        metrics = [share(r, c) for r, c in zip(right, count, strict=True)]
        found[number] = np.mean([metric.low <= rate <= metric.high for metric in metrics])
    return found


def clear(
    difference: float,
    spread: float,
    seeds: int,
    rates: tuple[int, int],
    experiments: int,
    seed: int = 0,
    learning: float = 1.0,
) -> float:
    """How often the interval of a comparison leaves out zero, on the better side where there is one.

    Each side has tried so many learning rates, all equally good, and stands with the best of them by the mean over
    seeds: the worst case of choosing by the numbers that are then compared. Whether the seeds are enough to decide
    anything, and the rates as many, is left aside here, to see what these rules are for.
    """
    draw = np.random.default_rng([seed, round(10 * spread), seeds, *rates])
    truth, better = [difference, 0.0], _name(0) if difference else ""

    def leaves_out_zero(section: Section) -> bool:
        (found,) = findings(section)
        return found.comparison.clear and found.first.architecture.startswith(better)

    sections = _experiments(draw, truth, spread, normal(spread, learning), seeds, rates, experiments)
    return sum(map(leaves_out_zero, sections)) / experiments


def verdicts(
    parts: int, seeds: int, differences: tuple[float, float], verdict: str, experiments: int, seed: int = 0
) -> float:
    """How often a claim that so many differences are above zero gets a verdict, with a spread of 3 points.

    The first difference is differences[0], the others are differences[1]. Each is between two architectures of its own.
    """
    draw = np.random.default_rng([seed, parts, seeds, *(round(100 + d) for d in differences)])
    truth = [part for difference in (differences[0], *[differences[1]] * (parts - 1)) for part in (difference, 0.0)]
    sides = [Architecture(_name(number)) for number in range(len(truth))]
    pairs = zip(sides[::2], sides[1::2], strict=True)
    contrasts = tuple(Contrast(first, second, "better than", (TASK["name"],)) for first, second in pairs)
    claim = Claim("", "", "", "", (), contrasts)
    found = _experiments(draw, truth, SPREADS[1], NOISES["normal"], seeds, [1] * len(truth), experiments)
    return sum(judge([claim], [section])[0].verdict == verdict for section in found) / experiments


def _name(number: int) -> str:
    return f"model-{number}"


def _experiments(
    draw: np.random.Generator,
    truth: Sequence[float],
    spread: float,
    noise: Noise,
    seeds: int,
    rates: Sequence[int],
    experiments: int,
) -> Iterator[Section]:
    """Sections of architectures that are so many points better than 50%, at so many learning rates each."""
    rows = [(number, 10.0**-rate) for number, count in enumerate(rates) for rate in range(count)]
    shape = (experiments, len(rows), seeds)
    values = 50 + np.array([truth[number] for number, _ in rows])[:, None] + noise(draw, shape)
    values += draw.normal(0, spread / 2, (experiments, 1, seeds)) + draw.normal(0, EVALUATION, shape)
    settings = [{"model.model": _name(n), "model.canon": "", "model.size": "", "training.lr": rate} for n, rate in rows]
    records = list(map(_record, range(seeds)))
    for experiment in (values / 100).tolist():
        runs = [tuple(map(_run, records, row)) for row in experiment]
        yield Section(TASK, tuple(map(Row, settings, runs)))


def _record(seed: int) -> Record:
    nothing: dict[str, Any] = {
        "name": "",
        "identity": "",
        "written_identity": "",
        "asked": {},
        "files": {},
        "measuring": {},
    }
    return Record(**nothing, config={"training": {"seed": seed, "steps": 1}}, machine={}, difficulty=None)


def _run(record: Record, value: float) -> Run:
    half = Z95 * EVALUATION / 100
    metric = Metric(value, right=1, count=1, low=value - half, high=value + half, clusters=1)
    return Run(NOWHERE, record, Curves(), Result(Evaluation({"accuracy": metric}, ("accuracy",), {}), {}, {}))
