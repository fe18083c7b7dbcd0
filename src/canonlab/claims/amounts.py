"""Differences as people read them; the same in the terminal and on the page."""

from canonlab.claims.contrast import Contrast, published_difference
from canonlab.claims.evidence import FACTOR, NATS, POINTS, Evidence
from canonlab.results.words import NOTHING


def amount(difference: float, unit: str) -> str:
    """Points with their sign, such as "+12.3"; of a logarithm the factor, "1.32x"; of losses "+0.215 nats"."""
    if unit == NATS:
        return f"{difference:+.3f} nats"
    return f"{2 ** min(difference, 99.0):.3g}x" if unit == FACTOR else f"{100 * difference:+.1f}"


def interval(part: Evidence) -> str:
    """The 95% interval of a contrast's difference, "" with fewer than two seeds."""
    found = part.comparison
    if found is None or found.seeds < 2:
        return ""
    low, high = found.low, found.high
    if part.unit == POINTS:  # a difference of shares cannot be more than all
        low, high = max(low, -1.0), min(high, 1.0)
    return f"{amount(low, part.unit)} to {amount(high, part.unit)}"


def published(contrast: Contrast) -> str:
    """The paper's difference."""
    found = published_difference(contrast)
    if found is None:
        return NOTHING
    return amount(found, FACTOR if contrast.measure.kind == "capacity" else POINTS)
