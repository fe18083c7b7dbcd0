"""The windows are what they were, on every platform and with every version of the tools.

`golden.json` holds SHA-256 hashes of windows. If a change of a task's windows is wanted, raise the task's `version`,
so that runs of both are told apart, and write the hashes anew:

    python tests/tasks/test_golden.py > tests/tasks/golden.json
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from canonlab.tasks.base import SPLITS
from canonlab.tasks.catalog import build_task

TASKS = {
    "copy": ("copy", {}),
    "depo1": ("depo1", {}),
    "depo2": ("depo2", {}),
    "laptop copy": ("copy", {"N": 64, "context": 130}),
    "laptop depo": ("depo", {"N": 10, "K": 4, "lengths": [1, 1], "context": 96}),
    "brevo1": ("brevo1", {}),
    "brevo2": ("brevo2", {}),
    "small brevo": ("brevo2", {"N": 12, "query": "last", "context": 400}),
    **{f"lano-cfg3{letter}": (f"lano-cfg3{letter}", {}) for letter in "bfghijk"},
    "short lano": ("lano-cfg3f", {"context": 100}),
    "capo": ("capo", {}),
    "capo-simple": ("capo-simple", {}),
    "small capo": ("capo", {"N": 30, "context": 100}),
    "capo-junk": ("capo-junk", {}),
    "lano beside mano": (
        "mixture",
        {"context": 64, "parts": [{"task": "lano-mini", "share": 2}, {"task": "mano", "share": 3, "domain": True}]},
    ),
    "capo in few words": ("capo", {"N": 30, "paraphrases": 5, "permute": False, "context": 100}),
    "biod": ("biod", {}),
    "small biod": ("biod", {"N": 30, "K": 3, "C": 2, "D": 5, "T": 7, "N0": 1000, "context": 100}),
    "long biod": ("biod", {"N": 50, "L": 30, "T": 40_000}),
    "capo-questions": ("capo-questions", {}),
    "small capo-questions": ("capo-questions", {"N": 30, "context": 100}),
    "mano": ("mano", {}),
    "small mano": ("mano", {"L": 4, "context": 64}),
    "mini lano": ("lano-mini", {}),
    "mano modulo 3": ("mano", {"L": 3, "context": 32, "P": 3}),
}
STREAMS = [(seed, start, split) for seed, start in ((0, 0), (2026, 10**9)) for split in SPLITS]
COUNT = 40


def digests(titles: Iterable[str] = TASKS) -> dict[str, dict[str, str]]:
    """By task and version, then by stream: SHA-256 of the windows' tokens (int32, little-endian) and their mask."""
    found = {}
    for title in titles:
        name, settings = TASKS[title]
        task = build_task(name, settings)
        streams = found[f"{title}, version {task.version}"] = {}
        for seed, start, split in STREAMS:
            tokens, mask = task.windows(seed, start, COUNT, split)
            digest = hashlib.sha256(tokens.astype("<i4").tobytes() + mask.tobytes()).hexdigest()
            streams[f"seed {seed}, {split} windows {start} to {start + COUNT - 1}"] = digest
    return found


def golden() -> dict[str, dict[str, str]]:
    text = (Path(__file__).parent / "golden.json").read_text()
    return json.loads(text)


def test_windows_are_golden() -> None:
    assert digests() == golden()


@pytest.mark.slow
def test_windows_are_golden_without_a_cache(tmp_path: Path) -> None:
    environment = os.environ | {"CANONLAB_CACHE": str(tmp_path)}
    output = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, check=True).stdout
    assert json.loads(output) == golden()
    assert list(tmp_path.rglob("*.nbc"))


def test_windows_are_golden_where_numba_may_not_compile() -> None:
    """Of the small tasks: Python makes theirs in a second."""
    small = (
        *("laptop copy", "laptop depo", "small brevo", "short lano", "small capo", "small capo-questions"),
        *("small biod", "small mano"),
    )
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-W", "error", __file__, *small]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == len(small) and found.items() <= golden().items()


if __name__ == "__main__":
    print(json.dumps(digests(sys.argv[1:] or TASKS), indent=2))
