"""What the runs decide and what they don't, in sentences."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from canonlab.models.table import MATCHED
from canonlab.results.cells import Cell, as_many_rates, baseline_of, cells, more_words, pairs, rivals
from canonlab.results.compare import DECIDING
from canonlab.results.decide import APART, Decision, Rule
from canonlab.results.groups import Section
from canonlab.results.words import metric_label, percent, plural, si, span

BETTER, UNDECIDED = "better", "not decided"


class Finding(NamedTuple):
    """One comparison of two cells of a section, the likely better `first`.

    `more` is what tells each of them from cells of the same architecture and size, such as "steps 300".
    """

    first: Cell
    second: Cell
    comparison: Decision
    """Made by the rule for all pairs of the cells of one size and way of training, since the best cell, with which the
    others are compared, is chosen by the numbers."""
    more: tuple[list[str], list[str]] = ([], [])

    @property
    def names(self) -> tuple[str, str]:
        """The architectures, each with what tells it apart and the other one doesn't have."""
        first, second = self.more
        return (
            ", ".join([self.first.architecture, *(word for word in first if word not in second)]),
            ", ".join([self.second.architecture, *(word for word in second if word not in first)]),
        )

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
        common = [word for word in self.more[0] if word in self.more[1]]
        names = f"{' against '.join(sides)} at {', '.join([self.first.size, *common])}"
        qualified = _mind(list(self.qualifications()))
        if comparison.seeds == 1:
            seeds = "with one common seed, which says nothing about other seeds"
            return f"{names}: not decided. {gap} in {metric} {seeds}.{qualified}"
        low, high = comparison.low, comparison.high
        if share:  # a difference of shares cannot be more than all
            low, high = max(low, -1.0), min(high, 1.0)
        pairs = self.comparison.pairs
        with_it = " with the baseline" if self.first.section.baseline else ""
        all_of_them = f" for all {pairs:,} pairs{with_it} together" if pairs > 1 else ""
        reach = f"95% interval{all_of_them} {_amount(low, share)} to {_amount(high, share)}"
        amount = f"{gap} in {metric} ({reach}, {plural(comparison.seeds, 'seed')})"
        verdict = "the first is better" if self.verdict == BETTER else "not decided"
        return f"{names}: {verdict}. {amount}.{qualified}"

    def qualifications(self) -> Iterator[str]:
        """What a reader must know besides the interval."""
        sides = (("the first", self.first, self.second), ("the second", self.second, self.first))
        if 1 < self.comparison.seeds < (needed := self.comparison.needed):
            split = f", as it is within {APART} times the widest gap between two seeds of one architecture here"
            yield f"a decision takes {needed} seeds" + (split if needed > DECIDING else "")
        if not as_many_rates(self.first, self.second):
            tried = [f"{side} was tried at {plural(len(cell.tried), 'learning rate')}" for side, cell, _ in sides]
            yield f"{', '.join(tried)}: the best of more is better by chance"
        values = [cell.values(cell.metric) for _, cell, _ in sides]
        if apart := len(values[0].keys() & values[1].keys()) - self.comparison.seeds:
            yield f"{plural(apart, 'seed')} saw different data and {'is' if apart == 1 else 'are'} left out"
        for side, cell, other in sides:
            if lost := cell.lost(other):
                yield f"{plural(len(lost), 'run')} of {side} diverged, and what is left says less"
        if edges := [side for side, cell, _ in sides if cell.at_edge]:
            rates = "the best learning rate of" if len(edges) == 1 else "the best learning rates of"
            yield f"{rates} {' and '.join(edges)} {'is' if len(edges) == 1 else 'are'} at the edge of those tried"
        counts = [count for _, cell, _ in sides if (count := cell.parameters)]
        if len(counts) == 2 and (excess := max(counts) / min(counts) - 1) > MATCHED:
            yield f"the {'first' if counts[0] > counts[1] else 'second'} has {percent(excess)} more parameters"


def findings(section: Section) -> list[Finding]:
    """All comparisons worth a sentence in a section, decided ones first."""
    of_section = [cell for cell in cells(section) if cell.spread]
    more = {id(cell): words for cell, words in zip(of_section, more_words(of_section), strict=True)}
    found = []
    for group in rivals(of_section):
        rule = Rule(tuple(cell.values(cell.metric) for cell in group), len(group) - 1 if baseline_of(group) else 0)
        for first, second in pairs(group):
            decision = rule.pair(first.values(first.metric), second.values(second.metric))
            if decision is None:
                continue
            if first.sign * decision.difference < 0:  # means without seeds of other data can be the other way round
                first, second, decision = second, first, decision.reversed
            found.append(Finding(first, second, decision, (more[id(first)], more[id(second)])))
    return sorted(found, key=lambda finding: finding.verdict != BETTER)


def overview(found: Sequence[Finding]) -> str:
    """How many comparisons are decided: one sentence."""
    decided = sum(finding.verdict == BETTER for finding in found)
    if not found:
        return (
            "Nothing to compare yet: no two architectures of one size, trained in the same way, have a finished run "
            "with a common seed and equal data at their best learning rates."
        )
    few = [finding.comparison.needed for finding in found if finding.comparison.seeds < finding.comparison.needed]
    rest = len(found) - decided
    why = f", {len(few)} of them for want of {span(few)} seeds" if few else ""
    return f"{decided} of {plural(len(found), 'comparison')} decided, {rest} not{why}."


def _mind(words: Sequence[str]) -> str:
    """The words as a sentence of their own after another one; nothing for none."""
    return f" Mind that {'; '.join(words)}." if words else ""


def _amount(difference: float, share: bool) -> str:
    """A difference for people, with its sign: percentage points of a share, else the number."""
    if math.isnan(difference):
        return "?"
    if share:
        return f"{100 * difference:+.1f} points"
    return ("+" if difference > 0 else "") + (si(difference) if abs(difference) >= 1000 else f"{difference:.3g}")
