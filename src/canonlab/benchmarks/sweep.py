"""How long a sweep takes: runs one after another with PyTorch's own threads, against what `canonlab sweep` chooses."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

FIVE_SECONDS = """
about: Sixty runs of about five seconds each.
task: {name: copy, set: {N: 64, context: 130}}
model: {size: 1L32D2H, exact_intermediate: true}
training: {steps: 120, batch: 32, warmup: 40, eval_every: 60, eval_windows: 32, final_windows: 64}
backend: {precision: fp32}
grid:
  model.model: [llama-rope, gla]
  model.canon: [none, ABCD]
  training.lr: [0.0025, 0.005, 0.01]
  training.seed: [0, 1, 2, 3, 4]
"""

ROUNDS = 2


def bench_sweep(recipes: tuple[str, ...] = ("five seconds", "laptop/skills")) -> dict[str, list[dict[str, Any]]]:
    """A table: seconds of whole commands, the two ways taking turns, and the least ratio of a round."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "five.yaml").write_text(FIVE_SECONDS, encoding="utf-8")
        for name in recipes:
            recipe = "five.yaml" if name == "five seconds" else name
            pairs = [[_seconds(recipe, Path(folder), alone) for alone in (True, False)] for _ in range(ROUNDS)]
            for number, (alone, together) in enumerate(pairs, start=1):
                ratio = alone / together
                rows.append(
                    {"sweep": name, "round": number, "one by one (s)": alone, "sweep (s)": together, "ratio": ratio}
                )
    return {"sweeps": rows}


def _seconds(recipe: str, folder: Path, alone: bool) -> float:
    """The wall time of the command."""
    more = ["--workers", "1", "--set", f"backend.threads={torch.get_num_threads()}"] if alone else []
    with tempfile.TemporaryDirectory(dir=folder) as out:
        command = [sys.executable, "-m", "canonlab", "sweep", recipe, "--out", out, "--json", *more]
        began = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - began
