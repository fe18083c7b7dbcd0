"""Claims stand on results, not on what shows them."""

import subprocess
import sys


def test_claims_load_nothing_that_shows_results() -> None:
    code = "import sys, canonlab.claims; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "canonlab.claims.evidence" in loaded
    apart = ("canonlab.reports", "canonlab.cli", "rich", "matplotlib")
    assert [name for name in loaded if f"{name}.".startswith(tuple(f"{each}." for each in apart))] == []
