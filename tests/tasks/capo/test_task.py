"""Capo: parameters, vocabulary, identity and what users are told."""

import dataclasses

import numpy as np
import pytest

from canonlab.errors import InputError
from canonlab.tasks.capo import Capo
from canonlab.tasks.capo.pieces import Pieces
from canonlab.tasks.catalog import build_task
from plain_capo import plain_person

TASK = Capo(N=100)


def test_presets() -> None:
    assert build_task("capo") == Capo(N=50_000, simple=False, tokenizer="own", context=512)
    assert build_task("capo-simple", {"N": 7}) == Capo(N=7, simple=True)


def test_people() -> None:
    found = TASK.people(3, np.array([5, 0, 99]))
    assert found.tolist() == [plain_person(TASK.stream_key(3), index) for index in (5, 0, 99)]
    assert not np.array_equal(found, TASK.people(4, np.array([5, 0, 99])))
    assert TASK.people(3, np.arange(0)).shape == (0, 11)
    for wrong in ([-1, 2], [100]):
        with pytest.raises(InputError, match=r"person = (-1|100): must be an integer from 0 to 99"):
            TASK.people(3, np.array(wrong))
    with pytest.raises(InputError, match="seed = -1"):
        TASK.people(-1, np.arange(3))


def test_a_hundred_million_people_need_no_table() -> None:
    task = Capo(N=100_000_000)
    last = task.people(0, np.array([99_999_999]))
    assert last.tolist() == [plain_person(task.stream_key(0), 99_999_999)]
    assert task.windows(0, 10**12, 2).mask.any() and 0 < task.padding < 0.015


def test_vocabulary() -> None:
    tokens = TASK.vocabulary
    assert tokens[0].name == "<eos>" and tokens[0].role == "special"
    assert {token.role for token in tokens[1:]} == {"text"}
    used = np.unique(np.concatenate([[0], TASK.pieces.tokens]))
    assert used.tolist() == list(range(len(tokens))), "no embedding row is unused"


def test_identity_holds_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tokens of the same name are another stream; a name for the same tokens is not."""
    assert TASK.identity["parameters"].keys() == {"N", "simple", "pieces"}
    pieces = TASK.pieces
    keys = {task.stream_key(0) for task in (TASK, Capo(N=100, simple=True), Capo(N=101), Capo(N=100, context=511))}
    for field in ("tokens", "start", "base"):
        array = getattr(pieces, field).copy()
        array[-1] += 1
        other: Pieces = dataclasses.replace(pieces, **{field: array})
        monkeypatch.setattr("canonlab.tasks.capo.task.load_pieces", lambda *names, other=other: other)
        keys.add(Capo(N=100).stream_key(0))
    monkeypatch.setattr("canonlab.tasks.capo.task.load_pieces", lambda *names: dataclasses.replace(pieces))
    assert len(keys) == 7 and Capo(N=100, tokenizer="elsewhere").stream_key(0) == TASK.stream_key(0)


def test_variety_is_part_of_the_identity() -> None:
    """Of what was there before, nothing changes."""
    varied = (Capo(N=100, paraphrases=2), Capo(N=100, permute=False), Capo(N=100, paraphrases=2, permute=False))
    assert len({task.stream_key(0) for task in (TASK, *varied)}) == 4
    assert varied[2].identity["parameters"].keys() == {"N", "simple", "pieces", "paraphrases", "permute"}


def test_users_hear_of_much_padding() -> None:
    assert Capo(N=50_000).warnings() == [] and Capo(N=2048).warnings() == []
    [warning] = Capo(N=3).warnings()
    assert warning.startswith("N = 3: ") and warning.endswith("of the tokens fill up windows and aren't trained on")


def test_users_can_ask_for_the_padding() -> None:
    exposure, length, padding = Capo(N=20_480).facts()
    windows = 10 * Capo(N=2048).windows_per_exposure
    assert exposure == f"an exposure: {windows} windows, which show each of 20480 people once"
    average = float(TASK.lengths @ np.arange(len(TASK.lengths)))
    assert length == f"a biography: {average:.1f} tokens on average, <eos> included"
    assert padding == f"padding: {100 * Capo(N=2048).padding:.2f}% of the tokens"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"N": 0}, "N = 0: must be an integer from 1 to 100000000"),
        ({"N": 100_000_001}, "N = 100000001"),
        ({"N": 1e6 + 0.5}, "N = 1000000.5: must be an integer"),
        ({"context": 1}, "context = 1: must be an integer of at least 2"),
        (
            {"paraphrases": -1},
            "paraphrases = -1: must be an integer",
        ),
        ({"paraphrases": 1, "simple": True}, "paraphrases = 1: must be 0 where simple, which is 1 of them, is true"),
        ({"permute": "maybe"}, "permute = 'maybe': must be true or false"),
        ({"simple": 1}, "simple = 1: must be true or false"),
        ({"tokenizer": "gpt3"}, "tokenizer = 'gpt3': must be own, gpt2 or"),
        ({"tokenizer": 2}, "tokenizer = 2: must be text"),
        ({"K": 3}, "unknown task parameter 'K'"),
    ],
)
def test_wrong_settings(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        build_task("capo", settings)
    assert "\n" not in str(caught.value)
