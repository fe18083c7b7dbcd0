"""The published findings against one's own runs: `canonlab claims`."""

from canonlab.claims import capacity, catalog
from canonlab.claims.claim import FAILS, HOLDS, UNDECIDED, Claim, Judgement, judge
from canonlab.claims.summary import summary

CLAIMS = (*catalog.CLAIMS, *capacity.CLAIMS)
"""Of Part 4.1 and of Part 3.3."""

__all__ = ["CLAIMS", "FAILS", "HOLDS", "UNDECIDED", "Claim", "Judgement", "judge", "summary"]
