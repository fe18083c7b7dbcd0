"""Claims and their verdicts.

A claim is a list of contrasts, fixed before any result is seen, all of which must be true.

    holds         every contrast is supported: its 95% interval lies on the stated side of its bound
    fails         some contrast is refuted: its interval lies on the other side, and does so at the level 0.05 / n for
                  the n contrasts of the claim
    not decided   anything else: a contrast without runs, with fewer than three seeds, or with an interval on both sides

To hold, all parts must pass, each on its own: chance would have to favour every one of them, so no correction is
needed (intersection-union test; Berger, Technometrics 24, 1982). To fail, one of n parts is enough, and the more there
are the likelier it is that chance condemns one: hence the stricter level (Bonferroni). So a true claim fails, and a
false one holds, at most once in forty times.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from canonlab.claims.contrast import Contrast
from canonlab.claims.evidence import LEVEL, OPEN, REFUTED, SUPPORTED, Evidence, comparable, gather
from canonlab.results.groups import Section
from canonlab.results.words import enumeration

HOLDS, FAILS, UNDECIDED = "holds", "fails", "not decided"

MISSING = 3
"""How many missing things a sentence names."""


@dataclass(frozen=True)
class Claim:
    """A published finding: a statement, the contrasts that decide it and the recipes whose runs they need.

    `published` says what the paper found, for people. `small` are recipes for a first look: they make both sides of
    some of the contrasts, in models and tasks much smaller than the paper's. Without contrasts it stays undecided.
    """

    number: str
    title: str
    statement: str
    published: str
    recipes: tuple[str, ...]
    contrasts: tuple[Contrast, ...]
    small: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """A claim and the evidence for each of its contrasts."""

    claim: Claim
    evidence: tuple[Evidence, ...]

    @property
    def verdict(self) -> str:
        """Holds, fails or not decided: see the module's text."""
        found = [part.verdict for part in self.evidence]
        if REFUTED in found:
            return FAILS
        return HOLDS if found and all(verdict == SUPPORTED for verdict in found) else UNDECIDED

    @property
    def missing(self) -> tuple[str, ...]:
        """What runs would be needed to decide more."""
        return tuple(dict.fromkeys(thing for part in self.evidence for thing in part.missing))

    @property
    def sentence(self) -> str:
        """The verdict with its reason."""
        if not self.evidence:
            return f"{UNDECIDED}: no task here tests it."
        if self.verdict == FAILS:
            refuted = [str(part.contrast) for part in self.evidence if part.verdict == REFUTED]
            return f"{FAILS}: not so: {enumeration(refuted)}."
        if self.verdict == HOLDS:
            return f"{HOLDS}: all {len(self.evidence)} comparisons support it."
        supported = sum(part.verdict == SUPPORTED for part in self.evidence)
        spread = sum(part.verdict == OPEN and not part.missing for part in self.evidence)
        reasons = [f"{supported} of {len(self.evidence)} comparisons support it"]
        if spread:
            reasons.append(f"{spread} {'is' if spread == 1 else 'are'} open for all the seeds so far")
        if self.missing:
            named, more = self.missing[:MISSING], len(self.missing) - MISSING
            reasons.append(f"missing: {', '.join(named)}{f' and {more} more' if more > 0 else ''}")
        return f"{UNDECIDED}: {'; '.join(reasons)}."


def judge(claims: Sequence[Claim], sections: Sequence[Section]) -> list[Judgement]:
    """What runs, by their tasks, say about each claim; none are allowed, and leave all undecided."""
    found = comparable(sections)
    return [
        Judgement(claim, tuple(gather(contrast, found, LEVEL / len(claim.contrasts)) for contrast in claim.contrasts))
        for claim in claims
    ]
