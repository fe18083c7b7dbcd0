"""The loss of marked tokens, and of each difficulty, against sums that are written out."""

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from canonlab.tasks.catalog import build_task
from canonlab.tasks.evaluation import teaching
from canonlab.tasks.metrics import better, lower_is_better

WINDOWS = 6
TASKS = {
    "copy": {"N": 5, "context": 30},
    "depo1": {"N": 6, "K": 4, "V": 4, "context": 90},
    "brevo1": {"N": 6, "context": 60},
    "mano": {"L": 3, "context": 40},
    "lano-cfg3f": {"context": 96},
    "capo": {"N": 20, "context": 128},
    "biod": {"N": 20, "T": 9, "D": 5, "context": 64},
    "capo-questions": {"N": 20, "context": 128},
}


def some(size: int) -> Callable[[Tensor], Tensor]:
    """A model whose logits depend on the last token alone."""
    return lambda ids: torch.sin(ids[..., None] + torch.arange(size) * 0.7)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_reports_it_per_marked_token(name: str) -> None:
    task = build_task(name, TASKS[name])
    logits = some(len(task.vocabulary))
    found = task.evaluate(logits, seed=3, windows=WINDOWS).metrics["loss"]
    total, count = 0.0, 0
    for tokens, mask in zip(*task.windows(3, 0, WINDOWS, "eval"), strict=True):
        scores = torch.log_softmax(logits(torch.from_numpy(tokens.astype(np.int64))).double(), dim=-1)
        for position in np.flatnonzero(mask):
            total -= float(scores[position - 1, tokens[position]])
            count += 1
    assert found.count == count and found.value == pytest.approx(total / count, rel=1e-5)
    assert found.low < found.value < found.high and found.clusters == WINDOWS and found.right is None


def test_the_loss_of_depos_answers_by_their_hops() -> None:
    task = build_task("depo1", TASKS["depo1"])
    logits = some(len(task.vocabulary))
    metrics = task.evaluate(logits, seed=3, windows=WINDOWS).metrics
    names = [token.name for token in task.vocabulary]
    losses = defaultdict[str, list[float]](list)
    for tokens in task.windows(3, 0, WINDOWS, "eval").tokens:
        scores = torch.log_softmax(logits(torch.from_numpy(tokens.astype(np.int64))).double(), dim=-1)
        hop, answer, inside = "", list[float](), False
        for position, token in enumerate(tokens):
            name = names[token]
            if name.startswith("<"):
                inside, answer = name == "<ans>", []
                hop = name if name.startswith("<query_") else hop
            elif inside:
                answer.append(-float(scores[position - 1, token]))
                if token >= task.names.end.start:  # type: ignore[attr-defined]
                    losses[hop] += answer
                    inside = False
    for k in task.evaluated_hops:  # type: ignore[attr-defined]
        expected = losses[f"<query_{k}>"]
        assert metrics[f"loss_k{k}"].count == len(expected) > 0
        assert metrics[f"loss_k{k}"].value == pytest.approx(np.mean(expected), rel=1e-5)


def test_nothing_is_lost_where_nothing_precedes() -> None:
    with teaching(lambda ids: torch.zeros(*ids.shape, 4), 4) as teach:
        taught = teach(np.array([[1, 2, 3]], np.int32))
    assert taught.loss[0, 0] == 0 and taught.best[0, 0] == -1
    assert taught.loss[0, 1:] == pytest.approx([np.log(4)] * 2)


def test_less_of_a_loss_is_better() -> None:
    assert all(map(lower_is_better, ("loss", "loss_k4", "loss_deeper", "kl")))
    assert not any(map(lower_is_better, ("accuracy", "bits", "lossless_share", "token_accuracy", "first_1")))
    assert better("loss", 0.1, 0.2) and better("accuracy", 0.2, 0.1) and not better("loss", 0.2, 0.2)
