"""Batched cached generation against the plain loop that recomputes everything."""

import math

import pytest
import torch

from canonlab.errors import InputError
from canonlab.models.config import ModelConfig
from canonlab.models.decoder import Decoder
from canonlab.models.generate import Isolated, generate


def plain_greedy(model: Decoder, prompt: list[int], max_new: int, stop: int | None) -> list[int]:
    ids = list(prompt)
    while len(ids) < len(prompt) + max_new:
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == stop:
            break
    return ids[len(prompt) :]


def test_batched_equals_one_by_one() -> None:
    model = ModelConfig(size="2L32D4H", canon="ABCD").decoder(13).build().double().eval()
    for parameter in model.parameters():
        parameter.data.mul_(8)
    prompts = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10], [12, 11]]
    for stop in (None, 3, 7):
        expected = [plain_greedy(model, prompt, 12, stop) for prompt in prompts]
        assert generate(model, prompts, 12, stop) == expected
    assert len({tuple(row) for row in generate(model, prompts, 12)}) > 1, "the prompts must lead to different answers"
    assert generate(model, prompts, 0) == [[], [], [], []]


@pytest.mark.parametrize("family", ["llama-rope", "gdn"])
def test_instances_of_a_prompt_are_isolated(family: str) -> None:
    model = ModelConfig(family, "2L32D2H", canon="none").decoder(10).build(3).double().eval()
    for parameter in model.parameters():
        parameter.data.mul_(4)
    isolated = Isolated(model, 0)
    prompts = [[0, 1, 2, 0, 3], [3], [4, 4, 4, 0, 6, 0, 8, 9], [0, 0]]
    alone = [[0, 3], [3], [0, 8, 9], [0]]
    for seen, last in zip(prompts, alone, strict=True):
        logits = isolated(torch.tensor([seen])).logits[0, -1]
        torch.testing.assert_close(logits, model(torch.tensor([last])).logits[0, -1])
    written = generate(model, prompts, 9, separator=0)
    assert written == [plain_greedy(isolated, prompt, 9, None) for prompt in prompts]  # type: ignore[arg-type]
    assert any(0 in row[:-1] for row in written), "new instances must be among what is written"
    assert written != generate(model, prompts, 9)


def test_draws_follow_the_logits_and_repeat_with_the_seed() -> None:
    model = ModelConfig(size="1L32D2H", canon="ABCD").decoder(5).build().double().eval()
    for parameter in model.parameters():
        parameter.data.mul_(8)
    prompt, draws = [1, 2, 3], 4000
    rows = generate(model, [prompt] * draws, 1, temperature=0.5, seed=3)
    assert rows == generate(model, [prompt] * draws, 1, temperature=0.5, seed=3)
    shares = torch.bincount(torch.tensor(rows).flatten(), minlength=5) / draws
    expected = torch.softmax(model(torch.tensor([prompt])).logits[0, -1] / 0.5, dim=-1)
    torch.testing.assert_close(shares.double(), expected, atol=0.03, rtol=0)


def test_draws_of_a_row_are_the_same_alone_and_in_a_batch() -> None:
    model = ModelConfig(size="1L32D2H", canon="ABCD").decoder(13).build().double().eval()
    prompts = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10], [12, 11]]
    rows = generate(model, prompts, 12, temperature=1.0, seed=3)
    assert [generate(model, [prompt], 12, temperature=1.0, seed=3)[0] for prompt in prompts] == rows
    assert generate(model, prompts[::-1] + prompts, 12, temperature=1.0, seed=3)[:4] == rows[::-1]


def test_what_cannot_be_continued_is_refused() -> None:
    model = ModelConfig(size="1L32D2H").decoder(5).build()
    for prompts, temperature, complaint in (
        ([], 0.0, r"^prompts = \[\]: must hold at least one$"),
        ([[1], []], 0.0, r"^prompts\[1\]: must have at least one token$"),
        ([[1]], -1.0, "^temperature = -1.0: must be 0 or more$"),
        ([[1]], math.nan, "^temperature = nan"),
    ):
        with pytest.raises(InputError, match=complaint):
            generate(model, prompts, 3, temperature=temperature)
