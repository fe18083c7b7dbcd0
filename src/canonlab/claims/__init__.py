"""The published findings against one's own runs: `canonlab claims`."""

from canonlab.claims.catalog import CLAIMS
from canonlab.claims.claim import FAILS, HOLDS, UNDECIDED, Claim, Judgement, judge
from canonlab.claims.summary import summary

__all__ = ["CLAIMS", "FAILS", "HOLDS", "UNDECIDED", "Claim", "Judgement", "judge", "summary"]
