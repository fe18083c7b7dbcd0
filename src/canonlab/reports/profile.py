"""The page of a skill profile: one HTML file without scripts, beside the page of all its runs."""

import math
import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from string import Template

from canonlab import __version__
from canonlab.files import write_text
from canonlab.pictures import svg
from canonlab.reports.markup import Markup, join, tag
from canonlab.reports.strip import heading, strip
from canonlab.results.agreement import agreements
from canonlab.results.cells import Cell
from canonlab.results.profile import Pair, Profile, Skill, place, value
from canonlab.results.words import NOTHING, duration, enumeration, metric_label, plural, settings_text, si, title

MINIATURE = (
    "These are miniatures: models of about a hundred thousand parameters on tasks small enough to be learnt in "
    "seconds. What is decided here is decided at this size, and is a reason to look closer at a larger one."
)

_COLOURS = {
    svg.PAPER: "panel",
    svg.WHITE: "panel",
    svg.INK: "ink",
    svg.SOFT: "soft",
    svg.FAINT: "rule",
    svg.BLUE: "series-0",
    svg.ORANGE: "series-1",
    svg.GREEN: "series-2",
    svg.PINK: "series-3",
    svg.AMBER: "series-4",
    svg.SKY: "series-5",
}
"""What the page calls the picture's colours."""

_THEME = "".join(
    f'figure svg [{part}="{colour}"] {{ {part}: var(--{name}); }}\n'
    for colour, name in _COLOURS.items()
    for part in ("fill", "stroke")
)
"""A picture stands alone with colours of its own; in the page they follow light and dark."""


def write_profile(profile: Profile, path: str | os.PathLike[str], link: str) -> Path:
    """Write the page to `path`, whole or not at all, and return it; `link` leads to the page of all runs.

    InputError when the file cannot be written.
    """
    write_text(Path(path), profile_html(profile, link), "page")
    return Path(path)


def write_strip(profile: Profile, path: str | os.PathLike[str]) -> None:
    """Write the picture alone, as SVG. InputError when the file cannot be written."""
    write_text(Path(path), strip(profile), "picture")


def profile_html(profile: Profile, link: str) -> str:
    """The text of the page."""
    seeds = [len(cell.best.finished) for skill in profile.skills for cell in skill.cells.values() if cell.best]
    low, high = min(seeds, default=0), max(seeds, default=0)
    each = plural(low, "seed") if low == high else f"{low} to {high} seeds"
    lead = join(
        f"{plural(sum(seeds), 'run')} on {plural(len(profile.skills), 'skill')}, {each} of each: {profile.verdict}, ",
        "with an error of 5% for all pairs of a skill together, and over all looks at more seeds. ",
        MINIATURE,
        " ",
        tag("a", "All runs, with their curves", href=link),
        ".",
    )
    return Template(_resource("profile.html")).substitute(
        title=join(f"Skill profile of {heading(profile)}"),
        lead=lead,
        notes=_notes(profile),
        picture=Markup(strip(profile)),
        short=_short(profile),
        skills=tag("section", tag("h2", "Every difference"), *(_skill(skill) for skill in profile.skills)),
        costs=_costs(profile),
        agreement=_agreement(profile),
        version=join(__version__),
        style=_resource("page.css") + _THEME,
    )


def _notes(profile: Profile) -> Markup:
    """The profile's own, and where runs were made, if not all on one machine."""
    cells = [cell for skill in profile.skills for cell in skill.cells.values() if cell.best]
    made = {
        str((run.result.provenance.get("versions") or {}).get("hardware"))
        for cell in cells
        if cell.best
        for run in cell.best.finished
        if run.result
    }
    notes = [f"{title(note)}." for note in profile.notes]
    notes += [f"Made on {enumeration(sorted(made))}."] if len(made) > 1 else []
    return tag("ul", *(tag("li", note) for note in notes), class_="notes") if notes else join()


def _short(profile: Profile) -> Markup:
    """A table for each model."""
    parts = [tag("h2", "In short")]
    for model in profile.models:
        its = [(skill, skill.cells[model]) for skill in profile.skills if model in skill.cells]
        body = [_short_row(profile, skill, cell) for skill, cell in its]
        if its:
            words = ["skill", "value", "place", "better than", "worse than", "open against"]
            parts += [tag("h3", its[0][1].architecture), _table(f"{its[0][1].architecture} by skill", words, body)]
    return tag("section", *parts)


