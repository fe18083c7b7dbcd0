"""Claims and their evidence as plain data, for programs."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from canonlab.claims.claim import Judgement
from canonlab.claims.contrast import published_difference
from canonlab.claims.evidence import Evidence
from canonlab.results.summary import finite


def summary(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Claims with their verdicts, ready for strict JSON.

    Differences are shares of right answers; where a comparison's `unit` is "factor" log2 of one, where it is "nats" of
    losses, more being better.
    """
    return finite({"format": 1, "claims": [_claim(judgement) for judgement in judgements]})


def _claim(judgement: Judgement) -> dict[str, Any]:
    of_claim = ("number", "title", "statement", "published", "recipes", "small")
    return {
        **{key: getattr(judgement.claim, key) for key in of_claim},
        **{key: getattr(judgement, key) for key in ("verdict", "sentence", "missing")},
        "comparisons": [_comparison(part) for part in judgement.evidence],
    }


def _comparison(part: Evidence) -> dict[str, Any]:
    contrast, found = part.contrast, part.comparison
    return {
        "text": str(contrast),
        "first": str(contrast.first),
        "second": contrast.second if isinstance(contrast.second, float) else str(contrast.second),
        "tasks": contrast.tasks,
        "unit": part.unit,
        "least": contrast.least,
        "most": contrast.most,
        "verdict": part.verdict,
        "published": published_difference(contrast),
        **({} if found is None else dataclasses.asdict(found)),
        "missing": part.missing,
        "places": [
            {"where": place.where, "used": place in part.used, **dataclasses.asdict(place.comparison)}
            for place in part.places
        ],
    }
