"""What the runs of a recipe take besides arithmetic: time, memory and disk, on this machine or on GPUs of a kind."""

import contextlib
import dataclasses
import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from canonlab.errors import Failed
from canonlab.models.config import pattern_names
from canonlab.models.cost import Cost
from canonlab.models.memory import activations
from canonlab.results.words import plural
from canonlab.sweeps.forecast import training_flops
from canonlab.sweeps.gpus import FULL_WIDTH, GPU, UTILISATION, utilisation
from canonlab.sweeps.layout import Layout, free_memory, kept_layout, measured_layout
from canonlab.sweeps.measure import Seconds, Size, evaluated_windows, kind, measure_all, size
from canonlab.training.parts import DONE
from canonlab.training.plan import FLOAT_BYTES, Plan

TRAINED, SAVED = 4, 6
"""Numbers in memory for each parameter: itself, its gradient and two means; and on a CPU, while a checkpoint is saved,
the copy of it and of the means, and the file's content. What activations had then isn't given back for sure."""

BUSY = 0.9
"""The share of its time that a measuring process has to compute for the machine to count as its own."""

TRAIN_LINE, EVALUATION_LINE, FILES = 150, 1500, 10_000
"""Bytes of a log's lines, and of the small files of a run."""


@dataclass(frozen=True)
class Time:
    """Seconds until all runs are done, as many at once as there may be, and those of all runs together."""

    wall: float
    runs: float


@dataclass(frozen=True)
class Memory:
    """Bytes of the run that takes most, at its worst and beside the libraries, and its folder's name."""

    bytes: int
    run: str


@dataclass(frozen=True)
class Disk:
    """Bytes of all runs that are done, with their final weights, and while runs are made how many more at most."""

    done: int
    running: int


@dataclass(frozen=True)
class Estimate:
    """What runs take `at_once` of them on some machine, `all` of them and those that are `left`.

    Times are None when nothing was measured. `memory` is None where that of some run can't be counted; `room` is what
    there is. `notes` say what the numbers rest on, a line each.
    """

    where: str
    at_once: int
    gpu: str | None
    all: Time | None
    left: Time | None
    memory: Memory | None
    room: int
    disk: Disk
    notes: list[str]

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return dataclasses.asdict(self)


def here(
    plans: Sequence[Plan], costs: Sequence[Cost], states: Sequence[str], parent: Path, measuring: bool
) -> Estimate:
    """What runs take on this machine, in the layout that a sweep of them below `parent` would have.

    `measuring` makes first steps of some of them, which takes up to a minute, and tells the time. Nothing is written.
    """
    flops = [training_flops(plan, found) for plan, found in zip(plans, costs, strict=True)]
    memory = largest(plans, costs)
    taken = memory.bytes if memory else 0
    layout = kept_layout(parent, taken)
    if layout is None and (measuring or all(plan.asked.backend.threads for plan in plans)):
        layout = measured_layout(plans, flops, taken)
    gpus = torch.cuda.device_count() if plans[0].backend.device.startswith("cuda") else 0
    at_once = (layout or Layout(1, {}, taken)).workers(len(plans), gpus)
    every, left, notes = None, None, ["the time is not measured: `canonlab plan` does that"]
    if measuring and layout:
        seconds, firsts, loading, notes = _measured(plans, costs, flops, layout.threads, 1 if gpus else at_once)
        runs = [Run(*each) for each in zip(map(kind, plans), flops, seconds, strict=True)]
        every = _schedule(runs, firsts, at_once, loading)
        left = _schedule(_left(runs, states), firsts, at_once, loading)
    threads = f", {plural(layout.threads, 'thread')} each" if layout else " at most"
    return Estimate(
        f"this machine, {plural(at_once, 'run')} at once{threads}",
        at_once,
        None,
        every,
        left,
        memory,
        torch.cuda.mem_get_info()[0] if gpus else free_memory(),
        disk(plans, costs, at_once),
        notes,
    )


class Run(NamedTuple):
    """What decides when a run is made, and how long it takes."""

    kind: str
    flops: int
    seconds: float


