"""Claims and their evidence in a terminal."""

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from canonlab.claims.amounts import amount, interval, published
from canonlab.claims.claim import FAILS, HOLDS, UNDECIDED, Claim, Judgement
from canonlab.claims.evidence import Evidence
from canonlab.results.words import NOTHING, enumeration, plural

NAMED = 6
"""How many places a claim names."""

COLUMNS = ("diff.", "95% interval", "seeds", "places", "paper", "verdict")


def terminal(judgements: Sequence[Judgement], ran: bool = True) -> list[Group | Text]:
    """A block for each claim. Without runs (`ran` false) what it compares and which recipes make those runs; else the
    table of its contrasts with a place, and the verdict."""
    return [*(_block(judgement, ran) for judgement in judgements), *([_legend(judgements)] if ran else [])]


def _block(judgement: Judgement, ran: bool) -> Group:
    claim = judgement.claim
    head = Text.assemble((f"{claim.number}. {claim.title}", "bold"))
    parts: list[Text | Table] = [head, Text(claim.statement), Text(f"Paper: {claim.published}", style="dim")]
    if ran:
        seen = [part for part in judgement.evidence if part.places]
        parts += [_table(seen), Text(_where(seen), style="dim")] if seen else []
        parts.append(Text(judgement.sentence, style="bold"))
    else:
        parts += [Text(f"- {contrast}") for contrast in claim.contrasts]
    parts += [Text(_recipes(claim)), Text()]
    return Group(*parts)


def _recipes(claim: Claim) -> str:
    if not claim.recipes:
        return "No recipe makes these runs yet."
    small = f"; for a first look: {enumeration(claim.small)}" if claim.small else ""
    seeds = "to run with several seeds (training.seed: [0, 1, 2] in the grid)"
    return f"Recipes, {seeds}: {enumeration(claim.recipes)}{small}."


def _table(evidence: Sequence[Evidence]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("comparison", overflow="fold", ratio=1)
    for name in COLUMNS:
        table.add_column(name, justify="right", overflow="fold")
    for part in evidence:
        found, contrast = part.comparison, part.contrast
        edge = " ↔" if any(place.at_edge for place in part.used) else ""
        table.add_row(
            Text(f"{contrast}{edge}"),
            NOTHING if found is None else amount(found.difference, part.unit),
            interval(part) or NOTHING,
            NOTHING if found is None else str(found.seeds),
            str(len(part.used)),
            published(contrast),
            part.verdict,
        )
    return table


def _where(evidence: Sequence[Evidence]) -> str:
    """The tasks, sizes and lengths of training that the comparisons rest on, so that nobody takes a toy for more."""
    places = list(dict.fromkeys(place.where for part in evidence for place in part.used))
    named, more = places[:NAMED], len(places) - NAMED
    return f"Measured at: {'; '.join(named)}{f'; and {more:,} more' if more > 0 else ''}."


def _legend(judgements: Sequence[Judgement]) -> Text:
    """What the columns are, and how many claims hold: for below the blocks."""
    verdicts = [judgement.verdict for judgement in judgements]
    counts = {word: verdicts.count(word) for word in (HOLDS, FAILS, UNDECIDED)}
    told = ", ".join(f"{count} {word}" for word, count in counts.items())
    return Text(
        f"{plural(len(judgements), 'claim')}: {told}. "
        "Differences: percentage points of the main metric, factors (x) of bits per parameter and of speed, or nats by "
        "which a loss is lower where runs are compared by it; "
        "averaged over places (difficulty, size, length of training), each side at its best learning rate, with ↔ "
        "where that is at the edge of those tried. A comparison supports its claim when its 95% interval lies "
        "within the bounds; a claim holds when all do, and fails when one is refuted at the level 0.05 / "
        "comparisons. Fewer than three seeds decide nothing; to refute one of many takes more. "
        "Paper: the mean over its own cells, or the factor that it states, as information."
    )
