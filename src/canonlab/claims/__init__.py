"""The published findings against one's own runs: `canonlab claims`."""

from canonlab.claims.catalog import CLAIMS
from canonlab.claims.claim import FAILS, HOLDS, UNDECIDED, Claim, Judgement, judge
from canonlab.claims.table import plain, terminal

__all__ = ["CLAIMS", "FAILS", "HOLDS", "UNDECIDED", "Claim", "Judgement", "judge", "plain", "terminal"]
