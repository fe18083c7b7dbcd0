"""What all tasks share: vocabularies, streams, checks."""

import numpy as np
import pytest

from canonlab.errors import InputError
from canonlab.tasks.base import Vocabulary, Windows, plain_ids, require_token_ids
from canonlab.tasks.catalog import build_task
from canonlab.tasks.copy import Copy

TASK = Copy(N=4, context=12)
WORDS = Vocabulary([("<bos>", "special", None), ("7", "number", 7)])


def test_vocabulary() -> None:
    assert [token.id for token in WORDS] == [0, 1] and len(WORDS) == 2
    assert WORDS.id("7") == 1 and WORDS[1].value == 7
    assert WORDS.decode(np.array([1, 0])) == "7 <bos>"
    assert WORDS.names([1, np.int32(0), 2, -1, True, "x", 1.0]) == ["7", "<bos>", "?2", "?-1", "?True", "?'x'", "?1.0"]
    with pytest.raises(ValueError, match="same name"):
        Vocabulary([("a", "special", None), ("a", "name", None)])


def test_token_ids() -> None:
    assert require_token_ids("prompt", np.array([1, 0], np.int32), WORDS) == [1, 0]
    for wrong in (2, -1, 1.0, True, "1", None):
        with pytest.raises(InputError, match=r"prompt\[1\] = .*: must be a token id from 0 to 1"):
            require_token_ids("prompt", [0, wrong], WORDS)
    assert plain_ids([np.int64(5)]) == [5]


def test_stream_keys_follow_the_identity() -> None:
    keys = {task.stream_key(seed) for task in (TASK, Copy(4, 13), Copy(5, 12)) for seed in (0, 1)}
    assert len(keys) == 6 and all(0 <= key < 2**64 for key in keys)
    assert TASK.stream_key(0) == Copy(N=4, context=12).stream_key(0)


@pytest.mark.parametrize(
    ("seed", "start", "count", "split", "complaint"),
    [
        (-1, 0, 1, "train", "seed = -1: must be an integer of at least 0"),
        (0.5, 0, 1, "train", "seed = 0.5"),
        (0, -1, 1, "train", "start = -1"),
        (0, 2**62, 1, "train", "start = .* to 4611686018427387903"),
        (0, 0, -1, "train", "count = -1"),
        (0, 0, 1, "evaluation", "unknown split 'evaluation'; did you mean 'eval'"),
    ],
)
def test_wrong_addresses(seed: int, start: int, count: int, split: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        TASK.windows(seed, start, count, split)  # type: ignore[arg-type]


def test_the_last_windows_and_none() -> None:
    assert TASK.windows(0, 2**62 - 2, 2).tokens.shape == (2, 12)
    assert TASK.windows(0, 0, 0).tokens.shape == (0, 12)


def test_a_role_that_readers_have_no_colour_for() -> None:
    with pytest.raises(InputError, match="unknown role of the token 'a' 'digit' .allowed: length, name"):
        Vocabulary([("a", "digit", None)])  # type: ignore[list-item]


def test_arrays_that_kernels_cannot_write() -> None:
    tokens, mask = TASK.windows(0, 0, 4)
    for wrong in (
        Windows(tokens.astype(np.int64), mask),
        Windows(tokens, mask.astype(np.int32)),
        Windows(tokens[::2], mask[::2]),
        Windows(tokens[:, :6], mask[:, :6]),
        Windows(tokens, mask[:2]),
        Windows(tokens[0], mask[0]),
    ):
        with pytest.raises(ValueError, match=r"C-contiguous arrays \(count, 12\)"):
            TASK.fill(wrong, 0, 0)


@pytest.mark.parametrize("same", [{"N": 8, "K": 4}, {"N": 8.0, "K": "4"}, {"N": "8", "K": 4.0}])
def test_one_value_has_one_meaning(same: dict[str, object]) -> None:
    task = build_task("depo1", {**same, "context": 256})
    assert task.parameters == build_task("depo1", {"N": 8, "K": 4, "context": 256}).parameters
    assert task.stream_key(0) == build_task("depo1", {"N": 8, "K": 4, "context": 256}).stream_key(0)
