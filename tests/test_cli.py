"""The command line as its user meets it: output, JSON, exit status, and one clear line for bad input."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from canonlab import cli
from canonlab.errors import InputError
from canonlab.models.config import ModelConfig
from canonlab.training.config import WORDS, BackendConfig, RunConfig, TaskConfig, TrainingConfig
from commands import Cli
from tiny_runs import MIXER

TINY = "--set N=6 context=28 --size 1L16D2H --canon ABCD --steps 12 --batch 4 --lr 0.01 --warmup 2 --eval-every 6 "
TINY += "--eval-windows 4 --final-windows 8 --checkpoint-every 4 --precision fp32 --compile off --threads 1"
DEPO = "--set N=4 K=2 V=9 lengths=[1,1] context=40"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    monkeypatch.chdir(tmp_path)
    return Cli(monkeypatch, capsys)


def test_tasks(run: Cli) -> None:
    assert {"copy", "depo1", "depo2"} <= {row["name"] for row in run.json("tasks")}
    depo = run.json("tasks depo1 --set N=300")
    assert set(depo) == {"name", "parameters", "context", "facts", "published", "vocabulary"}
    assert depo["published"] == {"steps": 87_500, "batch": 128, "lr": 0.001}
    assert "published training: steps = 87500, batch = 128, lr = 0.001\n" in run("tasks depo1")[1]
    assert (depo["name"], depo["context"], depo["parameters"]["N"], depo["parameters"]["K"]) == ("depo1", 2048, 300, 8)
    assert [token["id"] for token in depo["vocabulary"]] == list(range(len(depo["vocabulary"])))
    roles: dict[str, int] = {}
    for token in depo["vocabulary"]:
        assert set(token) == {"id", "name", "role", "value"}
        roles[token["role"]] = roles.get(token["role"], 0) + 1
    assert roles == {"special": 2, "query": 8, "name": 50, "name_end": 50}
    assert [t["value"] for t in depo["vocabulary"] if t["role"] == "query"] == list(range(1, 9))


@pytest.mark.slow
def test_check_of_a_mixer(run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("canonlab.models.check.costs.SECONDS", 0.01)
    found = run.json("check llama-rope --size 1L16D2H --mixer kv_heads=1")
    assert found["passed"] and {check["passed"] for check in found["checks"]} == {True, None}
    assert found["costs"][0]["model"] == "llama-rope"
    (tmp_path / "leak.py").write_text(
        "from canonlab.models.mixers.gla import GLA\n\n\nclass Leak(GLA):\n    def forward(self, x, *rest):\n"
        "        y, state = super().forward(x, *rest)\n        return y + x.roll(-1, 1), state\n"
    )
    status, out, err = run("check leak.py:Leak --size 1L16D2H")
    assert status == 1 and "causality" in out and "FAILED" in out and "repair" in out and not err
    found = run.json("check leak.py:Leak --size 1L16D2H --only forward causality 'point B' --skip causality")
    assert [check["name"] for check in found["checks"]] == ["forward", "point B"] and found["costs"] == []
    status, out, err = run("check gla,gdn")
    assert status == 2 and not out and "one mixer at a time" in err


def test_sample(run: Cli) -> None:
    windows = run.lines(f"sample depo {DEPO} --seed 3 --start 5 --count 2")
    assert [set(window) for window in windows] == [{"index", "tokens", "mask"}] * 2
    assert [window["index"] for window in windows] == [5, 6]
    assert windows[1] == run.lines(f"sample depo {DEPO} --seed 3 --start 6")[0]
    assert windows[0] != run.lines(f"sample depo {DEPO} --seed 3 --start 5 --split eval")[0]
    assert "<bos>" in run(f"sample depo {DEPO}")[1]


def depo_pairs(window: dict[str, Any], names: dict[int, str]) -> list[dict[str, list[int]]]:
    """Every whole query of a window's first instance, as the scorer takes it (names of one token)."""
    ids = window["tokens"]
    end = next((i for i in range(1, len(ids)) if names[ids[i]] == "<bos>"), len(ids))
    answers = [i for i in range(end - 1) if names[ids[i]] == "<ans>"]
    return [{"prompt": ids[: i + 1], "answer": [ids[i + 1]]} for i in answers]


