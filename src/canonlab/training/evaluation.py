"""A task's evaluation of a decoder, under what a run is computed with."""

from contextlib import nullcontext
from functools import partial

import torch

from canonlab.checks import of_the_user
from canonlab.models.decoder import Decoder
from canonlab.models.generate import Isolated, generate
from canonlab.tasks.base import Evaluation, Task
from canonlab.training.backend import Backend


def evaluate(
    model: Decoder, task: Task, seed: int, windows: int | None, backend: Backend, separator: int | None = None
) -> Evaluation:
    """A task's evaluation of a decoder under a run's backend; blocks run eagerly, for any batch shape.

    A model that was trained on isolated instances, which begin with the token `separator`, is shown them so here too.
    """
    eager = torch.compiler.set_stance("force_eager") if backend.compile else nullcontext()
    seen = model if separator is None else Isolated(model, separator)
    with eager, backend.autocast():
        found = task.evaluate(seen, seed=seed, windows=windows, generate=partial(generate, model, separator=separator))
    with of_the_user(f"the evaluation of the task {task.name}"):
        found.plain()  # what a user's own task finds may be anything, and is to be found out here
    return found
