"""What the runs decide and what they don't, in sentences."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from canonlab.reports.cells import Cell, as_many_rates, cells, compare_cells, pairs
from canonlab.reports.compare import DECIDING, Comparison
from canonlab.reports.groups import Section
from canonlab.reports.notes import UNEQUAL_PARAMETERS
from canonlab.reports.words import enumeration, metric_label, percent, plural, si

BETTER, UNDECIDED = "better", "not decided"


class Finding(NamedTuple):
    """One comparison of two cells of a section, the likely better `first`."""

    first: Cell
    second: Cell
    comparison: Comparison

    @property
    def verdict(self) -> str:
        """ "better" when the difference is decided, above zero and found at as many rates of both; or "not decided" """
        decided = self.comparison.decided and self.comparison.difference > 0
        return BETTER if decided and as_many_rates(self.first, self.second) else UNDECIDED

    @property
    def sentence(self) -> str:
        """The finding for people, with the difference, its interval and what qualifies it."""
        comparison, metric = self.comparison, metric_label(self.first.metric)
        share = self.first.metric in self.first.section.shares
        gap = _amount(comparison.difference, share)
        names = f"{self.first.architecture} against {self.second.architecture} at {self.first.size}"
        if comparison.seeds == 1:
            return f"{names}: not decided. {gap} in {metric} with one seed, which says nothing about other seeds."
        low, high = comparison.low, comparison.high
        if share:  # a difference of shares cannot be more than all
            low, high = max(low, -1.0), min(high, 1.0)
        reach = f"95% interval {_amount(low, share)} to {_amount(high, share)}"
        amount = f"{gap} in {metric} ({reach}, {plural(comparison.seeds, 'seed')})"
        qualified = _mind(list(self.qualifications()))
        verdict = "the first is better" if self.verdict == BETTER else "not decided"
        return f"{names}: {verdict}. {amount}.{qualified}"

    def qualifications(self) -> Iterator[str]:
        """What a reader must know besides the interval."""
        if 1 < self.comparison.seeds < DECIDING:
            yield f"a decision takes {DECIDING} seeds"
        if not as_many_rates(self.first, self.second):
            sides = (self.first, self.second)
            tried = [f"{cell.architecture} was tried at {plural(len(cell.rates), 'learning rate')}" for cell in sides]
            yield f"{' and '.join(tried)}, and the best of more is better by chance"
        for cell in (self.first, self.second):
            if cell.at_edge:
                yield f"the best learning rate of {cell.architecture}, {cell.rate:g}, is at the edge of those tried"
        counts = [count for cell in (self.first, self.second) if (count := cell.parameters)]
        if len(counts) == 2 and (excess := max(counts) / min(counts) - 1) > UNEQUAL_PARAMETERS:
            larger = self.first if counts[0] > counts[1] else self.second
            yield f"{larger.architecture} has {percent(excess)} more parameters"


def findings(section: Section) -> list[Finding]:
    """All comparisons worth a sentence in a section, decided ones first."""
    found = []
    for first, second in pairs(cells(section)):
        comparison = compare_cells(first, second)
        if comparison is not None:
            found.append(Finding(first, second, comparison))
    return sorted(found, key=lambda finding: finding.verdict != BETTER)


def overview(found: Sequence[Finding]) -> str:
    """How many comparisons are decided: one sentence."""
    decided = sum(finding.verdict == BETTER for finding in found)
    if not found:
        return "Nothing to compare yet: no two architectures of one size have a finished run with a common seed."
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
