"""Fabricated run folders: the files that training writes, with plausible numbers; and runs in memory."""

import hashlib
import json
import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from canonlab.models.config import ModelConfig
from canonlab.models.presets import PRESETS
from canonlab.results.load import Curves, Result, Run
from canonlab.tasks.base import Evaluation
from canonlab.tasks.catalog import build_task
from canonlab.tasks.metrics import Metric, share
from canonlab.training.record import Record

DEPO = {
    "name": "depo",
    "version": 1,
    "parameters": {"N": 10, "K": 4, "V": 50, "lengths": [1, 1]},
    "context": 96,
    "source": None,
}
COPY = {"name": "copy", "version": 1, "parameters": {"N": 64}, "context": 130, "source": None}
METRICS = {
    "depo": (
        ["accuracy_k4", "accuracy_k2"],
        {"accuracy_k1": 0.35, "accuracy_k2": 0.6, "accuracy_k4": 0.85, "token_accuracy": 0.5},
    ),
    "copy": (["token_accuracy"], {"token_accuracy": 0.4, "first_1": 0.3, "all": 0.6}),
    "lano": (["accuracy"], {"accuracy": 0.5}),
}
"""By task: the headline, and each metric with the part of the training after which a good model has learnt it."""


def sha256(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def record(**given: Any) -> Record:
    """What a config.json says of a run in memory; nothing that isn't given."""
    nothing: dict[str, Any] = {"name": "", "identity": "", "written_identity": "", "difficulty": None}
    parts: dict[str, Any] = {key: {} for key in ("config", "asked", "files", "measuring", "machine")}
    return Record(**(nothing | parts | given))


def metric(
    value: float, low: float = math.nan, high: float = math.nan, right: int | None = None, count: int = 0
) -> Metric:
    """A metric of which little is known."""
    return Metric(value, right, count, low, high, 0)


def knowing(
    bits: float, parameters: float, size: str, seed: int, people: int, each: float = 50.0, **given: Mapping[str, Any]
) -> Run:
    """A finished run in memory that knows so many bits, of `each` that there are about one of the people.

    `given` may have settings of `model` and `training`, and the `task`.
    """
    model = {"model": "gpt2-original", "size": size, "canon": "none", "mixer": {}, **given.get("model", {})}
    training = {"steps": 1000, "exposures": 100, "batch": 8, "lr": 0.01, "seed": seed, **given.get("training", {})}
    config = {
        "task": given.get("task") or {**build_task("capo", {"N": people}).identity, "source": None},
        "model": {"asked": model, "canon": {"points": "" if model["canon"] == "none" else model["canon"]}},
        "training": training,
        "precision": "fp32",
    }
    ratio = bits / parameters
    metrics = {"bits_per_parameter": metric(ratio, ratio, ratio), "bits": metric(bits, bits, bits)}
    notes = {"parameters": parameters, "N": people, "r_max": people * each / parameters}
    name = sha256(config)
    cost = {"parameters": parameters, "flops_per_token": 1.0, "tokens": 1.0, "seconds": 1.0}
    told = record(identity=name, written_identity=name, name=name, config=config, asked={"model": model})
    found = Evaluation(metrics, ("bits_per_parameter", "bits"), notes)
    return Run(Path(name), told, Curves(), Result(found, cost, {}))


def learners() -> list[Run]:
    """Three seeds of three sizes that know 1 bit per parameter after 100 exposures, 1.5 after 200 and no more after
    400; with a gated MLP 0.8 after 100."""
    found = []
    for seed in range(3):
        for size, parameters in {"1L32D2H": 30_000, "1L64D2H": 90_000, "2L64D2H": 160_000}.items():
            bits = parameters * (1 + (seed - 1) / 100)
            for exposures, ratio, mlp in ((100, 1.0, ""), (200, 1.5, ""), (400, 1.5, ""), (100, 0.8, "gated")):
                settings = {"model": {"mlp": mlp} if mlp else {}, "training": {"exposures": exposures}}
                found.append(knowing(ratio * bits, parameters, size, seed, 50_000, **settings))
    return found


def _mixer(model: str, size: str) -> dict[str, Any]:
    """The mixer of a preset as a run folder has it; of another name something that tells models apart."""
    if model not in PRESETS:
        return {"class": "Attention", "arguments": {"heads": 2, "position": model}}
    mixer = ModelConfig(model, size).decoder(56).pattern[0].mixer
    return {"class": mixer.cls.__name__, "arguments": mixer.arguments}


def write_run(
    root: Path,
    task: dict[str, Any] = DEPO,
    *,
    model: str = "llama-rope",
    canon: str = "ABCD",
    size: str = "2L64D",
    lr: float = 0.003,
    seed: int = 0,
    steps: int = 1000,
    stop: int | None = None,
    data: str = "",
    training: dict[str, Any] | None = None,
    backend: dict[str, Any] | None = None,
) -> Path:
    """A run folder below `root`; killed at step `stop` when that is given. With Canon it learns, without hardly.

    `training` and `backend` are further settings of these parts; runs of other `data` saw other windows.
    """
    width = int(size.split("L")[1].split("D")[0])
    config = {
        "task": task,
        "model": {
            "vocabulary": 56,
            "layers": int(size.split("L")[0]),
            "width": width,
            "pattern": [{"mixer": _mixer(model, size), "mlp": None}],
            "canon": {"points": canon, "kernel": 4, "residual": True},
            "sources": [{"class": "Mixer", "sha256": sha256(model)}] if ".py:" in model else [],
        },
        "training": {"steps": steps, "batch": 32, "lr": lr, "warmup": 100, "seed": seed, "clip": 1.0, "microbatch": 0}
        | (training or {}),
        "backend": {"device": "cpu", "precision": "fp32", "compile": False, "threads": 2, "canon": "numba"}
        | (backend or {}),
    }
    asked = {
        "task": {"name": task["name"], "set": {}},
        "model": {"model": model, "size": size, "canon": canon or "none", "mixer": {}},
        "training": {},
    }
    identity = sha256(json.dumps(config, sort_keys=True))
    name = f"{task['name']}-{model}-{canon or 'none'}-{size}-lr{lr:g}-s{seed}-{identity[:10]}"
    folder = root / name.replace("/", "_")
    folder.mkdir(parents=True)
    content = {"format": 1, "identity": identity, "name": name, "asked": asked, "config": config}
    (folder / "config.json").write_text(json.dumps(content))

    headline, learnt = METRICS[task["name"]]
    noise = random.Random(identity)
    pace = (1.0 if canon else 0.33) * noise.uniform(0.85, 1.1)

    def metrics(step: int) -> dict[str, Any]:
        rates = {m: 0.08 + 0.92 / (1 + math.exp(14 * (at - pace * step / steps))) for m, at in learnt.items()}
        return {m: vars(share(min(1000, int(1000 * rate + noise.gauss(0, 6))), 1000)) for m, rate in rates.items()}

    lines = []
    for step in range(10, (stop or steps) + 1, 10):
        loss = 0.02 + 3.4 * math.exp(-4 * pace * step / steps) + noise.gauss(0, 0.03)
        rate = lr * min(1, step / 100)
        lines.append(
            {"kind": "train", "step": step, "loss": abs(loss), "lr": rate, "grad_norm": 1.0, "tokens_per_second": 8e4}
        )
        if step % 50 == 0:
            entry = {
                "kind": "eval",
                "step": step,
                "metrics": metrics(step),
                "headline": headline,
                "notes": {"windows": 250},
            }
            lines.append(entry)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if stop is None:
        final = {key: lines[-1][key] for key in ("metrics", "headline", "notes")}
        parameters = 98_304 + (3_400 if canon else 0)
        result = {
            "format": 1,
            "identity": identity,
            "name": name,
            "evaluation": final,
            "best": {"step": steps, "metric": headline[0], "value": final["metrics"][headline[0]]["value"]},
            "cost": {
                "parameters": parameters,
                "parameters_without_embedding": parameters - 7_000,
                "flops_per_token": 6 * parameters,
                "tokens": steps * 32 * task["context"],
                "seconds": 41.5 + seed,
                "device": "CPU, 2 threads",
            },
            "coincidence": 1e-9,
            "data_sha256": sha256(task, seed, steps, data),
            "weights_sha256": sha256(identity),
            "versions": {"canonlab": "0.1.0", "torch": "2.13.0", "python": "3.11.2"},
            "command": f"canonlab train {task['name']} --model {model} --canon '{canon}' --lr {lr} --seed {seed}",
        }
        (folder / "result.json").write_text(json.dumps(result))
    return folder