def test_score(run: Cli) -> None:
    names = {token["id"]: token["name"] for token in run.json(f"tasks depo {DEPO}")["vocabulary"]}
    pairs = depo_pairs(run.lines(f"sample depo {DEPO}")[0], names)
    assert len(pairs) >= 3
    wrong = {"prompt": pairs[0]["prompt"], "answer": pairs[0]["answer"] * 2}
    rows = run.lines(f"score depo {DEPO}", "".join(json.dumps(pair) + "\n" for pair in [*pairs, wrong]))
    assert [row["right"] for row in rows[:-1]] == [True] * len(pairs) + [False]
    assert all(row["why"] for row in rows[:-1])
    assert (rows[-1]["right"], rows[-1]["count"]) == (len(pairs), len(pairs) + 1)


def test_train_resume_eval_report(run: Cli, tmp_path: Path) -> None:
    result = run.json(f"train copy {TINY} --out here")
    assert result["command"].startswith("canonlab train copy")
    assert run.json(f"train copy {TINY} --out here") == result, "a finished run is not run again"
    assert run.json("resume here") == result
    evaluation = run.json("eval here --windows 8")
    assert evaluation["metrics"] == result["evaluation"]["metrics"]
    assert run.json("eval here --windows 8 --seed 9")["metrics"] != evaluation["metrics"]
    report = run.json("report here")
    assert Path(report["page"]).read_text().startswith("<!")
    status, out, _ = run("report here --out page.html")
    assert status == 0
    assert "llama-rope" in out
    assert (tmp_path / "page.html").exists()


def test_config_file_and_flags(run: Cli, tmp_path: Path) -> None:
    tiny = "{N: 6, context: 28}"
    training = "{steps: 3, batch: 2, lr: 0.01, eval_windows: 2, final_windows: 2}"
    model = "{size: 1L16D2H, canon: AC}"
    config = tmp_path / "run.yaml"
    config.write_text(f"task: {{set: {tiny}}}\nmodel: {model}\ntraining: {training}\nbackend: {{compile: 'off'}}\n")
    run.json("train copy --config run.yaml --lr 0.02 --out here")
    asked = json.loads((tmp_path / "here" / "config.json").read_text())["asked"]
    assert asked["task"] == {"name": "copy", "set": {"N": 6, "context": 28}}
    assert (asked["training"]["steps"], asked["training"]["lr"], asked["model"]["canon"]) == (3, 0.02, "AC")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """What `train` was asked for; it then stops with the error "seen"."""
    configs: list[RunConfig] = []

    def create(config: RunConfig, out: Path | None) -> None:
        configs.append(config)
        raise InputError("seen")

    monkeypatch.setattr(cli.training, "create_run", create)
    return configs


