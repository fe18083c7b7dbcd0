"""What the runs decide and what they don't, in sentences."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from canonlab.reports.cells import Cell, as_many_rates, cells, compare_cells, pairs
from canonlab.reports.compare import DECIDING, LEVEL, Comparison
from canonlab.reports.groups import Section
from canonlab.reports.notes import UNEQUAL_PARAMETERS
from canonlab.reports.words import enumeration, metric_label, percent, plural, si

BETTER, UNDECIDED = "better", "not decided"


class Finding(NamedTuple):
    """One comparison of two cells of a section, the likely better `first`."""

    first: Cell
    second: Cell
    comparison: Comparison
    together: int = 1
    """How many comparisons of one size and length of training this is one of; the interval is that much wider, so that
    all of them together miss the truth as seldom as a single one would (Bonferroni)."""

    @property
    def verdict(self) -> str:
        """ "better" when the difference is decided and found at as many rates of both; or "not decided" """
        return BETTER if self.comparison.decided and as_many_rates(self.first, self.second) else UNDECIDED

    @property
    def sentence(self) -> str:
        """The finding for people, with the difference, its interval and what qualifies it."""
        comparison, metric = self.comparison, metric_label(self.first.metric)
        share = self.first.metric in self.first.section.shares
        gap = _amount(comparison.difference, share)
        names = f"{self.first.architecture} against {self.second.architecture} at {self.first.size}"
        if len({cell.trained for cell in cells(self.first.section)}) > 1:
            names += f", {self.first.trained[0]:,} steps"
        if comparison.seeds == 1:
            return f"{names}: not decided. {gap} in {metric} with one seed, which says nothing about other seeds."
        low, high = comparison.low, comparison.high
        if share:  # a difference of shares cannot be more than all
            low, high = max(low, -1.0), min(high, 1.0)
        all_of_them = f" for all {self.together} comparisons together" if self.together > 1 else ""
        reach = f"95% interval{all_of_them} {_amount(low, share)} to {_amount(high, share)}"
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
            lost = [run.seed for run in cell.best.runs if run.diverged is not None] if cell.best else []
            if lost:
                yield f"{plural(len(lost), 'run')} of {cell.architecture} diverged, which the comparison leaves out"
            if cell.at_edge:
                yield f"the best learning rate of {cell.architecture}, {cell.rate:g}, is at the edge of those tried"
        counts = [count for cell in (self.first, self.second) if (count := cell.parameters)]
        if len(counts) == 2 and (excess := max(counts) / min(counts) - 1) > UNEQUAL_PARAMETERS:
            larger = self.first if counts[0] > counts[1] else self.second
            yield f"{larger.architecture} has {percent(excess)} more parameters"


def findings(section: Section) -> list[Finding]:
    """All comparisons worth a sentence in a section, decided ones first."""
    compared = [(a, b, comparison) for a, b in pairs(cells(section)) if (comparison := compare_cells(a, b))]
    together = Counter((first.size, first.trained) for first, *_ in compared)
    found = []
    for first, second, comparison in compared:
        n = together[first.size, first.trained]
        adjusted = comparison.at(LEVEL / n)
        if adjusted.difference < 0:  # means over other seeds than the common ones can be the other way round
            first, second = second, first
            adjusted = Comparison(-adjusted.difference, -adjusted.high, -adjusted.low, adjusted.seeds)
        found.append(Finding(first, second, adjusted, n))
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
