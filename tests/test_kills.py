"""Commands killed with SIGKILL at random moments and started again, until they are done: not a bit differs.

An attempt is a fork of a process that has imported and warmed up everything (this file as a script), as start-up would
take most of the time otherwise; a few attempts are processes of their own, with nothing compiled, for that part.
CANONLAB_KILLS says how many kills there are; `make kills` prints where they hit.
"""

import faulthandler
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from canonlab import cli
from canonlab.files import read_json
from canonlab.training.checkpoint import SafetensorsStore
from canonlab.training.metrics_log import read_metrics
from tiny_runs import MIXER

KILLS = int(os.environ.get("CANONLAB_KILLS", "40"))

COPY = "train copy --set N=6 context=28 --size 1L16D2H --canon AC --lr 0.01 --warmup 2 --final-windows 8"
OFTEN = "--batch 4 --steps 80 --eval-every 4 --eval-windows 4 --checkpoint-every 2 --log-every 1 --threads 1"
RECIPE = """
task: {name: copy, set: {N: 6, context: 28}}
model: {size: 1L16D2H, canon: AC}
training:
  {steps: 12, batch: 4, lr: 0.01, warmup: 2, eval_every: 4, eval_windows: 4, final_windows: 8, checkpoint_every: 2}
backend: {threads: 1}
grid: {"model.model, training.microbatch": [[llama-rope, 0], [llama-moe, 2]], training.seed: [0, 1]}
"""


class Subject(NamedTuple):
    """A command, what goes on with it once it has begun, and what it works on."""

    first: str
    then: str = ""
    prepare: Callable[[Path, "Server"], object] = lambda folder, server: None


SUBJECTS = {
    "train": Subject(f"{COPY} {OFTEN} --out run"),
    "train without checkpoints": Subject(f"{COPY} --steps 20 --threads 1"),
    "resume": Subject(
        f"{COPY} {OFTEN} --model mine.py:Mean --out run",
        "resume run",
        lambda folder, server: (folder / "mine.py").write_text(MIXER),
    ),
    "finetune": Subject(
        f"finetune parent copy --set N=6 context=28 --lr 0.01 --warmup 2 --final-windows 8 {OFTEN} --out run",
        "resume run",
        lambda folder, server: server.whole(f"{COPY} --batch 4 --steps 8 --threads 1 --out parent", folder),
    ),
    "sweep": Subject(  # in one process: those of several are killed in sweeps/engines/test_local.py
        "sweep four.yaml --workers 1", prepare=lambda folder, server: (folder / "four.yaml").write_text(RECIPE)
    ),
    "quantize": Subject(
        "quantize run --bits 4 --windows 8",
        prepare=lambda folder, server: server.whole(f"{COPY} {OFTEN} --out run", folder),
    ),
    "report": Subject(
        "report run --csv table.csv --latex table.tex",
        prepare=lambda folder, server: server.whole(f"{COPY} {OFTEN} --out run", folder),
    ),
}

PHASES = {
    "checkpoint": ["save", "load"],
    "JSON file": ["write_json"],
    "page or table": ["writing", "write_text", "write_page"],
    "evaluation": ["evaluate"],
    "step": ["_update"],
    "log": ["_record", "sync"],
    "reading of runs": ["known_runs", "load_runs", "read_record"],
    "quantization": ["quantize"],
    "planning": [
        "plan_run",
        "keep",
        "make_run",
        "find_run",
        "load_recipe",
        "_restore",
        "_record_environment",
        "__init__",
    ],
    "command line": ["subcommand_cli_from_dict"],
}
"""What was going on -> functions, one of which was then being executed; the first that fits."""


class Server:
    """Attempts at commands, in processes that have everything imported."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def __call__(self, command: str, folder: Path, delay: float | None = None) -> dict[str, Any]:
        """Its exit `status` (-9 when it was killed after `delay` seconds), `seconds`, and what it printed, `told`."""
        assert self.process.stdin and self.process.stdout
        print(json.dumps([command, str(folder), delay]), file=self.process.stdin, flush=True)
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def whole(self, command: str, folder: Path) -> float:
        """Run a command undisturbed; the seconds that it took."""
        found = self(command, folder)
        assert found["status"] == 0, found["told"]
        return float(found["seconds"])


def serve() -> None:
    """Fork an attempt for each line of standard input."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until an attempt is ready for it
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        with redirect_stdout(nowhere), redirect_stderr(nowhere):
            work(f"{COPY} --threads 1 --steps 3 --out warm", folder)
        for line in sys.stdin:
            print(json.dumps(attempt(*json.loads(line), Path(folder) / "told")), flush=True)


def work(command: str, folder: str) -> int:
    """The exit status of a command in this process."""
    os.chdir(folder)
    sys.argv = ["canonlab", *shlex.split(command)]
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return int(exit_.value.code or 0)