def test_flags_are_laid_over_the_file_over_what_the_task_publishes(
    run: Cli, tmp_path: Path, asked: list[RunConfig]
) -> None:
    (tmp_path / "run.yaml").write_text(
        "name: x\nabout: y\ntask: {name: depo1, set: {N: 9, K: 2}}\nmodel: {tied: true, mixer: {heads: 4}}\n"
        "training: {batch: '16', lr: 1, warmup: 1e2}\nbackend: {compile: off}\n"
    )
    run("train --config run.yaml --lr 0.02 --no-tied --mixer qk_norm=true --set K=3 V=8")
    run("train depo1")
    config, published = asked
    assert config.task == TaskConfig("depo1", {"N": 9, "K": 3, "V": 8})
    assert config.model == ModelConfig(mixer={"heads": 4, "qk_norm": True})
    assert config.training == TrainingConfig(steps=87_500, batch=16, lr=0.02, warmup=100)
    assert config.backend == BackendConfig(compile="off")
    assert published == RunConfig(
        TaskConfig("depo1"), ModelConfig(), TrainingConfig(steps=87_500, batch=128, lr=0.001), BackendConfig()
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: mano\ngrid: {training.lr: [0.1]}", "run.yaml has grid, so many runs; use canonlab sweep"),
        ("task: mano\nvariants: [{training.lr: [0.1]}]", "run.yaml has variants, so many runs"),
        ("foo: 3", "unknown field 'foo' (allowed: backend, model, quantization, start, task, training)"),
        ("traning: {lr: 1}", "did you mean 'training'"),
        ("training: 3", "training = 3: must be a mapping of fields"),
        ("training: {step: 3}", "unknown field of training 'step'; did you mean 'steps'"),
        ("model: {mixer: 3}", "model.mixer = 3: must be a mapping"),
        ("model: {tied: yes}", "model.tied = 'yes': must be true or false"),
        ("training:\n  steps: 0o17", "run.yaml, line 2: '0o17' is no plain decimal number"),
        ("training: {lr: .nan}", "lr = nan: must be a number above 0 and finite"),
        ("training: {steps: .inf}", "training.steps = inf: must be an integer"),
        ("task: {name: [copy]}", "task.name = ['copy']: must be text"),
        ("{}", "task: missing; name one"),
    ],
)
def test_what_is_wrong_with_a_file_of_one_run_is_said(run: Cli, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    status, _, err = run(f"train {'' if 'task' in text or text == '{}' else 'copy'} --config run.yaml")
    assert (status, message in err, err.count("\n")) == (2, True, 1), err


@pytest.mark.parametrize(
    "words",
    [
        "depo1 --seed 1",
        "--seed 1 depo1",
        "--json depo1 --seed=1",
        "--json --no-canon-residual --tied --seed 1 depo1",
        "--set N=9 K=2 --seed 1 depo1",
        "--seed 1 --set N=9 K=2 depo1",
        "--config run.yaml --seed 1 --mixer heads=8 depo1",
        "--seed 1 --set=N=9 depo1",
        "--final_windows 3 depo1 --set N=9 --seed 1",
        "--config run.yaml --seed 1 depo1",
        "--config=run.yaml --seed 1",
    ],
)
def test_the_task_may_stand_anywhere_among_the_flags(
    run: Cli, tmp_path: Path, asked: list[RunConfig], words: str
) -> None:
    (tmp_path / "run.yaml").write_text(f"task: {'mano' if words.endswith('depo1') else 'depo1'}\n")
    assert run(f"train {words}")[2] == "canonlab: error: seen\n"
    (config,) = asked
    assert config.task.name == "depo1"
    assert (config.training.steps, config.training.batch, config.training.seed) == (87_500, 128, 1)


def test_a_tasks_exposures_are_known_before_steps_are_checked(run: Cli, tmp_path: Path) -> None:
    assert run("train --steps 0 capo --device gpu")[2].startswith("canonlab: error: unknown device 'gpu'")


def test_help_of_training_names_types_and_defaults(run: Cli) -> None:
    help_ = " ".join(run("train --help")[1].replace("│", " ").split())
    assert "[TASK]" in help_ and "None" not in help_
    for line in (
        "--steps INT Optimizer steps; 0 for as many as `exposures` take. (default: by task, else 10000)",
        "--clip FLOAT Largest gradient norm; 0 for no clipping. (default: 1.0)",
        "--tied, --no-tied The head is the embedding. (default: by task, else False)",
        "--config PATH YAML of one run",
    ):
        assert line in help_


def test_help_says_what_is_required_and_which_words_there_are(run: Cli) -> None:
    assert "that hold some. (required)" in " ".join(run("report --help")[1].replace("│", " ").split())
    assert "--version" in run("--help")[1]
    out = run("train copy --help")[1]
    for words in WORDS.values():
        assert all(re.search(rf"\b{word}\b", out) for word in words), words


@pytest.mark.parametrize("words", ["own.py:Mean,gla --mixer feature_map=elu", "own.py:Mean,gdn --canon AbCD"])
def test_a_hybrid_trains_with_what_one_member_has(run: Cli, tmp_path: Path, words: str) -> None:
    (tmp_path / "own.py").write_text(MIXER)
    tiny = TINY.replace("--size 1L16D2H --canon ABCD", "--size 2L64D4H")
    assert run.json(f"train copy {tiny} --model {words}")["weights_sha256"]


def test_sweep_skips_what_is_done(run: Cli, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(
        "task: {name: copy, set: {N: 6, context: 28}}\n"
        "model: {size: 1L16D2H}\n"
        "training: {steps: 3, batch: 2, eval_windows: 2, final_windows: 2}\n"
        "backend: {compile: 'off', threads: 1}\n"
        "grid: {model.canon: [none, ABCD], training.seed: [0, 1]}\n"
    )
    run.json("sweep tiny.yaml")
    results = sorted((tmp_path / "runs" / "tiny").glob("*/result.json"))
    times = [result.stat().st_mtime_ns for result in results]
    assert len(results) == 4
    run.json("sweep tiny.yaml")
    assert [result.stat().st_mtime_ns for result in results] == times
    assert (tmp_path / "runs" / "tiny" / "report.html").exists()


def test_a_dry_run_of_a_sweep_says_what_it_takes_and_writes_nothing(run: Cli, tmp_path: Path) -> None:
    found = run.json("sweep laptop/copy --dry-run --set training.seed=[0,1] --out there")
    assert (found["recipe"], found["folder"], found["states"]) == ("copy", "there", {"to do": 4})
    assert found["all"] == found["left"] and found["all"]["tokens"] == 4 * 600 * 32 * 130
    (compared,) = found["comparisons"]
    assert (compared["models"], compared["seeds"], compared["needed"], compared["decidable"]) == (2, [2, 2], 3, 0)
    status, out, _ = run("sweep laptop/copy --dry-run --set training.seed=[0,1]")
    assert status == 0 and "copy, in runs/copy: 4 to do\n" in out and "0 of 1" in out
    assert "wider than the gaps between seeds takes 3 seeds: --set training.seed=[0,1,2]\n" in out
    assert "nothing can be compared" in run("sweep laptop/copy --dry-run --set model.canon=A")[1]
    assert list(tmp_path.iterdir()) == []


def test_sweep_takes_changes_and_a_device(run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swept: list[tuple[list[RunConfig], Path]] = []

    def prepare(runs: list[RunConfig], parent: Path, *_: str) -> None:
        swept.append((runs, parent))
        raise InputError("that is enough")

    monkeypatch.setattr("canonlab.cli.sweeps.prepare", prepare)
    run("sweep laptop/copy --set training.seed=[0,4] model.canon=ABCD training.steps=100 --device cpu")
    ((runs, parent),) = swept
    assert [(r.training.seed, r.model.canon, r.training.steps, r.backend.device) for r in runs] == [
        (0, "ABCD", 100, "cpu"),
        (4, "ABCD", 100, "cpu"),
    ]
    assert parent == Path("runs/copy")


BAD = [
    ("tasks deppo1", "did you mean 'depo1'"),
    ("train cpy", "did you mean 'copy'"),
    ("train copy --model lama-rope", "did you mean 'llama-rope'"),
    ("train copy --size 8x512", "must be <layers>L<width>D"),
    ("train copy --canon ABX", "unknown point 'X'"),
    ("train copy --canon abcd", "did you mean 'A'"),
    ("train copy --lr 0", "lr = 0.0: must be a number above 0"),
    ("train copy --lr -1", "lr = -1.0: must be a number above 0"),
    ("train copy --lr inf", "lr = inf: must be a number above 0 and finite"),
    ("train copy --steps 0", "steps = 0: must be an integer of at least 1"),
    ("train copy --schedule linaer", "unknown schedule 'linaer'; did you mean 'linear'"),
    ("train copy --schedule cos", "unknown schedule 'cos'"),
    ("train copy --precision fp16", "unknown precision 'fp16'; did you mean 'bf16'"),
    ("train copy --linear x", "unknown linear 'x' (allowed: auto, fla, numba, torch)"),
    ("train copy --compile maybe", "unknown compile 'maybe' (allowed: auto, off, on)"),
    ("train copy --device gpu", "unknown device 'gpu'"),
    ("train copy --device meta", "unknown device 'meta'"),
    ("check gla --device gpu", "unknown device 'gpu'"),
    ("check gla --device cuda:99", "device = 'cuda:99': not usable here"),
    ("models gla --mixer head=3", "did you mean 'heads'? (allowed: conv_activation, conv_residual, feature_map"),
    ("train copy --device cuda:99", "device = 'cuda:99': not usable here"),
    ("train copy --mixer head=2", "did you mean 'heads'"),
    ("models lama-rope", "did you mean 'llama-rope'"),
    ("models --size 8L512", "size = '8L512'"),
    ("models --mixer heads=2", "name the model"),
    ("train copy --mixer heads=two", "mixer.heads = 'two': must be an integer"),
    ("train copy --model mixer.py", "name the class too"),
    ("train copy --config nothing.yaml", "cannot read nothing.yaml: No such file or directory"),
    ("train copy --config laptop/copy", "cannot read laptop/copy: No such file or directory"),
    ("train mine.py:Task", "cannot read mine.py"),
    ("train copy --model mine.py:Mixer", "cannot read mine.py"),
    ("tasks depo --set N=2", "N = 2: must be an integer from 3"),
    ("tasks depo --set K=0", "K = 0: must be an integer from 1"),
    ("tasks depo --set N=60 lengths=[1,1]", "must be at most 50"),
    ("tasks depo --set context=100", "context = 100"),
    ("tasks depo --set NN=4", "did you mean 'N'"),
    ("tasks depo --set N", "must be NAME=VALUE"),
    ("tasks depo --set N=9 N=8", "'N=8': N is given twice"),
    ("tasks depo --set N=010", "'N=010', line 1: '010' is no plain decimal number"),
    ("tasks depo --set lengths=[1,2", "'lengths=[1,2' is not valid YAML"),
    ("tasks depo --set lengths=[1,2,3]", "lengths = [1, 2, 3]: must be a list of 2"),
    ("tasks brevo1 --set query=lst", "unknown query 'lst'; did you mean 'last'"),
    ("tasks capo --set simple=1", "simple = 1: must be true or false"),
    ("train", "task: missing; name one"),
    ("train copy --steps 1.5", "training.steps = '1.5': must be an integer"),
    ("sweep laptop/copy --set training.sed=1", "did you mean 'seed'"),
    ("sweep laptop/copy --device gpu", "unknown device 'gpu'"),
    ("tasks copy --set N=two", "N = 'two'"),
    ("sample copy --split evl", "did you mean 'eval'"),
    ("sample copy --count 0", "count = 0"),
    ("resume nowhere", "is not a run folder"),
    ("eval nowhere", "is not a run folder"),
    ("report nowhere", "nowhere"),
    ("report", "name the run folders"),
    ("sweep laptop/cpy", "did you mean 'laptop/copy'"),
    ("bench dta", "did you mean 'data'"),
]


@pytest.mark.parametrize(("command", "message"), BAD, ids=[command for command, _ in BAD])
def test_bad_input_is_status_2_and_says_what_is_allowed(run: Cli, tmp_path: Path, command: str, message: str) -> None:
    status, _, err = run(command)
    assert status == 2
    assert message in " ".join(err.replace("│", " ").split())
    if err.startswith("canonlab: error:"):
        assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [], "nothing is written before the input is checked"


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        ("", "holds no answers"),
        ("nonsense\n", "line 1 is not"),
        ('{"prompt": [0]}\n', "line 1 is not"),
        ('{"prompt": 3, "answer": [1]}\n', "must be lists"),
        ('{"prompt": [0, 1], "answer": [1]}\n', "line 1: "),
        ('{"prompt": [0, 999, 1], "answer": [1]}\n', "line 1: "),
    ],
)
def test_malformed_answers(run: Cli, stdin: str, message: str) -> None:
    status, _, err = run(f"score depo {DEPO}", stdin)
    assert status == 2
    assert message in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("- a\n- b\n", "not a mapping"),
        ("task: [unclosed\n", "not valid YAML"),
        ("tasks: {name: copy}\n", "did you mean 'task'"),
        ("task: copy\ntraining: {learning_rate: 0.1}\n", "unknown field of training 'learning_rate'"),
        ("\x00", "not valid YAML"),
        ("task: copy\ntraining: {step: 10}\n", "did you mean 'steps'"),
        ("task: copy\ntraining: {steps: many}\n", "training.steps = 'many'"),
        ("task: copy\ngrid: {training.lr: 3}\n", "grid: training.lr = 3: must be a list of values, such as [3]"),
        ("task: copy\nfoo: 3\n", "unknown recipe field 'foo'"),
        ("training: {lr: 0.1}\n", "task: missing"),
        ("task: copy\ngrid: {lr: [0.1]}\n", "must be a field inside a part"),
        ("task: copy\ntraining:\n  lr: 1\n  lr: 2\n", "recipe.yaml, line 4: 'lr' is given twice"),
        ("task: copy\ngrid: {training.seed: &a [1], training.warmup: *a}\n", "line 2: the alias 'a'"),
        (f"task: copy\ngrid: {'[' * 5000}", "line 2: more than 32 mappings and lists inside one another"),
    ],
)
def test_bad_recipes(run: Cli, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    status, _, err = run("sweep recipe.yaml")
    assert status == 2
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_damaged_run_is_said_in_one_line(run: Cli, tmp_path: Path) -> None:
    run(f"train copy {TINY} --out here")
    (tmp_path / "here" / "result.json").unlink()
    metrics = tmp_path / "here" / "metrics.jsonl"
    whole = metrics.read_text()
    metrics.write_text(whole.replace('"step": 6', '"stp": 6', 1))
    status, _, err = run("resume here")
    assert (status, "is not the log that" in err) == (2, True)
    metrics.write_text(whole)
    checkpoint = tmp_path / "here" / "checkpoints" / "last.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    status, _, err = run("resume here")
    assert (status, "last.safetensors is damaged" in err) == (2, True)
    assert metrics.read_text() == whole


def test_another_runs_folder_is_refused(run: Cli) -> None:
    run(f"train copy {TINY} --out here")
    status, _, err = run(f"train copy {TINY} --seed 1 --out here")
    assert status == 2
    assert "holds a run of another configuration" in err


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
from canonlab import cli
cli.main()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files, which Windows can't")
def test_a_full_disk_is_a_failure_that_loses_nothing(run: Cli, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the write fails half-way in the same place."""
    run(f"train copy {TINY} --out here")
    last = tmp_path / "here" / "checkpoints" / "last.safetensors"
    assert last.stat().st_size > 20_000
    command = [sys.executable, "-c", FULL_DISK, *shlex.split(f"train copy {TINY} --out there")]
    failed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("canonlab: error: ")
    assert "Traceback" not in failed.stderr
    assert not list((tmp_path / "there" / "checkpoints").iterdir())
    assert run.json("resume there")["weights_sha256"] == run.json("resume here")["weights_sha256"]


@pytest.mark.slow
def test_sigterm_saves_and_exits_cleanly(run: Cli, tmp_path: Path) -> None:
    words = shlex.split(f"train copy {TINY} --out here".replace("--steps 12", "--steps 100000"))
    process = subprocess.Popen(
        [sys.executable, "-m", "canonlab", *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    metrics = tmp_path / "here" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (metrics.exists() and metrics.read_text().count("\n") > 3):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "go on with: canonlab resume here" in err
    assert (tmp_path / "here" / "checkpoints" / "last.safetensors").exists()
    assert not (tmp_path / "here" / "result.json").exists()


def test_models_lists_what_there_is_and_says_what_one_costs(run: Cli) -> None:
    (gdn,) = (row for row in run.json("models --size 2-2") if row["name"] == "gdn")
    (alone,) = run.json("models gdn --size 2-2")
    assert alone == {key: value for key, value in gdn.items() if key not in ("name", "about")}
    status, out, _ = run("models mamba2 --size 2-2 --canon ABCD --context 64")
    assert status == 0 and " AB " in out and "a comparison should say so" in out
    assert "at 64 tokens" in out
    assert "should say so" not in run("models llama-nope --size 2-2")[1]
