"""A task's evaluation of a decoder, under what a run is computed with."""

import dataclasses
from functools import partial

from canonlab.checks import of_the_user
from canonlab.errors import unknown
from canonlab.models.decoder import Decoder
from canonlab.models.generate import Isolated, generate
from canonlab.tasks.base import Evaluation, Task
from canonlab.tasks.evaluation import marked_loss
from canonlab.tasks.metrics import AREA
from canonlab.training.backend import Backend

LOSS_WINDOWS, LOSS_BATCH = 256, 32
"""Of the loss of a user's own task that doesn't report it, and doesn't say how many windows its evaluations have."""


def evaluate(
    model: Decoder, task: Task, seed: int, windows: int | None, backend: Backend, separator: int | None = None
) -> Evaluation:
    """A task's evaluation of a decoder under a run's backend; blocks run eagerly, for any batch shape.

    A model that was trained on isolated instances, which begin with the token `separator`, is shown them so here too.
    """
    seen = model if separator is None else Isolated(model, separator)
    with backend.eagerly(), backend.autocast():
        found = task.evaluate(seen, seed=seed, windows=windows, generate=partial(generate, model, separator=separator))
        if "loss" not in found.metrics:  # of a user's own task
            count = windows or task.default_windows or LOSS_WINDOWS
            loss = marked_loss(task, seen, seed, count, LOSS_BATCH)
            found = dataclasses.replace(found, metrics={**found.metrics, **loss})
    with of_the_user(f"the evaluation of the task {task.name}"):
        found.plain()  # what a user's own task finds may be anything, and is to be found out here
    return found


def led_by(evaluation: Evaluation, metric: str) -> Evaluation:
    """The evaluation with another main metric, auto for its own; for an area under a curve, what is under it.

    InputError when it has none of that name.
    """
    if metric == "auto":
        return evaluation
    metric = metric.removeprefix(AREA)
    if metric not in evaluation.metrics:
        raise unknown("metric", metric, evaluation.metrics)
    rest = (name for name in evaluation.headline if name != metric)
    return dataclasses.replace(evaluation, headline=(metric, *rest))