def _left(runs: Sequence[Run], states: Sequence[str]) -> list[Run]:
    return [run for run, state in zip(runs, states, strict=True) if state != DONE]


def _schedule(runs: Sequence[Run], firsts: Mapping[str, float], workers: int, loading: float) -> Time:
    """Runs as workers take them, the largest first: each pays once for loading, and once for each kind that it meets.

    A command that starts workers has loaded the same before; and it loads about as much again for its report.
    """
    if not runs:
        return Time(0.0, 0.0)
    crew: list[tuple[float, int]] = [(loading, number) for number in range(workers)]
    met: list[set[str]] = [set() for _ in crew]
    for run in sorted(runs, key=lambda run: -run.flops):
        end, number = crew[0]
        new = 0.0 if run.kind in met[number] else firsts[run.kind]
        met[number].add(run.kind)
        heapq.heapreplace(crew, (end + new + run.seconds, number))
    around = loading * (2 if workers > 1 else 1)
    return Time(around + max(end for end, _ in crew), sum(run.seconds for run in runs))


def _measured(
    plans: Sequence[Plan], costs: Sequence[Cost], flops: Sequence[int], threads: int, workers: int
) -> tuple[list[float], dict[str, float], float, list[str]]:
    """Seconds of each run; by kind those that the first one takes more; those of loading; notes."""
    kinds: dict[str, list[int]] = {}
    for index, plan in enumerate(plans):
        kinds.setdefault(kind(plan), []).append(index)
    ordered = sorted(kinds, key=lambda name: -sum(flops[index] for index in kinds[name]))  # what matters most first
    examples = {name: plans[kinds[name][0]] for name in ordered}
    sizes = {name: size(plan, costs[kinds[name][0]]) for name, plan in examples.items()}
    loading, measured, share = measure_all([plan.asked for plan in examples.values()], threads, workers)
    known = {name: seconds for name, seconds in zip(ordered, measured, strict=True) if seconds}
    if not known:
        raise Failed("no run could be measured in time: the machine is busy, or the model large; try again, or --on")
    of_kinds = {name: known.get(name) or _by_the_nearest(name, examples, sizes, known) for name in ordered}
    seconds = [of_kinds[kind(plan)].of(plan) for plan in plans]
    notes = [f"measured: {plural(len(known), 'kind')} of run, {workers} at once"]
    if rest := len(ordered) - len(known):
        notes.append(f"not measured: {plural(rest, 'kind')} more, by the FLOPs of the nearest one with the same mixers")
    if share < BUSY:
        notes.append(
            f"other work kept it waiting {1 - share:.0%} of the time, which is taken off: beside that work it is more"
        )
    if any(plan.backend.compile for plan in plans):
        notes.append(
            "blocks that a run compiles were measured eagerly; to compile them, which takes a minute, isn't in it"
        )
    return seconds, {name: each.first for name, each in of_kinds.items()}, loading, notes


def _by_the_nearest(name: str, examples: dict[str, Plan], sizes: dict[str, Size], known: dict[str, Seconds]) -> Seconds:
    """Scaled from the measured kind that is nearest in FLOPs: one with the same mixers if there is one."""

    def far(other: str) -> tuple[bool, float]:
        same = _mixers(examples[other]) == _mixers(examples[name])
        return not same, abs(math.log(sizes[other].step / sizes[name].step))

    nearest = min(known, key=far)
    return known[nearest].scaled(sizes[nearest], sizes[name])


def _mixers(plan: Plan) -> list[str]:
    return pattern_names(plan.config.model.model)