def attempt(command: str, folder: str, delay: float | None, output: Path) -> dict[str, Any]:
    output.write_text("")
    began = time.monotonic()
    if not (child := os.fork()):
        status = 1
        try:
            for stream in (1, 2):
                os.dup2(os.open(output, os.O_WRONLY | os.O_APPEND), stream)
            sys.stdin = open(os.devnull)  # noqa: SIM115 (for as long as the process lives)
            faulthandler.register(signal.SIGUSR1, file=2, all_threads=False)
            status = work(command, folder)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    ended = 0
    while not ended:
        if delay is not None and time.monotonic() - began > delay:
            ask(child, output)
            os.kill(child, signal.SIGKILL)
            delay = None
        time.sleep(0.0005)
        ended, status = os.waitpid(child, os.WNOHANG)
    seconds = time.monotonic() - began
    return {"status": os.waitstatus_to_exitcode(status), "seconds": seconds, "told": output.read_text()}


def ask(child: int, output: Path) -> None:
    """Have a process say where it stands: its stack goes to its output."""
    before = output.stat().st_size
    os.kill(child, signal.SIGUSR1)
    for _ in range(100):
        size = output.stat().st_size
        time.sleep(0.001)
        if before < size == output.stat().st_size:
            return


def phase(told: str) -> str:
    """What was going on when a killed attempt said where it stood."""
    stack = re.findall(r" in (\w+)$", told.rpartition("Stack (most recent call first):")[2], flags=re.MULTILINE)
    if not stack:
        return "start"
    return next((name for name, functions in PHASES.items() if not {*functions}.isdisjoint(stack)), "in between")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as made:
        yield Server(made)
        assert made.stdin
        made.stdin.close()


def outcome(folder: Path) -> dict[str, Any]:
    """All that a folder holds but when and how fast it was made, by path."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "result.json":
            result = read_json(path)
            found[name] = {k: result[k] for k in ("weights_sha256", "data_sha256", "evaluation", "best", "coincidence")}
        elif path.name == "metrics.jsonl":
            found[name] = [{k: v for k, v in r.items() if k != "tokens_per_second"} for r in read_metrics(path)]
        elif path.name == "config.json":
            found[name] = read_json(path)["identity"]
        else:
            found[name] = path.name
    return found


def require_whole(folder: Path) -> None:
    """Whatever is there after a kill is whole."""
    for path in folder.rglob("[!.]*.json"):
        read_json(path)
    for path in folder.rglob("[!.]*.safetensors"):
        run = folder / "parent" if path.stem == "start" else path.parents[1]
        assert SafetensorsStore(path.parent).load(path.stem, read_json(run / "config.json")["identity"])
    for path in folder.rglob("metrics.jsonl"):
        read_metrics(path)
    for path in folder.rglob("[!.]*.html"):
        assert path.read_text().endswith("</html>\n")


pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]


@pytest.mark.parametrize("name", SUBJECTS)
def test_killed_at_random_moments_a_command_comes_to_the_same(name: str, tmp_path: Path, server: Server) -> None:
    subject, draw = SUBJECTS[name], random.Random(name)

    def prepared(folder: str) -> Path:
        (tmp_path / folder).mkdir()
        subject.prepare(tmp_path / folder, server)
        return tmp_path / folder

    server.whole(subject.first, whole := prepared("whole"))
    seconds = server.whole(subject.first, again := prepared("again"))  # with what the first one has compiled
    assert outcome(again) == outcome(whole)
    hits: Counter[str] = Counter()
    rounds = 0
    while hits.total() < KILLS // len(SUBJECTS):
        folder, command, status = prepared(str(rounds)), subject.first, -9
        while status:
            found = server(command, folder, draw.uniform(0, seconds))
            status = found["status"]
            assert status in (0, -9), found["told"]
            hits[phase(found["told"])] += status == -9
            seconds *= 1.2 if status else 0.5  # about four kills each, however busy the machine is
            require_whole(folder)
            begun = (folder / "run" / "config.json").exists()
            command = subject.then if subject.then and begun else subject.first
        assert outcome(folder) == outcome(whole)
        rounds += 1
    print(f"\n{name}: {hits.total()} kills of {rounds} ({seconds:.1f} s each): {dict(hits.most_common())}")


def test_killed_while_it_starts_and_compiles_a_command_comes_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-m", "canonlab", *shlex.split(f"{COPY} {OFTEN} --out run")]

    def ends(name: str, timeout: float | None = None) -> bool:
        """Whether the command does within the time, in folders of that name."""
        (folder := tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.setenv("CANONLAB_CACHE", str(tmp_path / f"cache of {name}"))
        with (folder / "told").open("w") as told, suppress(subprocess.TimeoutExpired):
            return not subprocess.run(command, cwd=folder, stdout=told, stderr=told, timeout=timeout).returncode
        require_whole(folder)
        return False

    began, draw = time.monotonic(), random.Random(0)
    assert ends("whole")
    seconds = time.monotonic() - began
    for _ in range(max(2, KILLS // 20)):
        ends("killed", draw.uniform(0, seconds))
    assert ends("killed")
    assert "kernel" not in (tmp_path / "killed" / "told").read_text()  # that it couldn't be loaded
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


if __name__ == "__main__":
    serve()
