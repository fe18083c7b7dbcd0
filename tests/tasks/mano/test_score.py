"""Judging answers to Mano's expressions."""

import numpy as np
import pytest

from canonlab.errors import InputError
from canonlab.tasks.base import SPLITS, Split
from canonlab.tasks.mano import Mano

TASK = Mano(L=3, context=40)
WORDS = TASK.vocabulary


def ids(text: str) -> list[int]:
    return [WORDS.id(word) for word in text.split()]


PROMPT = "<bos> <len_3> + * 7 9 - 3 22 <ans>"


@pytest.mark.parametrize("split", SPLITS)
def test_generated_answers_are_right_and_changed_ones_wrong(split: Split) -> None:
    task = Mano(L=10, context=1024)
    for tokens in task.windows(4, 0, 20, split).tokens:
        stop = int((tokens == 1).argmax()) + 1
        prompt, right = tokens[:stop], int(tokens[stop])
        assert task.score(prompt, [right]) == (True, f"the value is {right - 5}")
        assert task.score(prompt, np.array([right])).right
        for wrong in ([], [right, right], [right, 0], [0, right], [right - 1], [right + 1], [float(right)], [-right]):
            assert not task.score(prompt, wrong).right


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ([5 + 21], "the value is 21"),
        ([], "empty answer: the value is 21"),
        ([5 + 20], "the value is 21, not '20'"),
        ([5 + 21, 0], "trailing tokens in '21 <bos>': the value is 21 and nothing more"),
        ([99], "the value is 21, not '?99'"),
        ([True], "the value is 21, not '?True'"),
    ],
)
def test_reasons(answer: list[int], why: str) -> None:
    """7 * 9 + (3 - 22) = 44 = 21 modulo 23."""
    assert TASK.score(ids(PROMPT), answer) == (why == "the value is 21", why)


def test_the_left_operand_comes_first() -> None:
    assert TASK.score(ids("<bos> <len_2> - - 1 2 3 <ans>"), [5 + 19]).right
    assert TASK.score(ids("<bos> <len_2> - 1 - 2 3 <ans>"), [5 + 2]).right


@pytest.mark.parametrize(
    ("prompt", "complaint"),
    [
        ("", r"prompt\[0\]: must be <bos>, not the prompt's end"),
        ("<ans>", r"prompt\[0\]: must be <bos>, not '<ans>'"),
        ("<bos>", r"prompt\[1\]: must be a <len_l>, not the prompt's end"),
        ("<bos> + 1 2 <ans>", r"prompt\[1\]: must be a <len_l>, not '\+'"),
        ("<bos> <len_1> + 1 <ans>", r"prompt\[4\]: must be an operator or a number, not '<ans>'"),
        ("<bos> <len_1> <ans>", r"prompt\[2\]: must be an operator or a number, not '<ans>'"),
        ("<bos> <len_1> + 1 2 3 <ans>", r"prompt\[5\]: must be <ans>, not '3'"),
        ("<bos> <len_1> + 1 2", r"prompt\[5\]: must be <ans>, not the prompt's end"),
        ("<bos> <len_2> + 1 2 <ans>", r"prompt\[1\]: must be <len_1>, the expression's operators, not '<len_2>'"),
        ("<bos> <len_1> 1 <ans>", r"prompt\[1\]: must be <len_0>, the expression's operators, not '<len_1>'"),
        ("<bos> <len_1> + 1 2 <ans> 3", r"prompt\[6\]: must be the prompt's end, not '3'"),
    ],
)
def test_malformed_prompts(prompt: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        TASK.score(ids(prompt), [5])
    assert "\n" not in str(caught.value)


def test_unknown_ids_in_a_prompt() -> None:
    for wrong in (99, -1, 1.0, True, "<bos>"):
        with pytest.raises(InputError, match=r"prompt\[1\] = .*: must be a token id from 0 to 30"):
            TASK.score([0, wrong], [])  # type: ignore[list-item]
