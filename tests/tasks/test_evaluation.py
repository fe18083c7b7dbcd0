"""Any model can be asked for its predictions."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from canonlab.errors import InputError
from canonlab.tasks.copy import Copy
from canonlab.tasks.evaluation import evaluation_batches, predictor

IDS = np.array([[3, 1, 2, 0], [1, 1, 0, 2]], np.int32)


def echo(ids: Tensor) -> Tensor:
    """Logits that predict the token just seen."""
    assert ids.dtype == torch.int64 and torch.is_inference_mode_enabled()
    return nn.functional.one_hot(ids, 4).float()


class Echo(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.frozen = nn.Dropout().eval()
        self.free = nn.Dropout()
        self.modes: list[bool] = []

    def forward(self, ids: Tensor) -> SimpleNamespace:
        self.modes.append(self.training or self.free.training)
        return SimpleNamespace(logits=echo(ids) * self.weight)


def test_predictions_stand_at_their_targets() -> None:
    with predictor(echo, 4) as predict:
        assert predict(IDS).tolist() == [[-1, 3, 1, 2], [-1, 1, 1, 0]]


def test_padded_vocabularies_are_allowed_and_can_only_be_wrong() -> None:
    with predictor(lambda ids: nn.functional.pad(echo(ids), (0, 4), value=9.0), 4) as predict:
        assert predict(IDS)[:, 1:].min() >= 4


def test_modules_are_evaluated_in_eval_mode_and_restored() -> None:
    model = Echo()
    with pytest.raises(RuntimeError, match="stop"), predictor(model, 4) as predict:
        assert predict(IDS).tolist() == [[-1, 3, 1, 2], [-1, 1, 1, 0]]
        raise RuntimeError("stop")
    assert model.modes == [False]
    assert (model.training, model.frozen.training, model.free.training) == (True, False, True)


def test_modules_get_ids_where_their_parameters_are() -> None:
    class OnMeta(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.empty(4, 4, device="meta"))

        def forward(self, ids: Tensor) -> Tensor:
            assert ids.device.type == "meta"
            return torch.zeros(*IDS.shape, 4)

    with predictor(OnMeta(), 4) as predict:
        assert predict(IDS)[:, 1:].tolist() == [[0] * 3] * 2


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        (torch.zeros(2, 4, 3), r"shape \(2, 4, 3\): must be \(2, 4, 4\)"),
        (torch.zeros(2, 3, 4), r"shape \(2, 3, 4\)"),
        (torch.zeros(2, 4), r"shape \(2, 4\)"),
        ((torch.zeros(2, 4, 4),), "the model gave a tuple"),
        (SimpleNamespace(logits=None), "the model gave a NoneType"),
    ],
)
def test_wrong_outputs(output: object, complaint: str) -> None:
    with predictor(lambda _: output, 4) as predict, pytest.raises(InputError, match=complaint):
        predict(IDS)


def test_batches_are_the_evaluation_stream() -> None:
    task = Copy(N=3, context=9)
    batches = list(evaluation_batches(task, 5, 7, 3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert np.array_equal(np.concatenate(batches), task.windows(5, 0, 7, "eval").tokens)
    for windows, batch, field in ((0, 3, "windows"), (3, 0, "batch")):
        with pytest.raises(InputError, match=f"{field} = 0"):
            next(evaluation_batches(task, 5, windows, batch))
