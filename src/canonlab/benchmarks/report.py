"""How long a report on many runs takes, and how large its page is: a real run, and copies of it under other names."""

import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from canonlab.files import read_json, sha256, write_json
from canonlab.models.config import ModelConfig
from canonlab.models.sizes import Size
from canonlab.models.table import SIZES
from canonlab.reports import write_page
from canonlab.results.load import load_runs
from canonlab.tasks.catalog import build_task
from canonlab.training.config import BackendConfig, RunConfig, TaskConfig, TrainingConfig
from canonlab.training.identity import identifying
from canonlab.training.loop import train
from canonlab.training.run import create_run

MODELS = ("llama-rope", "llama-nope", "gla", "mamba2-mlp", "gdn")
CANONS = ("", "ABCD")
RATES = (3e-4, 5e-4, 1e-3, 2e-3)
LEVELS = (10, 13, 16)
"""Of Mano: its L."""


class _Silent:
    """A listener that says nothing."""

    def start(self, *_: Any) -> None: ...

    def record(self, *_: Any) -> None: ...

    def message(self, *_: Any) -> None: ...


def bench_report(counts: Sequence[int] = (500, 1000, 10_000), steps: int = 500) -> dict[str, list[dict[str, Any]]]:
    """A table: for so many runs of `steps` log lines each, seconds to read them, to write the page, and to say how far
    they are (`canonlab status`, start-up included); and megabytes of the page."""
    training = TrainingConfig(
        steps=steps,
        batch=1,
        warmup=2,
        log_every=1,
        eval_every=10,
        eval_windows=1,
        final_windows=2,
        checkpoint_every=steps,
    )
    config = RunConfig(
        TaskConfig("mano", {"L": 16, "context": 64}),
        ModelConfig(size="1L8D1H"),
        training,
        BackendConfig("cpu", threads=1),
    )
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        original = create_run(config, Path(scratch) / "original").folder
        train(create_run(config, original), _Silent())
        copies = _copies(original, Path(scratch) / "runs")
        made = 0
        for count in counts:
            made += sum(1 for _ in itertools.islice(copies, count - made))
            began = time.perf_counter()
            runs = load_runs([Path(scratch) / "runs"])
            read = time.perf_counter()
            page = write_page(runs, Path(scratch) / "report.html")
            done = time.perf_counter()
            status = [sys.executable, "-m", "canonlab", "status", f"{scratch}/runs"]
            subprocess.run(status, check=True, stdout=subprocess.DEVNULL)
            looked = time.perf_counter() - done
            size = page.stat().st_size / 1e6
            times = {"read (s)": read - began, "page (s)": done - read, "status (s)": looked}
            rows.append({"runs": len(runs), **times, "page (MB)": size})
    return {"report": rows}


def _copies(original: Path, root: Path) -> Iterator[Path]:
    """The folder of a run again and again, as if it were of other settings."""
    head, result = (read_json(original / name) for name in ("config.json", "result.json"))
    del head["format"], result["format"]
    log = (original / "metrics.jsonl").read_bytes()
    tasks = [build_task("mano", {"L": level}).identity for level in LEVELS]
    for seed in itertools.count():
        for task, model, canon, size, rate in itertools.product(tasks, MODELS, CANONS, SIZES, RATES):
            head["config"]["task"] = {**task, "source": None}
            parsed, resolved = Size.parse(size), head["config"]["model"]
            resolved |= {"layers": parsed.layers, "width": parsed.width}
            resolved["pattern"][0]["mixer"]["class"] = model
            resolved["canon"]["points"] = canon
            head["config"]["training"] |= {"lr": rate, "seed": seed}
            head["asked"]["model"] |= {"model": model, "size": size}
            head["identified_by"] = identifying(head["config"])
            identity = sha256(head["identified_by"])
            name = f"mano-{model}-{canon or 'none'}-{size}-lr{rate:g}-s{seed}-{identity[:10]}"
            folder = root / name
            folder.mkdir(parents=True)
            for file, content in (("config.json", head), ("result.json", result)):
                write_json(folder / file, {**content, "identity": identity, "name": name})
            (folder / "metrics.jsonl").write_bytes(log)
            yield folder
