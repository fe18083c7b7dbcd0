"""The training loop: windows -> model -> loss on marked targets -> step; evaluation, checkpoints, result."""

import dataclasses
import math
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from canonlab.checks import first_line, seconds_since
from canonlab.data.batches import DATA_HASH_START, batches, extend_data_hash
from canonlab.errors import Diverged, Failed, InputError, Interrupted, shown, unknown
from canonlab.files import entry, exists, read_json, remove_leftovers, write_json
from canonlab.locks import locked
from canonlab.models.cost import cost
from canonlab.models.decoder import Decoder
from canonlab.models.generate import instances
from canonlab.models.moe import dropped_share
from canonlab.plugins import users_line
from canonlab.tasks.base import Evaluation
from canonlab.tasks.metrics import better
from canonlab.training.backend import environment, limit_passed
from canonlab.training.checkpoint import (
    Checkpoint,
    SafetensorsStore,
    restore_model,
    restore_training,
    training_tensors,
    weights_hash,
)
from canonlab.training.evaluation import evaluate, led_by
from canonlab.training.lora import adapt, adapted, merged
from canonlab.training.metrics_log import MetricsLog
from canonlab.training.optimizer import build_optimizer, learning_rate, set_rate
from canonlab.training.parts import CHECKPOINTS, DIVERGED, FAILED, FILES
from canonlab.training.run import RunFolder, Trained
from canonlab.training.start import Start

KEPT: dict[str, tuple[str, ...] | None] = {"final": ("last",), "best": CHECKPOINTS, "all": None}
"""What may be kept of a run that is done -> the checkpoints that are kept, their weights alone; None for all as is."""


class Listener(Protocol):
    """Who watches a run. Records are those of metrics.jsonl."""

    def start(self, run: RunFolder, step: int) -> None:
        """Training begins, or goes on, at `step`."""
        ...

    def record(self, record: dict[str, Any]) -> None:
        """A line of the log, of kind "train" or "eval"."""
        ...

    def message(self, text: str) -> None:
        """Something that a person should read."""
        ...


def train(run: RunFolder, listener: Listener, command: str = "", keep: str = "all") -> dict[str, Any]:
    """Run to the end, from the last checkpoint if there is one, and return the result. `keep` is a word of `KEPT`.

    Raises Held when another process is at it; Interrupted after SIGTERM or SIGINT, with a checkpoint of the step
    reached; KeyboardInterrupt at once after a second SIGINT, with the checkpoint that there was; and Diverged on a
    loss that is not finite, with the last good checkpoint kept and a record in diverged.json, until the next attempt.
    """
    for note in run.notes:
        listener.message(f"{run.folder}: {note}")
    if run.done:
        return run.result()
    with locked(run.folder), run.plan.backend.working(), failures():
        if run.done:  # by now
            return run.result()
        return _train(run, listener, command, KEPT[keep])


@contextmanager
def failures() -> Iterator[None]:
    """The context in which a run is made. Tells what is no fault of the program: a user's own code that fails,
    memory that is not enough, a limit."""
    try:
        yield
    except (Diverged, Interrupted, InputError):
        raise
    except (Exception, SystemExit) as error:
        if reason := limit_passed(error):
            raise Failed(reason) from error
        if place := users_line(error):
            raise Failed(f"{place}: {first_line(error)}") from error
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise Failed(f"out of memory; a microbatch takes less ({first_line(error)})") from error
        raise


def _train(run: RunFolder, listener: Listener, command: str, kept: tuple[str, ...] | None) -> dict[str, Any]:
    for note in run.plan.notes:
        listener.message(note)
    trainer = _Trainer(run, listener, kept)
    try:
        with stop_on_signal() as stop:
            trainer.run(stop)
    finally:
        trainer.log.close()
    return trainer.finish(command)


