"""The chart of bits against parameters, as HTML and as the data that page.js draws."""

import math
from collections.abc import Sequence
from typing import Any

from canonlab.reports.fragments import filtered
from canonlab.reports.laws import laws_html
from canonlab.reports.markup import Markup, join, tag
from canonlab.results.capacity import BITS, LINES, points
from canonlab.results.groups import Section
from canonlab.results.words import plural, si


def capacity_html(found: Sequence[Section]) -> Markup:
    """The chart with its words, and the laws; nothing where no task is one of capacity."""
    if not any(BITS in section.metrics for section in found):
        return join("")
    tasks = {section.task["name"] for section in found if BITS in section.metrics}
    text = (
        "Each dot is a run. Grey lines: so many bits for each parameter; published models come to about 1 after 100 "
        "exposures and to 2 after 1000. Those read the authors' text, 74.0 tokens a biography and 3,275 used tokens in "
        "all; Capo's own has 64.7 and 2,288, which shifts bits per parameter at small sizes. The top of the chart for "
        "N people is what all facts about them amount to; a model that is too large for its people cannot show what it "
        "could hold."
    )
    place = tag("div", class_="chart capacity", role="img", aria_label="Bits of knowledge against parameters, by run.")
    return tag(
        "section",
        tag("h2", "Knowledge capacity", id="capacity"),
        tag("p", text, class_="hint"),
        tag("figure", tag("figcaption", "Bits against parameters"), place, class_="wide"),
        _unknowing(found),
        laws_html(found),
        aria_labelledby="capacity",
        data_task=next(iter(tasks)) if len(tasks) == 1 else None,
    )


def capacity_data(found: Sequence[Section], colours: Sequence[Sequence[int]]) -> dict[str, Any]:
    """What page.js draws; `colours` has the colour of each row, section by section."""
    dots = []
    for section, numbers in zip(found, colours, strict=True):
        colour = {id(row): number for row, number in zip(section.rows, numbers, strict=True)}
        for point in points(section):
            error = None if math.isnan(point.high) else (point.high - point.low) / 2
            each, most = (bits / point.parameters for bits in (point.bits, point.most))
            known = f"{si(point.bits)} bits in {si(point.parameters)} parameters: {each:.3g} each"
            label = f"{section.label(point.row)}, {si(point.people)} people, {point.run.state}"
            dots.append(
                {
                    **{key.removeprefix("data_"): value for key, value in filtered(point.row).items()},
                    "label": label,
                    "text": f"{known}; at most {most:.3g} for these people",
                    "colour": colour[id(point.row)],
                    "people": point.people,
                    "most": point.most,
                    "x": point.parameters,
                    "y": point.bits,
                    "error": error,
                }
            )
    return {"lines": LINES, "dots": dots}


def _unknowing(found: Sequence[Section]) -> Markup:
    """How many finished runs are left out of the chart."""
    finished = [run for section in found if BITS in section.metrics for row in section.rows for run in row.finished]
    absent = len(finished) - sum(1 for section in found for _ in points(section))
    text = f"Not drawn: {plural(absent, 'run')} without any knowledge (0 bits or fewer) or of an unknown size."
    return tag("p", text, class_="hint") if absent else join("")
