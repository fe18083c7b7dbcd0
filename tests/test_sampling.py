"""Tokens drawn from logits: each row by itself, and by the law."""

import numpy as np
import pytest
import torch
from torch import Tensor

from canonlab import sampling
from canonlab.errors import InputError
from canonlab.sampling import sample
from laws import assert_follows

PROMPTS = [[1, 2, 3], [4], [1, 2, 3], [3, 2, 1], [1, 2, 3, 0], [4]]
LOGITS = torch.tensor([0.0, 1.0, -1.0, 0.5, -torch.inf], dtype=torch.float64)


def draw(prompts: list[list[int]], seed: int = 0, max_new: int = 12, stop: int | None = None) -> list[list[int]]:
    """From logits that are the same everywhere, so that answers differ by their random numbers alone."""

    def logits_after(new: list[Tensor]) -> Tensor:
        return LOGITS.expand(len(prompts), -1)

    return sample(logits_after, prompts, max_new, stop, 1.0, seed)


def test_a_prompt_is_answered_alike_alone_and_in_any_batch() -> None:
    rows = draw(PROMPTS)
    for prompt, row in zip(PROMPTS[:2] + PROMPTS[3:5], rows[:2] + rows[3:5], strict=True):
        assert draw([prompt]) == [row]
    assert draw(PROMPTS[::-1])[::-1] == [rows[2], rows[5], rows[0], *rows[3:5], rows[1]], "equal prompts swap answers"
    assert draw([np.array(prompt, np.int32) for prompt in PROMPTS], np.int64(0)) == rows  # type: ignore[arg-type, misc]


def test_equal_prompts_and_other_seeds_get_other_answers() -> None:
    answers = [tuple(row) for seed in (0, 1, -1, 1 << 32, 1 << 64) for row in draw(PROMPTS, seed)]
    assert len(set(answers)) == len(answers)
    assert draw([[4]] * 7)[:5] == draw([[4]] * 5)


def test_a_shorter_answer_is_the_beginning_of_a_longer_one() -> None:
    rows = draw(PROMPTS)
    assert draw(PROMPTS, max_new=5) == [row[:5] for row in rows]
    stopped = draw(PROMPTS, stop=3)
    assert stopped == [row[: row.index(3) + 1] if 3 in row else row for row in rows]
    assert min(map(len, stopped)) < 12 and draw(PROMPTS, max_new=0) == [[]] * 6


def test_tokens_follow_the_law() -> None:
    """Over equal prompts, over prompts, over seeds, and along one row."""
    shares = LOGITS.softmax(-1)[:4].tolist()
    ways = [
        [row[0] for row in draw([[7]] * 2000, max_new=1)],
        [row[0] for row in draw([[i] for i in range(2000)], max_new=1)],
        [draw([[7]], seed, 1)[0][0] for seed in range(2000)],
        draw([[7]], max_new=2000)[0],
    ]
    for tokens in ways:
        assert_follows(np.bincount(tokens, minlength=4).tolist(), shares)


def test_a_token_without_a_share_is_never_drawn() -> None:
    shares = torch.tensor([[0.0, 0.1, 0.2, 0.0, 0.7, 0.0, 0.0]], dtype=torch.float64)
    points = [0.0, 0.0999, 0.1001, 0.2999, 0.3001, np.nextafter(1, 0), 1.0]
    found = [int(sampling._draw(shares, torch.tensor([point], dtype=torch.float64))) for point in points]
    assert found == [1, 1, 2, 2, 4, 4, 4]


@pytest.mark.parametrize(("logit", "temperature"), [(float("nan"), 1.0), (1.0, 1e-320)])
def test_what_cannot_be_drawn_from_is_refused(logit: float, temperature: float) -> None:
    with pytest.raises(InputError, match="^temperature = .*: logits / temperature must be finite"):
        sample(lambda _: torch.tensor([[0.0, logit]]), [[1]], 3, None, temperature, 0)
