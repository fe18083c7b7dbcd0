"""What the runs decide and what they don't, in sentences."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from canonlab.models.table import MATCHED
from canonlab.reports.cells import Cell, as_many_rates, cells, compare_cells, more_words, pairs
from canonlab.reports.compare import DECIDING, LEVEL, Comparison
from canonlab.reports.groups import Section
from canonlab.reports.words import enumeration, metric_label, percent, plural, si

BETTER, UNDECIDED = "better", "not decided"


class Finding(NamedTuple):
    """One comparison of two cells of a section, the likely better `first`.

    `names` are those of both for people: the architecture, and what else tells the cell from others of its size.
    """

    first: Cell
    second: Cell
    comparison: Comparison
    names: tuple[str, str]
    together: int = 1
    """How many pairs the cells of one size and way of training make. The interval is that much wider, so that all of
    them together miss the truth as seldom as a single one would (Bonferroni). All pairs count, since the best cell,
    with which the others are compared, is chosen by the numbers."""

    @property
    def verdict(self) -> str:
        """ "better" when the difference is decided, found at as many rates of both, and not among survivors only; or
        "not decided" """
        fair = as_many_rates(self.first, self.second) and not self.first.lost(self.second)
        return BETTER if self.comparison.decided and fair else UNDECIDED

    @property
    def sentence(self) -> str:
        """The finding for people, with the difference, its interval and what qualifies it."""
        comparison, metric = self.comparison, metric_label(self.first.metric)
        share = self.first.metric in self.first.section.shares
        gap = _amount(comparison.difference, share)
        sides = [
            f"{name} (learning rate {cell.rate:g})" if cell.rate and len(cell.rates) > 1 else name
            for name, cell in zip(self.names, (self.first, self.second), strict=True)
        ]
        names = f"{' against '.join(sides)} at {self.first.size}"
        if comparison.seeds == 1:
            return f"{names}: not decided. {gap} in {metric} with one seed, which says nothing about other seeds."
        low, high = comparison.low, comparison.high
        if share:  # a difference of shares cannot be more than all
            low, high = max(low, -1.0), min(high, 1.0)
        all_of_them = f" for all {self.together} pairs together" if self.together > 1 else ""
        reach = f"95% interval{all_of_them} {_amount(low, share)} to {_amount(high, share)}"
        amount = f"{gap} in {metric} ({reach}, {plural(comparison.seeds, 'seed')})"
        qualified = _mind(list(self.qualifications()))
        verdict = "the first is better" if self.verdict == BETTER else "not decided"
        return f"{names}: {verdict}. {amount}.{qualified}"

    def qualifications(self) -> Iterator[str]:
        """What a reader must know besides the interval."""
        sides = tuple(zip(self.names, (self.first, self.second), (self.second, self.first), strict=True))
        if 1 < self.comparison.seeds < DECIDING:
            yield f"a decision takes {DECIDING} seeds"
        if not as_many_rates(self.first, self.second):
            tried = [f"{name} was tried at {plural(len(cell.tried), 'learning rate')}" for name, cell, _ in sides]
            yield f"{' and '.join(tried)}, and the best of more is better by chance"
        values = [cell.values(cell.metric) for _, cell, _ in sides]
        if apart := len(values[0].keys() & values[1].keys()) - self.comparison.seeds:
            yield f"{plural(apart, 'seed')} saw different data and {'is' if apart == 1 else 'are'} left out"
        for name, cell, other in sides:
            if lost := cell.lost(other):
                yield f"{plural(len(lost), 'run')} of {name} diverged, and what is left says less"
            if cell.at_edge:
                yield f"the best learning rate of {name}, {cell.rate:g}, is at the edge of those tried"
        counts = [count for cell in (self.first, self.second) if (count := cell.parameters)]
        if len(counts) == 2 and (excess := max(counts) / min(counts) - 1) > MATCHED:
            yield f"{self.names[0 if counts[0] > counts[1] else 1]} has {percent(excess)} more parameters"


def findings(section: Section) -> list[Finding]:
    """All comparisons worth a sentence in a section, decided ones first."""
    of_section = [cell for cell in cells(section) if cell.spread]
    names = {
        id(cell): ", ".join([cell.architecture, *more])
        for cell, more in zip(of_section, more_words(of_section), strict=True)
    }
    group = Counter(cell.opponents for cell in of_section)
    found = []
    for first, second in pairs(of_section):
        if (comparison := compare_cells(first, second)) is None:
            continue
        together = math.comb(group[first.opponents], 2)
        adjusted = comparison.at(LEVEL / together)
        if adjusted.difference < 0:  # means over other seeds than the common ones can be the other way round
            first, second = second, first
            adjusted = Comparison(-adjusted.difference, -adjusted.high, -adjusted.low, adjusted.seeds)
        found.append(Finding(first, second, adjusted, (names[id(first)], names[id(second)]), together))
    return sorted(found, key=lambda finding: finding.verdict != BETTER)


def overview(found: Sequence[Finding]) -> str:
    """How many comparisons are decided: one sentence."""
    decided = sum(finding.verdict == BETTER for finding in found)
    if not found:
        return (
            "Nothing to compare yet: no two architectures of one size, trained in the same way, have a finished run "
            "with a common seed at their best learning rates."
        )
    few = sum(finding.comparison.seeds < DECIDING for finding in found)
    rest = len(found) - decided
    why = f", {few} of them for want of {DECIDING} seeds" if few else ""
    return f"{decided} of {plural(len(found), 'comparison')} decided, {rest} not{why}."


def _mind(words: Sequence[str]) -> str:
    """The words as a sentence of their own after another one; nothing for none."""
    if not words:
        return ""
    text = enumeration(words)
    return f" Mind that {text}."


def _amount(difference: float, share: bool) -> str:
    """A difference for people, with its sign: percentage points of a share, else the number."""
    if math.isnan(difference):
        return "?"
    if share:
        return f"{100 * difference:+.1f} points"
    return ("+" if difference > 0 else "") + (si(difference) if abs(difference) >= 1000 else f"{difference:.3g}")