def on_gpus(plans: Sequence[Plan], costs: Sequence[Cost], states: Sequence[str], count: int, gpu: GPU) -> Estimate:
    """What runs take on `count` GPUs, one run on each: by published rates and an assumption."""
    plans = [_on(plan, gpu) for plan in plans]
    memory = largest(plans, costs)
    at_once = min(count, len(plans))
    runs = []
    for plan, found in zip(plans, costs, strict=True):
        flops = training_flops(plan, found)
        evaluating = evaluated_windows(plan) * size(plan, found).window
        runs.append(Run("", flops, (flops + evaluating) / gpu.rate(plan.decoder.width, plan.backend.precision)))
    return Estimate(
        f"{count} x {gpu.name}, one run on each",
        at_once,
        gpu.name,
        _schedule(runs, {"": 0.0}, at_once, 0.0),
        _schedule(_left(runs, states), {"": 0.0}, at_once, 0.0),
        memory,
        gpu.memory,
        disk(plans, costs, at_once),
        _assumptions(plans, gpu),
    )


def _on(plan: Plan, gpu: GPU) -> Plan:
    """A plan with the precision that it would have on that GPU."""
    asked = plan.asked.backend.precision
    precision = ("bf16" if gpu.bf16 > gpu.fp32 else "fp32") if asked == "auto" else asked
    return dataclasses.replace(plan, backend=dataclasses.replace(plan.backend, device="cuda", precision=precision))


def _assumptions(plans: Sequence[Plan], gpu: GPU) -> list[str]:
    shares = {plan.decoder.width: utilisation(plan.decoder.width) for plan in plans}
    by_width = ", ".join(f"{share:.0%} at width {width}" for width, share in sorted(shares.items()))
    peaks = {plan.backend.precision: getattr(gpu, plan.backend.precision) for plan in plans}
    rates = " and ".join(f"{peak / 1e12:,.4g} TFLOP/s ({precision})" for precision, peak in sorted(peaks.items()))
    return [
        f"assumed, never measured: {by_width} of {rates}, the published peak",
        f"(rule: {UTILISATION:.0%} from width {FULL_WIDTH} on, below in proportion to the width)",
        "not counted: loading, compiling, saving, small kernels, and what evaluations write token by token",
        "memory is that of PyTorch's eager kernels: compiled blocks and flash-linear-attention take less",
    ]


def largest(plans: Sequence[Plan], costs: Sequence[Cost]) -> Memory | None:
    """The run that takes most memory: of each kind of model, the one with most products in a pass is counted.

    None where one of them can't be.
    """
    ones: dict[str, tuple[int, Plan, Cost]] = {}
    for plan, found in zip(plans, costs, strict=True):
        name = repr((plan.config.model.model, plan.decoder.canon, plan.backend.precision))
        products = found.flops_per_token * plan.task.context * _pass(plan)
        if name not in ones or products > ones[name][0]:
            ones[name] = products, plan, found
    counted = []
    for _, plan, found in ones.values():
        if (taken := run_bytes(plan, found)) is None:
            return None
        counted.append(Memory(taken, plan.name))
    return max(counted, key=lambda each: each.bytes)


def run_bytes(plan: Plan, model: Cost) -> int | None:
    """Bytes of a run at its worst, beside the libraries; None where its model can't be counted without running it."""
    autocast = torch.autocast("cpu", torch.bfloat16) if plan.backend.precision == "bf16" else contextlib.nullcontext()
    found = activations(plan.decoder, _pass(plan), plan.task.context, autocast)
    if found is None:
        return None
    numbers = TRAINED + (SAVED if plan.backend.device == "cpu" else 0)
    return numbers * FLOAT_BYTES * model.parameters + sum(found)


def _pass(plan: Plan) -> int:
    """Windows in one forward and backward pass."""
    return plan.config.training.microbatch or plan.config.training.batch


def disk(plans: Sequence[Plan], costs: Sequence[Cost], at_once: int) -> Disk:
    """Bytes of run folders: of what is kept by default, and of the last and best checkpoints, with two means, of those
    being made, and of a third one that is being written."""
    weights = [FLOAT_BYTES * found.parameters for found in costs]
    logs = [
        plan.steps // plan.config.training.log_every * TRAIN_LINE
        + plan.steps // plan.config.training.eval_every * EVALUATION_LINE
        for plan in plans
    ]
    return Disk(sum(weights) + sum(logs) + FILES * len(plans), 3 * 3 * at_once * max(weights))
