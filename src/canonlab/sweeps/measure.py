"""How long runs take here, by making their first steps, and an evaluation, in a folder that is thrown away."""

import dataclasses
import multiprocessing
import signal
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

import torch

from canonlab.checks import seconds_since
from canonlab.errors import Failed, InputError, Interrupted
from canonlab.models.cost import PASSES, Cost, cost
from canonlab.models.decoder import Decoder
from canonlab.training.checkpoint import Checkpoint, SafetensorsStore, training_tensors
from canonlab.training.config import RunConfig
from canonlab.training.evaluation import evaluate
from canonlab.training.loop import train
from canonlab.training.optimizer import build_optimizer
from canonlab.training.plan import Plan, plan_run
from canonlab.training.run import RunFolder, make_run

ENOUGH, STEPS, FIRST = 1.0, (2, 50), 2
"""Seconds of steps that are measured, how many these are at least and at most, and how many before don't count."""

EVALUATION = 0.3
"""Seconds of an evaluation that is long enough to tell what a window takes."""

MOST_FLOPS = 5e10
"""Of a step that is made for a measurement: a second of a core, or so."""

PATIENCE = 40.0
"""Seconds after which what hasn't been measured isn't waited for."""


@dataclass(frozen=True)
class Size:
    """What the time of a kind of run is scaled by: FLOPs of a step and of a window's evaluation, and parameters."""

    step: int
    window: int
    parameters: int


def size(plan: Plan, found: Cost) -> Size:
    """The size of a run whose model costs that much."""
    window = found.flops_per_token * plan.task.context
    return Size(PASSES * plan.config.training.batch * window, window, found.parameters)


