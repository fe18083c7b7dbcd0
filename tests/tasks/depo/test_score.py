"""Judging answers to Depo's queries."""

import numpy as np
import pytest

from canonlab.errors import InputError
from canonlab.tasks.base import SPLITS, Split
from canonlab.tasks.catalog import build_task
from canonlab.tasks.depo import Depo
from canonlab.tasks.depo.score import ordinal
from plain_depo import read_window

TASKS = [build_task("depo1"), build_task("depo2"), Depo(N=10, K=4, V=50, lengths=(1, 1), context=96)]
SMALL = Depo(N=4, K=5, V=3, lengths=(1, 2), context=80)
WORDS = SMALL.vocabulary


def ids(text: str) -> list[int]:
    return [WORDS.id(word) for word in text.split()]


CYCLE = "<bos> b2 a1 b1 a1 b1 a3 b2 a3 b2 b2"  # b2 -> a1 b1 -> a3 b2 -> b2
PROMPT = CYCLE + " <query_1> b2 <ans> a1 b1 <query_5> a1 b1 <ans>"


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", TASKS, ids=str)
def test_generated_answers_are_right_and_changed_ones_wrong(task: Depo, split: Split) -> None:
    rng = np.random.default_rng(0)
    judged = 0
    for window in task.windows(4, 0, 4, split).tokens:
        for query in (query for instance in read_window(task, window) for query in instance.queries if query.stop):
            prompt, answer = window[query.begin : query.start], window[query.start : query.stop]
            assert task.score(prompt, answer).right
            changed = answer.copy()
            changed[rng.integers(len(answer))] += rng.choice([-1, 1])
            for wrong in (changed, answer[:-1], [*answer, answer[-1]], [*answer, 0], [1, *answer], answer[::-1] - 1):
                assert not task.score(prompt, wrong).right
            judged += 1
    assert judged > 25


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("b2", "the 5th successor of 'a1 b1' is 'b2'"),
        ("", "empty answer: the 5th successor of 'a1 b1' is 'b2'"),
        ("a1 b1", "the 5th successor of 'a1 b1' is 'b2', not 'a1 b1'"),
        ("b2 b2", "trailing tokens in 'b2 b2': the 5th successor of 'a1 b1' is 'b2' and nothing more"),
    ],
)
def test_reasons(answer: str, why: str) -> None:
    verdict = SMALL.score(ids(PROMPT), ids(answer))
    assert verdict == (answer == "b2", why)


def test_unfinished_and_foreign_answers() -> None:
    prompt = ids(CYCLE + " <query_1> b2 <ans>")
    assert SMALL.score(prompt, ids("a1")).why == "unfinished answer 'a1': the 1st successor of 'b2' is 'a1 b1'"
    for wrong, shown in (([99], "?99"), ([7, "x"], "a1 ?'x'"), ([7.0, 10], "?7.0 b1"), ([True], "?True")):
        verdict = SMALL.score(prompt, wrong)
        assert not verdict.right and verdict.why.endswith(f"is 'a1 b1', not {shown!r}")


def test_earlier_queries_may_have_any_answer() -> None:
    assert SMALL.score(ids(CYCLE + " <query_1> b2 <ans> b3 <query_1> b2 <ans>"), ids("a1 b1")).right


@pytest.mark.parametrize(
    ("prompt", "complaint"),
    [
        ("", r"prompt\[0\]: must be <bos>, not the prompt's end"),
        ("b2 b1", r"prompt\[0\]: must be <bos>, not 'b2'"),
        ("<bos>", "prompt: 0 edges, must be 3 to N = 4"),
        ("<bos> b1 b2 b2 b1 <query_1> b1 <ans>", "prompt: 2 edges, must be 3 to N = 4"),
        ("<bos> a1 b1 b1 b1 b2 b2 b3 b3 a2 b1 a2 b1 a1 b1 <query_1> b1 <ans>", "prompt: 5 edges"),
        ("<bos> b1 b2 b2 b3 b3 <query_1> b1 <ans>", r"prompt\[6\]: no name where the target of an edge must be"),
        ("<bos> b1 b2 b2 b1 b3 a1 b3 <query_1> b1 <ans>", "not one directed cycle"),
        ("<bos> b1 b2 b2 b3 b3 b2 <query_1> b1 <ans>", "not one directed cycle"),
        ("<bos> b1 b1 b2 b3 b3 b2 <query_1> b1 <ans>", "not one directed cycle"),
        ("<bos> b1 b2 b2 b1 b3 a1 b3 a1 b3 b3 <query_1> b1 <ans>", "not one directed cycle"),
        ("<bos> b1 b2 b1 b3 b3 b1 <query_1> b1 <ans>", "prompt: 'b1' has two successors"),
        ("<bos> a1 a1 b1 b2 <query_1> b1 <ans>", r"prompt\[1\]: a name of 3 tokens, not 1 to 2, where the source"),
        ("<bos> b1 a2 <query_1> b1 <ans>", r"prompt\[2\]: an unfinished name where the target of an edge must be"),
        (CYCLE, r"prompt\[11\]: must be a <query_k>, not the prompt's end"),
        (CYCLE + " <query_1> b3 <ans>", "prompt: a query about 'b3', which is no node of the cycle"),
        (CYCLE + " <query_1> b2", r"prompt\[13\]: must be <ans>, not the prompt's end"),
        (CYCLE + " <query_1> <ans>", r"prompt\[12\]: no name where a queried node must be"),
        (CYCLE + " <query_1> b2 <ans> a1 b1", r"prompt\[16\]: must be a <query_k>, not the prompt's end"),
        (CYCLE + " <query_1> b2 <ans> <query_1> b2 <ans>", r"prompt\[14\]: no name where an earlier answer must be"),
        (PROMPT + " b2 <bos>", r"prompt\[21\]: must be a <query_k>, not '<bos>'"),
    ],
)
def test_malformed_prompts(prompt: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        SMALL.score(ids(prompt), ids("b2"))
    assert "\n" not in str(caught.value)


def test_unknown_ids_in_a_prompt() -> None:
    for wrong in (99, -1, 1.0, True, "<bos>"):
        with pytest.raises(InputError, match=r"prompt\[1\] = .*: must be a token id from 0 to 12"):
            SMALL.score([0, wrong], [])  # type: ignore[list-item]


def test_ordinals() -> None:
    said = " ".join(ordinal(k) for k in (1, 2, 3, 4, 11, 12, 13, 21, 22, 111))
    assert said == "1st 2nd 3rd 4th 11th 12th 13th 21st 22nd 111th"
