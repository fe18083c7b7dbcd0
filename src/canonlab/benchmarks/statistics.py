"""How often intervals and verdicts are right, in simulated experiments whose truth is known.

A run's value is the truth, plus what its seed's data make of it (which both sides of a comparison share), plus what its
initial weights make of it, plus the error of a finite evaluation. All are normal, and in percentage points.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from canonlab.claims.architecture import Architecture
from canonlab.claims.claim import FAILS, HOLDS, Claim, Judgement
from canonlab.claims.contrast import Contrast
from canonlab.claims.evidence import Evidence, Place
from canonlab.results.compare import LEVEL, Comparison, Value, compare, seeds_for
from canonlab.tasks.metrics import share, t_quantile

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

Pair = tuple[dict[int, Value], dict[int, Value]]


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
                "decided": decided(difference, spread, seeds, tried, experiments, seed, learning),
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
        {"architectures": count, "learning": learning, "seeds": seeds, "comparisons": single, "sections": whole}
        for count in (2, 4, 8, 12)
        for learning in (1.0, 0.5)
        for seeds in (3, 4, 5, 6)
        for single, whole in [several(count, seeds, experiments, seed, learning)]
    ]
    power = [
        {
            "architectures": count,
            "seeds": seeds,
            "lead": lead,
            "decided": several(count, seeds, experiments, seed, 1.0, lead)[0],
        }
        for count in (2, 4, 8, 12)
        for seeds in (3, 4, 5, 6)
        for lead in (10.0, 30.0)
    ]
    return {
        "95% intervals of shares from 2 to 98% that hold the truth": cover,
        "comparisons decided where there is no difference": comparisons(0.0, [(1, 1), (3, 3), (3, 1)]),
        "the same where runs learn or don't, each with a chance of one half": comparisons(0.0, [(1, 1), (3, 3)], 0.5),
        "comparisons decided where the difference is 10 points": comparisons(10.0, [(1, 1), (3, 3)]),
        "decided among equal architectures, each against the best: of comparisons, of sections with any": many,
        "decided comparisons with an architecture that is so many points better than the others; spread 3": power,
        "verdicts on claims by the true differences, in points; spread 3": judged,
    }


def several(
    architectures: int, seeds: int, experiments: int, seed: int = 0, learning: float = 1.0, lead: float = 0.0
) -> tuple[float, float]:
    """How often architectures, of spread SPREADS[1] and equal but for the first one's lead, are told apart.

    As on the page each is compared with the best, at a level for all pairs, since the best is chosen by the numbers.
    `learning` is the chance of a run to learn at all. Shares of the comparisons that are decided, and of experiments in
    which any is.
    """
    draw = np.random.default_rng([seed, architectures, seeds])
    values = draw.normal(0, SPREADS[1], (experiments, architectures, seeds))
    values[:, 0] += lead
    values += draw.normal(0, EVALUATION, values.shape) - UNLEARNT * (draw.random(values.shape) >= learning)
    rows = np.arange(experiments)
    best = values.mean(axis=2).argmax(axis=1)
    differences = values[rows, best][:, None] - values
    error = np.maximum(differences.std(axis=2, ddof=1), np.sqrt(2) * EVALUATION) / np.sqrt(seeds)
    level = LEVEL / math.comb(architectures, 2)
    low = differences.mean(axis=2) - t_quantile(seeds - 1, level) * error
    told = (low > 0) & (seeds >= seeds_for(level))
    told[rows, best] = False
    return float(told.sum() / (experiments * (architectures - 1))), float(told.any(axis=1).mean())


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


def decided(
    difference: float,
    spread: float,
    seeds: int,
    rates: tuple[int, int],
    experiments: int,
    seed: int = 0,
    learning: float = 1.0,
) -> float:
    """How often a comparison is decided, for the better side where there is one.

    Each side has tried so many learning rates, all equally good, and stands with the best of them by the mean over
    seeds: the worst case of choosing by the numbers that are then compared. `learning` is the chance of a run to learn
    at all; else it stays UNLEARNT lower.
    """
    draw = np.random.default_rng([seed, round(10 * spread), seeds, *rates])
    pairs = _experiments(draw, difference, spread, seeds, rates, experiments, learning)
    return float(np.mean([_decided(compare(*pair), difference) for pair in pairs]))


def _decided(found: Comparison | None, difference: float) -> bool:
    return found is not None and (found.low > 0 or (found.high < 0 and difference == 0))


def verdicts(
    parts: int, seeds: int, differences: tuple[float, float], verdict: str, experiments: int, seed: int = 0
) -> float:
    """How often a claim that so many differences are above zero gets a verdict, with a spread of 3 points.

    The first difference is differences[0], the others are differences[1].
    """
    draw = np.random.default_rng([seed, parts, seeds, *(round(100 + d) for d in differences)])
    side = Architecture("simulated")
    contrast = Contrast(side, side, "better than", ("simulated",))
    claim = Claim("", "", "", "", (), (contrast,) * parts)
    truth = [differences[0], *[differences[1]] * (parts - 1)]
    pairs = [_experiments(draw, difference, 3.0, seeds, (1, 1), experiments) for difference in truth]
    nothing = Comparison(0.0, 0.0, 0.0, seeds)
    found = [
        Judgement(
            claim,
            tuple(
                Evidence(contrast, (Place("simulated", "", nothing, False, pair),), (), LEVEL / parts)
                for pair in experiment
            ),
        )
        for experiment in zip(*pairs, strict=True)
    ]
    return float(np.mean([judgement.verdict == verdict for judgement in found]))


def _experiments(
    draw: np.random.Generator,
    difference: float,
    spread: float,
    seeds: int,
    rates: tuple[int, int],
    experiments: int,
    learning: float = 1.0,
) -> list[Pair]:
    """The values of both sides by seed, each at its best learning rate."""
    data = draw.normal(0, spread / 2, (experiments, 1, seeds))
    sides = []
    for count, shift in zip(rates, (difference, 0.0), strict=True):
        tried = 50 + shift + data + draw.normal(0, spread, (experiments, count, seeds))
        tried += draw.normal(0, EVALUATION, tried.shape) - UNLEARNT * (draw.random(tried.shape) >= learning)
        best = tried[np.arange(experiments), tried.mean(axis=2).argmax(axis=1)]
        sides.append([{seed: Value(v / 100, EVALUATION / 100) for seed, v in enumerate(row)} for row in best.tolist()])
    return list(zip(*sides, strict=True))
