"""Bits per parameter by exposures, the laws of knowledge, and Part 3.3's factors beside one's own: for the page."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from canonlab.claims.amounts import amount, interval, published
from canonlab.claims.architecture import Architecture
from canonlab.claims.capacity import CLAIMS
from canonlab.claims.claim import Judgement, judge
from canonlab.claims.evidence import FACTOR, Evidence
from canonlab.reports.fragments import COLOURS, DASHES, LineStyle, filtered, swatch, table_html
from canonlab.reports.markup import Markup, join, tag
from canonlab.results.compare import Comparison
from canonlab.results.groups import Section
from canonlab.results.laws import Law, Series, Step, series, unexposed
from canonlab.results.words import NOTHING, plural

PUBLISHED = {100: 1, 1000: 2}
"""Bits per parameter at the peak after so many exposures: results 1 and 2 of Part 3.3."""


def laws_html(found: Sequence[Section]) -> Markup:
    """The series with their laws, and the factors; nothing where no run is about people."""
    lines = _lines(found)
    if not lines:
        return join("")
    return join(
        _chart(lines), tag("div", tag("h3", "Laws"), _hint(found), _laws(lines), _factors(found), class_="laws")
    )


def laws_data(found: Sequence[Section]) -> dict[str, Any]:
    """What page.js draws; nothing where there is nothing to draw."""
    lines = _lines(found)
    drawn = [
        {**_filtered(each), "label": each.label, **style._asdict(), "points": [_point(law) for law in each.laws]}
        for each, style in lines
    ]
    return {"exposures": {"lines": drawn, "published": list(PUBLISHED.items())}} if _drawn(lines) else {}


def _lines(found: Sequence[Section]) -> list[tuple[Series, LineStyle]]:
    """The series with how they are drawn: in colours of their own, as many may be of one architecture."""
    numbered = enumerate(series(found))
    return [(each, LineStyle(n % COLOURS, DASHES[n // COLOURS % len(DASHES)])) for n, each in numbered]


def _filtered(each: Series) -> dict[str, str]:
    """What filters look at: a series is over sizes."""
    known = filtered(each.cell.rows[0])
    return {key.removeprefix("data_"): value for key, value in known.items() if key != "data_size"}


def _point(law: Law) -> dict[str, Any]:
    ratios = [each.value for each in law.top.ratios.values()]
    at = f"{law.top.cell.size}, {law.top.people:,.0f} people"
    text = f"{law.exposures:,} exposures: {law.peak.difference:.3g} bits per parameter, {_spread(law.peak)}, at {at}"
    return {"x": law.exposures, "y": law.peak.difference, "seeds": ratios, "text": text}


def _drawn(lines: Sequence[tuple[Series, LineStyle]]) -> bool:
    return any(len(each.laws) > 1 for each, _ in lines)


def _chart(lines: Sequence[tuple[Series, LineStyle]]) -> Markup:
    if not _drawn(lines):
        return join("")
    place = tag("div", class_="chart exposures", role="img", aria_label="Bits per parameter against exposures.")
    legend = (tag("li", swatch(style), each.label, **_data(each)) for each, style in lines)
    caption = tag("figcaption", "The most bits per parameter against exposures")
    return tag("figure", caption, place, tag("ul", *legend, class_="legend"), class_="wide")


def _data(each: Series) -> dict[str, str]:
    return {f"data_{key}": value for key, value in _filtered(each).items()}


def _laws(lines: Sequence[tuple[Series, LineStyle]]) -> Markup:
    numbers = ["Exposures", "Most bits/parameter", "Places", "Exponent", "Growth"]
    caption = "Laws of knowledge: the most bits per parameter, the power of parameters, growth with exposures"
    return table_html(caption, ["Architecture and text"], numbers, *(_group(each, style) for each, style in lines))


def _group(each: Series, style: LineStyle) -> Markup:
    """The laws of a series, a line for each number of exposures."""
    head = tag("th", swatch(style), each.label, scope="rowgroup", rowspan=len(each.laws))
    rows = [_law(law, step) for law, step in zip(each.laws, [None, *each.steps], strict=True)]
    lines = [[head, *rows[0]], *rows[1:]]
    return tag("tbody", *(tag("tr", *line) for line in lines), **_data(each))


def _law(law: Law, step: Step | None) -> list[Markup]:
    at = f"{law.top.cell.size}, N = {law.top.people:,.0f}{', all known' if law.top.full else ''}"
    power = law.power
    exponent = _cell(f"{power.exponent.difference:.3g}", _spread(power.exponent)) if power else _cell(NOTHING)
    return [
        _cell(f"{law.exposures:,}"),
        _cell(f"{law.peak.difference:.3g}", _spread(law.peak), at),
        _cell(str(len(law.places)), _unseen(law.full, law.empty)),
        exponent,
        _growth(step),
    ]


def _growth(step: Step | None) -> Markup:
    found = step.factor if step else None
    if step is None or found is None:
        return _cell(NOTHING, _unseen(step.full, step.empty) if step else "")
    factor, low, high = (amount(each, FACTOR) for each in (found.difference, found.low, found.high))
    return _cell(factor, f"[{low}..{high}]" if found.seeds > 1 else "", step.verdict)


def _unseen(full: int, empty: int) -> str:
    """How many places are left out."""
    return ", ".join(f"{count} {why}" for count, why in ((full, "all known"), (empty, "nothing known")) if count)


def _cell(number: str, *notes: str) -> Markup:
    return tag("td", tag("b", number), *(tag("small", note) for note in notes if note), class_="number")


def _spread(found: Comparison) -> str:
    """The interval, or that there is one seed alone."""
    return "one seed" if math.isnan(found.low) else f"[{found.low:.3g}..{found.high:.3g}], {found.seeds} seeds"


def _hint(found: Sequence[Section]) -> Markup:
    absent = unexposed(found)
    left = f" Not here: {plural(absent, 'run')} made for a number of steps, not of exposures." if absent else ""
    text = (
        "A place is a size and a number of people N, and stands with its best learning rate, batch and weight decay. "
        "Most bits/parameter: the largest mean over seeds of so many places, so the more places the more it flatters; "
        "square brackets: Student's 95% interval over seeds. All known: nine tenths of all that there is to know, so "
        "what the model could hold is not seen; nothing known: less than 0.01 bits/parameter at some seed. Exponent: a "
        "in bits = c · parameters^a, fitted to each seed over the other places, if of three sizes. Growth: the factor "
        "from the exposures above at equal places of these, seed by seed: a plateau where the interval allows no more "
        "than 10% for each doubling; it rises where it allows no less. Fewer than three seeds leave it open."
    )
    return tag("p", text, left, class_="hint")


def _factors(found: Sequence[Section]) -> Markup:
    """Part 3.3's contrasts that have runs, claim by claim."""
    judged = [each for each in judge(CLAIMS, found) if any(part.places for part in each.evidence)]
    if not judged:
        return join("")
    numbers = ["Factor", "95% interval", "Published", "Seeds", "Verdict"]
    hint = (
        "Factors of bits per parameter, one side over the other, at the same sizes and people or each at its peak; "
        "where the other is a number, over that. Supported: the interval lies within what the comparison states; "
        "refuted: outside of it, at a stricter level; else open. A claim holds when all of its comparisons do."
    )
    table = table_html("Factors of Part 3.3", ["Comparison"], numbers, *map(_claim, judged))
    return join(tag("h3", "Factors of Part 3.3"), tag("p", hint, class_="hint"), table)


def _claim(judged: Judgement) -> Markup:
    title = f"{judged.claim.number} {judged.claim.title}: {judged.verdict}"
    head = tag("tr", tag("th", title, scope="rowgroup", colspan="6"))
    return tag("tbody", head, *map(_factor, (part for part in judged.evidence if part.places)), class_="claim")


def _factor(part: Evidence) -> Markup:
    found = part.comparison
    texts = [
        NOTHING if found is None else amount(found.difference, part.unit),
        interval(part) or NOTHING,
        published(part.contrast),
        NOTHING if found is None else str(found.seeds),
        part.verdict,
    ]
    edge = " ↔" if any(place.at_edge for place in part.used) else ""
    cells = (tag("td", text, class_="number") for text in texts)
    return tag("tr", tag("td", f"{part.contrast}{edge}"), *cells, **dict(_sides(part)))


def _sides(part: Evidence) -> Iterator[tuple[str, str]]:
    """The attributes of a comparison's element that the page's filters look at."""
    for name, side in (("first", part.contrast.first), ("second", part.contrast.second)):
        if isinstance(side, Architecture):
            yield f"data_{name}_model", side.model
            yield f"data_{name}_canon", side.canon or "none"
