"""Claims and their evidence as plain data, for programs."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from canonlab.claims.claim import Judgement
from canonlab.claims.evidence import Evidence
from canonlab.claims.published import published_difference
from canonlab.results.summary import finite


def summary(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Claims with their verdicts, ready for strict JSON.

    Differences are shares of right answers; of a comparison with `factor` true, log2 of a factor.
    """
    return finite({"format": 1, "claims": [_claim(judgement) for judgement in judgements]})


def _claim(judgement: Judgement) -> dict[str, Any]:
    claim = judgement.claim
    return {
        "number": claim.number,
        "title": claim.title,
        "statement": claim.statement,
        "published": claim.published,
        "recipes": list(claim.recipes),
        "small": list(claim.small),
        "verdict": judgement.verdict,
        "sentence": judgement.sentence,
        "missing": list(judgement.missing),
        "comparisons": [_comparison(part) for part in judgement.evidence],
    }


def _comparison(part: Evidence) -> dict[str, Any]:
    contrast, found = part.contrast, part.comparison
    return {
        "text": str(contrast),
        "first": str(contrast.first),
        "second": contrast.second if isinstance(contrast.second, float) else str(contrast.second),
        "tasks": list(contrast.tasks),
        "factor": contrast.factor,
        "least": contrast.least,
        "most": contrast.most,
        "verdict": part.verdict,
        "published": published_difference(contrast),
        **({} if found is None else dataclasses.asdict(found)),
        "missing": list(part.missing),
        "places": [
            {"where": place.where, "used": place in part.used, **dataclasses.asdict(place.comparison)}
            for place in part.places
        ],
    }