class _Trainer:
    """The state of a run between two steps."""

    def __init__(self, run: RunFolder, listener: Listener, kept: tuple[str, ...] | None) -> None:
        plan = run.plan
        self.kept = kept
        self.folder, self.task, self.backend = run.folder, plan.task, plan.backend
        self.identity, self.listener = run.identity, listener
        self.machine = plan.machine
        self.config, self.decoder = plan.config.training, plan.decoder
        # now, as what fails there should not fail after training
        self.cost = cost(plan.decoder, self.task.context, plan.backend.device)
        self.separator = self.task.separator_id if self.config.isolate else None
        self.store = SafetensorsStore(run.folder / "checkpoints")
        last = self.store.load("last", self.identity)
        self.model = plan.backend.place(self._begun(plan.start, last))
        self.optimizer = build_optimizer(self.model, self.config)
        torch.manual_seed(self.config.seed)
        remove_leftovers(run.folder, FILES)
        remove_leftovers(run.folder / "checkpoints", [f"{name}.safetensors" for name in CHECKPOINTS])
        self.step = 0
        self.seconds = 0.0
        self.data_hash = DATA_HASH_START
        self.best: dict[str, Any] | None = None
        self.unevaluated = False
        """Whether the evaluation due at this step is still to be made, as the last attempt failed in it."""
        extent = self._restore(last)
        sessions = self._sessions()
        self.log = MetricsLog(run.folder / "metrics.jsonl", self.step, extent)
        for name in (DIVERGED, FAILED):
            (run.folder / name).unlink(missing_ok=True)
        self._record_environment(sessions)
        self.started = time.monotonic()
        listener.start(run, self.step)

    def _begun(self, start: Start | None, last: Checkpoint | None) -> Decoder:
        """The model of the first step, or one that the weights of the last checkpoint fit."""
        model = self.decoder.build(self.config.seed)
        if start and last is None:
            restore_model(start.load(self.folder).tensors, model)
        if start and start.lora[0] and (last is None or adapted(last.tensors)):
            adapt(model, start.lora, self.config.seed)
        return model

    def run(self, stop: threading.Event) -> None:
        """All steps that are left."""
        config, device = self.config, self.backend.device
        finite = torch.ones((), dtype=torch.bool, device=device)
        if self.unevaluated:
            self._evaluate()
        clock, since = time.monotonic(), self.step
        stream = batches(self.task, config.seed, config.batch, range(self.step, config.steps))
        for tokens, mask in stream:
            self.data_hash = extend_data_hash(self.data_hash, tokens, mask)
            rate = learning_rate(self.step, config)
            loss, norm = self._update(tokens, mask, rate)
            finite &= torch.isfinite(loss) & torch.isfinite(norm)
            self.step += 1
            last, stopping = self.step == config.steps, stop.is_set()
            logs = self.step % config.log_every == 0 or last
            evaluates = self.step % config.eval_every == 0 or last
            saves = self.step % config.checkpoint_every == 0 or last or stopping
            if (logs or evaluates or saves) and not finite:
                reason = "the loss or its gradient is not finite"
                write_json(self.folder / DIVERGED, {"step": self.step, "reason": reason})
                raise Diverged(
                    f"{reason} at step {self.step}; checkpoints up to the last good step are kept in "
                    f"{self.store.folder}"
                )
            if logs:
                speed = (self.step - since) * tokens.size / seconds_since(clock, time.monotonic)
                clock, since = time.monotonic(), self.step
                dropped = dropped_share(self.model)
                extra = {} if dropped is None else {"dropped": dropped.item()}  # of the last microbatch
                self._record(
                    "train",
                    loss=loss.item(),
                    lr=rate,
                    grad_norm=norm.item(),
                    tokens_per_second=round(speed),
                    **extra,
                )
            if evaluates:
                self._evaluate()
                clock, since = time.monotonic(), self.step
            if saves:
                self._save_last()
            if stopping and not last:
                command = shlex.join(["canonlab", "resume", str(self.folder)])
                raise Interrupted(f"stopped at step {self.step} of {config.steps}", command)

    def finish(self, command: str) -> dict[str, Any]:
        """The evaluation that counts, on the final weights; the checkpoints that are kept; and result.json."""
        self._merge()
        evaluation = self.evaluate(self.config.final_windows or None)
        tokens = self.config.steps * self.config.batch * self.task.context
        result = {
            "identity": self.identity,
            "name": self.folder.name,
            "evaluation": evaluation.plain(),
            "best": self.best,
            "coincidence": self.task.coincidence(self.config.steps * self.config.batch),
            "cost": {
                **dataclasses.asdict(self.cost),
                "tokens": tokens,
                "seconds": round(self._seconds(), 1),
                "device": environment(self.backend.device)["hardware"],
            },
            "data_sha256": self.data_hash.hex(),
            "weights_sha256": weights_hash(self.model),
            "log": self.log.extent,
            "versions": environment(self.backend.device),
            "command": command,
        }
        if self.kept is not None:
            self.store.thin(self.kept, self.identity)
        write_json(self.folder / "result.json", result)  # last, as nobody goes on with a run that has it
        return read_json(self.folder / "result.json")

    def evaluate(self, windows: int | None) -> Evaluation:
        """Score the current weights on the evaluation stream of the run's seed."""
        found = evaluate(self._plain(), self.task, self.config.seed, windows, self.backend, self.separator)
        return led_by(found, self.config.metric)

    def _plain(self) -> Decoder:
        """The model; one that is adapted as a plain one of the same weights, as `evaluate_checkpoint` has it."""
        if not adapted(state := self.model.state_dict()):
            return self.model
        model = self.backend.place(self.decoder.build())
        model.load_state_dict(merged(state, self.decoder.tied))
        return model

    def _merge(self) -> None:
        """Leave a plain model of an adapted one, here and in the checkpoints."""
        for name in CHECKPOINTS:
            kept = self.store.load(name, self.identity)
            if kept and adapted(kept.tensors):
                self.store.save(name, Checkpoint(merged(kept.weights, self.decoder.tied), kept.facts))
        self.model = self._plain()

    def _update(self, tokens: np.ndarray, mask: np.ndarray, rate: float) -> tuple[Tensor, Tensor]:
        """One optimizer step; the mean loss over the batch's marked targets, and the gradient norm before clipping."""
        device = self.backend.device
        count = int(mask[:, 1:].sum())
        self.optimizer.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=device)
        part = self.config.microbatch or len(tokens)
        for first in range(0, len(tokens), part):
            ids = torch.from_numpy(tokens[first : first + part]).to(device, torch.int64, non_blocking=True)
            marked = torch.from_numpy(mask[first : first + part]).to(device, torch.bool, non_blocking=True)
            with self.backend.autocast():
                share = self._loss(ids, marked, count, len(ids) / len(tokens))
            share.backward()
            loss += share.detach()
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if self.config.clip:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.config.clip, norm)
        set_rate(self.optimizer, rate)
        self.optimizer.step()
        return loss, norm

    def _loss(self, ids: Tensor, marked: Tensor, count: int, share: float) -> Tensor:
        """Summed cross entropy of the marked targets over `count`, and `share` of the auxiliary loss."""
        predicts = torch.zeros_like(marked)
        predicts[:, :-1] = marked[:, 1:]  # position t predicts the target at t + 1
        segments = None if self.separator is None else instances(ids, self.separator)
        output = self.model(ids, segments, select=predicts)
        targets = ids[:, 1:][marked[:, 1:]]
        loss = F.cross_entropy(output.logits.float(), targets, reduction="sum") / max(1, count)
        return loss if output.auxiliary is None else loss + share * output.auxiliary

    def _evaluate(self) -> None:
        try:
            evaluation = self.evaluate(self.config.eval_windows)
        except Exception:  # what was trained must not be lost with what can't be measured
            self.unevaluated = True
            self._save_last()
            raise
        self.unevaluated = False
        self._record("eval", **evaluation.plain())
        main = evaluation.headline[0]
        value = float(evaluation.metrics[main].value)
        if not math.isnan(value) and (self.best is None or better(main, value, self.best["value"])):
            self.best = {"step": self.step, "metric": main, "value": value}
            if self.kept is None or "best" in self.kept:  # writing it waits for the disk
                self.store.save("best", self._checkpoint())

    def _save_last(self) -> None:
        self.log.sync()
        self.store.save("last", self._checkpoint())

    def _record(self, kind: str, **values: Any) -> None:
        record = {"kind": kind, "step": self.step, **values}
        self.log.append(record)
        self.listener.record(record)

    def _seconds(self) -> float:
        return self.seconds + time.monotonic() - self.started

    def _checkpoint(self) -> Checkpoint:
        facts = {
            "identity": self.identity,
            "step": self.step,
            "seconds": self._seconds(),
            "data_sha256": self.data_hash.hex(),
            "best": self.best,
            "log": self.log.extent,
            "unevaluated": self.unevaluated,
        }
        return Checkpoint(training_tensors(self.model, self.optimizer), facts)

    def _restore(self, checkpoint: Checkpoint | None) -> dict[str, Any] | None:
        """Go back to the last checkpoint, if there is one; the extent of the log then, if it is known."""
        if checkpoint is None:
            return None
        if checkpoint.facts["step"] > self.config.steps:
            step = shown(checkpoint.facts["step"])
            raise InputError(f"{self.store.path('last')} is of step {step}, the run has {self.config.steps}")
        if checkpoint.facts["step"] == self.config.steps and checkpoint.weights_alone:
            restore_model(checkpoint.tensors, self.model)
        else:
            restore_training(checkpoint.tensors, self.model, self.optimizer)
        self.step, self.seconds = checkpoint.facts["step"], checkpoint.facts["seconds"]
        self.data_hash, self.best = bytes.fromhex(checkpoint.facts["data_sha256"]), checkpoint.facts.get("best")
        self.unevaluated = checkpoint.facts.get("unevaluated") is True
        return checkpoint.facts.get("log")

    def _sessions(self) -> list[dict[str, Any]]:
        """Who worked on the run so far, each with the step they began at and their `environment`."""
        path = self.folder / "environment.json"
        sessions = entry(read_json(path), "sessions", list, path) if exists(path) else []
        for session in sessions[:1]:
            entry(session, "environment", dict, path)
        return sessions

    def _record_environment(self, sessions: list[dict[str, Any]]) -> None:
        """Note who works on the run from here on; say when that is not who began it."""
        here = environment(self.backend.device) | {key: str(value) for key, value in self.machine.items()}
        if sessions:
            first = sessions[0]["environment"]
            changed = [f"{key} {first.get(key)} -> {here[key]}" for key in here if here[key] != first.get(key)]
            if changed:
                self.listener.message(
                    f"another environment than the run began in, so bits may differ: {', '.join(changed)}"
                )
        began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        sessions.append({"step": self.step, "began": began, "environment": here})
        write_json(self.folder / "environment.json", {"sessions": sessions})


def evaluate_checkpoint(run: Trained, name: str, windows: int | None, seed: int | None) -> tuple[Evaluation, int]:
    """Evaluate a checkpoint of a run, "last" or "best", and say which step it is of."""
    store = SafetensorsStore(run.folder / "checkpoints")
    if name not in CHECKPOINTS:
        raise unknown("checkpoint", name, CHECKPOINTS)
    checkpoint = store.load(name, run.identity)
    if checkpoint is None:
        raise InputError(f"{run.folder} has no checkpoint {name!r} yet")
    with run.backend.working():
        model = run.backend.place(run.decoder.build())
        restore_model(merged(checkpoint.weights, run.decoder.tied), model)
        seed = run.seed if seed is None else seed
        evaluation = evaluate(model, run.task, seed, windows, run.backend, run.separator)
    return evaluation, checkpoint.facts["step"]


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set, so that work stops where nothing is lost; a second SIGINT stops at once."""
    stop = threading.Event()

    def take(number: int, _: object) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may take signals
        return
    signals = [s for s in (getattr(signal, name, None) for name in ("SIGTERM", "SIGINT")) if s is not None]
    before = {s: signal.signal(s, take) for s in signals}
    try:
        yield stop
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