def _short_row(profile: Profile, skill: Skill, cell: Cell) -> Sequence[object]:
    rivals = [skill.cells[name] for name in profile.references if name in skill.cells]
    against = [
        enumeration([pair.reference.architecture for pair in skill.of(cell, verdict)]) or NOTHING
        for verdict in ("better", "worse", "open")
    ]
    return [skill.name, value(cell), f"{place(cell, rivals)} of {1 + len(rivals)}", *against]


def _skill(skill: Skill) -> Markup:
    task = f"{skill.section.task['name']} {settings_text(skill.section.parameters)}"
    words = ["model", "against", "difference", "interval", "seeds", "verdict"]
    open_ones = sum(pair.open for pair in skill.pairs)
    told = f"{title(skill.name)}: {len(skill.pairs) - open_ones} of {len(skill.pairs)} decided"
    hint = f"{task}. Differences in {metric_label(skill.metric)}, turned so that more is better for the model."
    body = [_difference(pair) for pair in skill.pairs]
    return tag(
        "details",
        tag("summary", told),
        tag("p", hint, class_="hint"),
        _table(f"Differences on {skill.name}", words, body),
    )


def _difference(pair: Pair) -> Sequence[object]:
    names, found = [pair.model.architecture, pair.reference.architecture], pair.decision
    if found is None:
        return [*names, NOTHING, NOTHING, pair.seeds, "open"]
    interval = NOTHING if math.isnan(found.low) else f"{found.low:+.3g} to {found.high:+.3g}"
    verdict = pair.verdict if pair.open else tag("strong", pair.verdict)
    return [*names, f"{found.difference:+.3g}", interval, pair.seeds, verdict]


def _costs(profile: Profile) -> Markup:
    """Of the first skill of each architecture, but for the time, which is of all of them."""
    body = []
    for name in (*profile.models, *profile.references):
        its = [skill.cells[name] for skill in profile.skills if name in skill.cells]
        rows = [cell.best for cell in its if cell.best]
        if rows:
            seconds = [row.cost("seconds") or math.nan for row in rows]
            flops, state = (si(rows[0].cost(key)) for key in ("flops_per_token", "state_bytes"))
            took = duration(math.fsum(seconds) / len(seconds))
            body.append([its[0].architecture, si(rows[0].cost("parameters")), flops, state, took])
    words = ["architecture", "parameters", "FLOPs per token", "state in bytes", "a run takes, on average"]
    first = profile.skills[0].name if profile.skills else NOTHING
    hint = f"Parameters, FLOPs of a forward pass and state on {first}; the time is a mean over all skills and seeds."
    return tag("section", tag("h2", "Costs"), tag("p", hint, class_="hint"), _table("Costs", words, body))


def _agreement(profile: Profile) -> Markup:
    """The order of those that the paper has, against its own."""
    found = agreements([skill.section for skill in profile.skills])
    if not found:
        return join()
    body = [
        [
            f"{each.section.task['name']} {settings_text(each.section.parameters)}",
            len(each.architectures),
            f"{each.tau:.2f}",
            f"{each.low:.2f} to {each.high:.2f}",
            f"{len(each.otherwise)} of {each.decided}",
        ]
        for each in found
    ]
    otherwise = [
        tag("li", f"{each.section.task['name']}: {better} is better than {worse} here, and worse in the paper.")
        for each in found
        for better, worse in each.otherwise
    ]
    words = ["task", "architectures", "Kendall's tau", "95% interval", "decided otherwise"]
    hint = (
        "How far miniatures order the paper's architectures as its own models of 25M to 100M parameters are "
        "ordered, by the mean over a panel; the interval is over seeds."
    )
    return tag(
        "section",
        tag("h2", "Agreement with the paper"),
        tag("p", hint, class_="hint"),
        _table("Agreement", words, body),
        tag("ul", *otherwise, class_="notes") if otherwise else "",
    )


def _table(caption: str, words: Sequence[str], body: Sequence[Sequence[object]]) -> Markup:
    head = tag("thead", tag("tr", *(tag("th", title(word), scope="col") for word in words)))
    lines = [tag("tr", tag("th", row[0], scope="row"), *(tag("td", entry) for entry in row[1:])) for row in body]
    table = tag("table", tag("caption", caption), head, tag("tbody", *lines))
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _resource(name: str) -> str:
    return resources.files("canonlab.reports").joinpath(name).read_text(encoding="utf-8")
