"""Runs that quantize: their weights are those of another run, on grids of few bits (`canonlab.quantization`).

Such a run has a folder of its own, beside that of the run that it is made of unless it is put elsewhere. Its
configuration is that run's and `quantization`; its checkpoint has the weights alone, as the numbers that the integers
stand for; it is evaluated as that run was, on the same windows; and its cost is that run's, but for its own seconds.
"""

import time
from collections.abc import Iterator
from typing import Any

import torch

from canonlab.errors import InputError
from canonlab.files import read_json, remove_leftovers, write_json
from canonlab.locks import locked
from canonlab.models.decoder import Decoder
from canonlab.models.generate import instances
from canonlab.quantization.decoder import Batch, quantize
from canonlab.training.backend import environment
from canonlab.training.checkpoint import MODEL, Checkpoint, SafetensorsStore, restore_model, weights_hash
from canonlab.training.evaluation import evaluate, led_by
from canonlab.training.loop import Listener, failures, train
from canonlab.training.parts import FAILED, FILES
from canonlab.training.plan import Plan
from canonlab.training.run import RunFolder, find_run, known_runs

BATCH = 16
"""Calibration windows that are run together."""


def produce(run: RunFolder, listener: Listener, command: str = "", keep: str = "all") -> dict[str, Any]:
    """The result of any run. What one that quantizes is made of is found beside it, or trained there.

    Raises as `train` does.
    """
    if not run.plan.quantizes or run.done:
        return train(run, listener, command, keep)
    beside = run.folder.parent
    origin = find_run(run.plan.trained, beside, known_runs(beside))
    train(origin, listener, command, keep)
    return make_quantized(run, origin, listener, command)


def require_quantizable(run: RunFolder) -> None:
    """InputError where a run can't be quantized: one that isn't done, or is quantized already."""
    if run.plan.quantizes:
        raise InputError(f"{run.folder}: is quantized already; name the run that it is made of")
    if run.diverged:
        raise InputError(f"{run.folder}: diverged at step {run.diverged['step']}, so there is nothing to quantize")
    if not run.done:
        raise InputError(f"{run.folder}: isn't done; go on with it by canonlab resume {run.folder}")


def make_quantized(run: RunFolder, origin: RunFolder, listener: Listener, command: str = "") -> dict[str, Any]:
    """Quantize the final weights of `origin`, and evaluate them; the result. What is there already isn't made again.

    Raises Held when another process is at it, and as `require_quantizable`.
    """
    require_quantizable(origin)
    for note in run.notes:
        listener.message(f"{run.folder}: {note}")
    with locked(run.folder), run.plan.backend.working(), failures():
        if run.done:
            return run.result()
        return _make(run, origin, command)


def _make(run: RunFolder, origin: RunFolder, command: str) -> dict[str, Any]:
    began, plan, trained = time.monotonic(), run.plan, origin.result()
    remove_leftovers(run.folder, FILES)
    remove_leftovers(run.folder / "checkpoints", ["last.safetensors"])
    (run.folder / FAILED).unlink(missing_ok=True)
    model = plan.backend.place(plan.decoder.build())
    store = SafetensorsStore(run.folder / "checkpoints")
    if (kept := store.load("last", run.identity)) is None:
        kept = _weights(run, origin, model)
        store.save("last", kept)
    restore_model(kept.tensors, model)
    training = plan.config.training
    separator = plan.task.separator_id if training.isolate else None
    windows = training.final_windows or None
    evaluation = led_by(evaluate(model, plan.task, training.seed, windows, plan.backend, separator), training.metric)
    here = environment(plan.backend.device)
    seconds = kept.facts["seconds"] + time.monotonic() - began
    result = {
        "identity": run.identity,
        "name": run.folder.name,
        "evaluation": evaluation.plain(),
        "best": None,
        "coincidence": trained["coincidence"],
        "cost": {**trained["cost"], "seconds": round(seconds, 1), "device": here["hardware"]},
        "data_sha256": trained["data_sha256"],
        "weights_sha256": weights_hash(model),
        "log": None,
        "versions": here,
        "command": command,
    }
    write_json(run.folder / "result.json", result)
    return read_json(run.folder / "result.json")


def _weights(run: RunFolder, origin: RunFolder, model: Decoder) -> Checkpoint:
    """The quantized weights of `origin`, which are left in the model."""
    began = time.monotonic()
    trained = SafetensorsStore(origin.folder / "checkpoints").load("last", origin.identity)
    if trained is None:
        raise InputError(f"{origin.folder} has no checkpoint 'last'")
    restore_model(trained.tensors, model)
    plan = run.plan
    with plan.backend.eagerly():
        quantize(model, plan.config.quantization, lambda: _calibration(plan), plan.backend.autocast)
    facts = {
        "identity": run.identity,
        "step": trained.facts["step"],
        "seconds": time.monotonic() - began,
        "data_sha256": trained.facts["data_sha256"],
    }
    return Checkpoint({MODEL + name: tensor for name, tensor in model.state_dict().items()}, facts)


def _calibration(plan: Plan) -> Iterator[Batch]:
    """The first windows that the run was trained on."""
    training, count = plan.config.training, plan.config.quantization.windows
    separator = plan.task.separator_id if training.isolate else None
    for first in range(0, count, BATCH):
        windows = plan.task.windows(training.seed, first, min(BATCH, count - first))
        ids = torch.from_numpy(windows.tokens).to(plan.backend.device, torch.int64)
        yield ids, None if separator is None else instances(ids, separator)
