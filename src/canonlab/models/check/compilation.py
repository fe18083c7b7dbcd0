"""Whether a mixer is one graph to a compiler, and whether that gives what the mixer gives."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from canonlab.checks import Broken, first_line
from canonlab.models.check.gradients import by_each, equal, size
from canonlab.models.check.subject import TIME, Subject
from canonlab.models.mixers.base import Mixer

FEW = 16
GROWTH = {128: 4.0, 512: 1.5}
"""Tokens, and how many times the operations for fewer a graph may have: a loop over tokens or chunks unrolls."""

CALLS = 3
"""After two of them nothing may be compiled anew. What a first call makes, the second one may find."""


class Graph(NamedTuple):
    """Operations by tokens, as far as they were counted; why it is none, and why it is none that scales."""

    operations: dict[int, int]
    breaks: str = ""
    grows: str = ""


def compiles(subject: Subject) -> str:
    """One graph without breaks, which hardly grows with time and gives the same outputs and gradients.

    A mixer that is none trains eagerly, which is no broken promise. But pieces that compile have to be right, too.
    """
    if not torch._dynamo.is_dynamo_supported():
        raise Broken("this PyTorch doesn't compile here", "", passed=None)
    graph = trace(subject)
    mixer, x = _form(subject), subject.tokens(time=FEW if graph.breaks or graph.grows else TIME)
    eager = found = _with_gradients(mixer, mixer, x)
    try:
        with _quiet():
            found = _with_gradients(mixer, _compiled(mixer, "aot_eager"), x)
    except Exception as error:  # compilers raise anything
        graph = Graph({}, graph.breaks or first_line(error))
    for a, b in zip(eager, found, strict=True):
        what = "compiled and eager outputs and gradients"
        equal(subject, a, b, size(a, eager[0].square()), what, "test your own operators")
    if graph.breaks:
        advice = "let nothing depend on values: no .item(), no `if` on tensors, no NumPy"
        raise Broken(f"trains eagerly only: {graph.breaks}", f"{EAGERLY}; to compile, {advice}", passed=None)
    if graph.grows:
        advice = "put the loop over time into an operator (see models/mixers/scan.py)"
        raise Broken(f"better trained eagerly: {graph.grows}", f"{EAGERLY}; to compile, {advice}", passed=None)
    counts = ", ".join(f"{count} at {time}" for time, count in graph.operations.items())
    return f"one graph; operations: {counts} tokens"


EAGERLY = "nothing: it trains with --compile off, which auto is for it"


def trace(subject: Subject) -> Graph:
    """What a compiler makes of the mixer's forward pass, without code being made of it."""
    mixer = _form(subject)
    operations: dict[int, int] = {}
    try:
        with _quiet():
            first, *_, last = _graphs(mixer, [subject.tokens(time=FEW, seed=seed) for seed in range(CALLS)])
            if len(first) != 1:
                _graphs(mixer, [subject.tokens(time=FEW)], fullgraph=True)  # which says why, except for .item()
                return Graph(operations, breaks=f"{len(first)} graphs, between which a value leaves its tensor")
            if last:
                return Graph(operations, breaks="each call is compiled anew, as some value of the module changes")
            operations[few := FEW] = first[0]
            for time, growth in GROWTH.items():
                ((operations[time],),) = _graphs(mixer, [subject.tokens(time=time)], fullgraph=True)
                if operations[time] > growth * operations[few]:
                    seen = f"{operations[few]} operations for {few} tokens, {operations[time]} for {time}"
                    return Graph(operations, grows=seen)
                few = time
    except Exception as error:  # compilers raise anything
        return Graph(operations, breaks=first_line(error))
    return Graph(operations)


def _form(subject: Subject) -> Mixer:
    return subject.build("B" if "B" in subject.points else "")


def _graphs(mixer: Mixer, inputs: list[Tensor], fullgraph: bool = False) -> list[list[int]]:
    """For each call, of what is compiled in it: the operations of each graph."""
    found: list[list[int]] = []

    def count(graph: torch.fx.GraphModule, _: Any) -> Any:
        found[-1].append(sum(node.op.startswith("call") for node in graph.graph.nodes))
        return graph.forward

    compiled = _compiled(mixer, count, fullgraph)
    for x in inputs:
        found.append([])
        compiled(x, None, None)
    return found


def _compiled(mixer: Mixer, compiler: Any, fullgraph: bool = False) -> Any:
    """The mixer compiled as a run does it; no compiler that is used here needs one of C."""
    torch._dynamo.reset()
    return torch.compile(mixer, backend=compiler, fullgraph=fullgraph, dynamic=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """What a compiler logs is said by the check."""
    log = logging.getLogger("torch._dynamo")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def _with_gradients(mixer: Mixer, call: nn.Module, x: Tensor) -> list[Tensor]:
    """Outputs, and the gradients of x and of all parameters."""
    x = x.clone().requires_grad_()
    y, _ = call(x, None, None)
    wanted = [x, *(p for p in mixer.parameters() if p.requires_grad)]
    return [y.detach(), *by_each(y.square(), wanted)]
