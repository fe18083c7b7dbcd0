"""Any model can be asked for its predictions."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from canonlab.errors import InputError
from canonlab.models.config import ModelConfig
from canonlab.models.generate import generate
from canonlab.tasks.copy import Copy
from canonlab.tasks.evaluation import evaluation_batches, forward, generator, predictor

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


def test_logits_stand_at_their_inputs() -> None:
    with forward(echo, 4) as logits_of:
        assert logits_of(IDS).argmax(-1).tolist() == IDS.tolist()


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


PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10], [12, 11]]


def test_generating_from_logits_equals_cached_generation() -> None:
    model = ModelConfig(size="2L32D4H", canon="ABCD").decoder(13).build().double()
    for parameter in model.parameters():
        parameter.data.mul_(8)
    with generator(model, 13) as write:
        for stop in (None, 0, 3, 7):
            assert write(PROMPTS, 12, stop) == generate(model, PROMPTS, 12, stop)
            drawn = write(PROMPTS * 5, 12, stop, temperature=0.5, seed=3)
            assert drawn == generate(model, PROMPTS * 5, 12, stop, temperature=0.5, seed=3)
            assert len(set(map(tuple, drawn))) > 4 and drawn != write(PROMPTS * 5, 12, stop, temperature=0.5, seed=4)
        assert write(PROMPTS, 0) == [[], [], [], []]


def test_generation_stops_when_all_have_stopped() -> None:
    """A model that counts up: the last prompt to reach 9 takes six passes."""
    passes = []

    def count_up(ids: Tensor) -> Tensor:
        passes.append(ids.shape)
        return nn.functional.one_hot(ids + 1, 99).float()

    with generator(count_up, 90) as write:
        assert write([[7], [5, 6], [3]], 50, stop=9) == [[8, 9], [7, 8, 9], [4, 5, 6, 7, 8, 9]]
    assert passes == [(3, 2 + step) for step in range(6)]
    with generator(lambda ids: echo(ids)[:, :-1], 4) as write, pytest.raises(InputError, match="the model's logits"):
        write([[1, 2]], 3)


def test_a_given_generate_is_used_as_it_is() -> None:
    def given(*_: object, **__: object) -> list[list[int]]:
        return [[1]]

    with generator(echo, 4, given) as write:
        assert write is given


def test_generation_from_logits_runs_in_eval_mode() -> None:
    model = Echo()
    with generator(model, 4) as write:
        assert write([[2]], 3) == [[2, 2, 2]]
    assert model.modes == [False] * 3 and model.training and not model.frozen.training