@dataclass(frozen=True)
class Seconds:
    """What parts of a run take.

    That is: all up to the first step's end; what that takes more in the first such run of a process; any other step; an
    evaluation per window; a checkpoint.
    """

    start: float
    first: float
    step: float
    window: float
    save: float

    def of(self, plan: Plan) -> float:
        """A run of this kind, all in all, but `first`. Any evaluation may be the best so far, which is saved."""
        training = plan.config.training
        evaluations = -(-plan.steps // training.eval_every)
        saves = evaluations - (-plan.steps // training.checkpoint_every)
        steps, windows = plan.steps * self.step, evaluated_windows(plan) * self.window
        return self.start + steps + saves * self.save + windows

    def times(self, factor: float) -> "Seconds":
        """All of them times a factor."""
        return Seconds(*(factor * seconds for seconds in dataclasses.astuple(self)))

    def scaled(self, of: Size, to: Size) -> "Seconds":
        """Those of a kind of the size `to`, when these are those of a kind of the size `of`."""
        return dataclasses.replace(
            self,
            step=self.step * to.step / of.step,
            window=self.window * to.window / of.window,
            save=self.save * to.parameters / of.parameters,
        )


def evaluated_windows(plan: Plan) -> int:
    """Windows of all evaluations of a run."""
    training = plan.config.training
    return -(-plan.steps // training.eval_every) * training.eval_windows + _final_windows(plan)


def _final_windows(plan: Plan) -> int:
    training = plan.config.training
    return training.final_windows or plan.task.default_windows or training.eval_windows


def kind(plan: Plan) -> str:
    """What runs have in common that take as long a step: all but the seed, rates and schedules."""
    training = plan.config.training
    alike = (training.batch, training.microbatch, training.optimizer, training.isolate, bool(training.clip))
    return repr((plan.asked.task, plan.decoder, plan.backend, alike))


class _Enough(Exception):
    pass


class _Watch:
    """A listener that notes when each step ends, and ends the run when `most` are made, or that is enough."""

    def __init__(self, most: int = FIRST + STEPS[1]) -> None:
        self.most = most
        self.ends = [time.perf_counter()]

    def start(self, run: RunFolder, step: int) -> None:
        """See training.loop.Listener."""

    def record(self, record: dict[str, Any]) -> None:
        """See training.loop.Listener."""
        self.ends.append(time.perf_counter())
        done = len(self.ends) - 1
        if done >= self.most or (done >= FIRST + STEPS[0] and self.ends[-1] - self.ends[FIRST] > ENOUGH):
            raise _Enough

    def message(self, text: str) -> None:
        """See training.loop.Listener."""

    @property
    def first(self) -> float:
        """Seconds until the first step is done."""
        return self.ends[1] - self.ends[0]

    @property
    def step(self) -> float:
        """Seconds of a step, the first ones aside: the mean, as what disturbs some now will disturb some of a run."""
        return (self.ends[-1] - self.ends[FIRST]) / (len(self.ends) - 1 - FIRST)


def measure(plan: Plan, threads: int | None = None) -> Seconds:
    """What the parts of a run take on this machine, with `threads` if they are given.

    Blocks run eagerly: to compile them takes longer than is to be waited for, and saves a few hundredths of a step on a
    CPU. Where a step would take too long, a smaller one is made, and its time scaled by the FLOPs.
    """
    backend = dataclasses.replace(plan.backend, compile=False, threads=threads or plan.backend.threads)
    plan = dataclasses.replace(plan.trained, backend=backend)
    small = _smaller(plan)
    cold, warm = _steps(small, _Watch(1)), _steps(small, _Watch())
    with backend.working():
        model = backend.place(small.decoder.build())
        found = Seconds(
            warm.first, max(0.0, cold.first - warm.first), warm.step, _window(small, model), _save(small, model)
        )
    return found.scaled(_size(small), _size(plan))


def _size(plan: Plan) -> Size:
    return size(plan, cost(plan.decoder, plan.task.context, plan.backend.device))


def _smaller(plan: Plan) -> Plan:
    """The plan, or where a step of it takes too long, one of fewer windows; if need be, of one block of each kind."""
    full = _size(plan)
    if full.step <= MOST_FLOPS:
        return plan
    decoder, training = plan.decoder, plan.config.training
    if PASSES * full.window > MOST_FLOPS:
        decoder = dataclasses.replace(decoder, layers=min(decoder.layers, len(decoder.pattern)))
    window = _size(dataclasses.replace(plan, decoder=decoder)).window
    batch = max(1, min(training.microbatch or training.batch, int(MOST_FLOPS / (PASSES * window))))
    fewer = dataclasses.replace(training, batch=batch, microbatch=0)
    return dataclasses.replace(plan, decoder=decoder, config=dataclasses.replace(plan.config, training=fewer))


def _steps(plan: Plan, watch: _Watch) -> _Watch:
    """Real training, which is thrown away."""
    training = dataclasses.replace(
        plan.config.training, steps=10**6, log_every=1, eval_every=10**6, checkpoint_every=10**6
    )
    config = dataclasses.replace(plan.config, training=training)
    with tempfile.TemporaryDirectory(prefix="canonlab-") as folder:
        run = make_run(dataclasses.replace(plan, config=config), Path(folder) / "run")
        watch.ends = [time.perf_counter()]
        with suppress(_Enough):
            train(run, watch)
    return watch


def _window(plan: Plan, model: Decoder) -> float:
    """Seconds of an evaluation per window: of as many as take long enough, after one that loads what it takes."""
    training = plan.config.training
    separator = plan.task.separator_id if training.isolate else None
    most = max(training.eval_windows, _final_windows(plan))
    windows = 1
    evaluate(model, plan.task, training.seed, windows, plan.backend, separator)
    while True:
        began = time.perf_counter()
        evaluate(model, plan.task, training.seed, windows, plan.backend, separator)
        took = seconds_since(began)
        if took > EVALUATION or windows == most:
            return took / windows
        windows = min(most, 4 * windows)


def _save(plan: Plan, model: Decoder) -> float:
    """Seconds of a checkpoint."""
    optimizer = build_optimizer(model, plan.config.training)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    with tempfile.TemporaryDirectory(prefix="canonlab-") as folder:
        began = time.perf_counter()
        SafetensorsStore(Path(folder) / "checkpoints").save("last", Checkpoint(training_tensors(model, optimizer), {}))
        return seconds_since(began)


class Measured(NamedTuple):
    """What processes found that measured at the same time.

    Seconds that a process takes before it can work; what runs take, None for those not measured in time; and how much
    of the time a process was computing: about 1 but where other work kept it from that. What others kept it waiting is
    taken off the seconds of CPU runs, which so are those on a machine that is left alone.
    """

    loading: float
    seconds: list[Seconds | None]
    share: float


class _Answer(NamedTuple):
    """What a process found of the config of that number, when it began, and the share of the time that it computed."""

    number: int
    began: float
    seconds: Seconds
    share: float


def measure_all(configs: Sequence[RunConfig], threads: int, workers: int, patience: float = PATIENCE) -> Measured:
    """What runs take while as many of them are made at once as a sweep would have workers, which disturb each other.

    The last ones have company as well: runs are measured again, and the mean is taken. InputError or Failed from a run
    that fails in its first steps.
    """
    asked = time.time()
    turns = [
        (turn % len(configs), configs[turn % len(configs)]) for turn in range(-(-len(configs) // workers) * workers)
    ]
    found: dict[int, list[Seconds]] = {}
    answers = []
    for answer in _answers([turns[worker::workers] for worker in range(workers)], threads, asked + patience):
        found.setdefault(answer.number, []).append(answer.seconds)
        answers.append(answer)
    share = statistics.fmean(answer.share for answer in answers) if answers else 1.0
    loading = min((answer.began for answer in answers), default=asked) - asked
    means = [_mean(found[number]) if number in found else None for number in range(len(configs))]
    return Measured(share * loading, means, share)


Turns = Sequence[tuple[int, RunConfig]]


def _answers(turns: Sequence[Turns], threads: int, until: float) -> Iterator[_Answer]:
    """What processes, each with its turns, answer until then. Afterwards they are gone, and their files too."""
    context = multiprocessing.get_context("spawn")
    crew = []
    listening: list[Connection] = []
    with tempfile.TemporaryDirectory(prefix="canonlab-") as folder:
        try:
            for each in turns:
                ours, theirs = context.Pipe(duplex=False)
                crew.append(context.Process(target=_work, args=(theirs, each, threads, folder), daemon=True))
                crew[-1].start()
                theirs.close()
                listening.append(ours)
            while listening and (left := until - time.time()) > 0:
                ready = wait(listening, left)
                for pipe in [each for each in listening if each in ready]:
                    try:
                        answer = pipe.recv()
                    except EOFError:
                        listening.remove(pipe)
                        continue
                    if isinstance(answer, Exception):
                        raise answer
                    yield answer
        finally:
            for process in crew:  # a run that is asked to stop would save itself first
                process.kill()
                process.join()


def _work(pipe: Connection, turns: Turns, threads: int, folder: str) -> None:
    """The process that measures: Ctrl-C is its parent's business, which ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tempfile.tempdir = folder
    with suppress(BrokenPipeError, Interrupted):
        try:
            for number, config in turns:
                pipe.send(_measured(number, config, threads))
        except (InputError, Failed) as error:
            pipe.send(type(error)(str(error)))


def _measured(number: int, config: RunConfig, threads: int) -> _Answer:
    began = time.time()
    backend = dataclasses.replace(config.backend, compile="off", threads=config.backend.threads or threads)
    plan = plan_run(dataclasses.replace(config, backend=backend))
    before = time.perf_counter(), time.process_time()
    found = measure(plan)
    share = min(1.0, (time.process_time() - before[1]) / seconds_since(before[0]))
    if plan.backend.device != "cpu":  # where waiting is for the device
        share = 1.0
    return _Answer(number, began, found.times(share), share)


def _mean(found: Sequence[Seconds]) -> Seconds:
    return Seconds(*(statistics.fmean(parts) for parts in zip(*map(dataclasses.astuple, found), strict=True)))
