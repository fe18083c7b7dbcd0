"""Judging one answer to one Mano prompt, in plain Python and without the generator."""

from collections.abc import Sequence
from operator import add, mul, sub

from canonlab.errors import InputError
from canonlab.tasks.base import Token, Verdict, Vocabulary, plain_ids
from canonlab.tasks.mano.kernels import ANSWER, BOS, NUMBER
from canonlab.tasks.prompts import PromptReader

OPERATIONS = {"+": add, "-": sub, "*": mul}


def read_expression(vocabulary: Vocabulary, prompt: Sequence[int]) -> list[Token]:
    """The tokens between <len_l> and <ans> of a well-formed prompt."""
    reader = PromptReader(vocabulary, prompt)
    reader.expect(BOS)
    length = reader.read("a <len_l>", "length")
    expression: list[Token] = []
    missing = 1  # operands
    while missing:
        token = reader.read("an operator or a number", "operator", "number")
        missing += 1 if token.role == "operator" else -1
        expression.append(token)
    reader.expect(ANSWER)
    reader.end()
    operators = len(expression) // 2
    if operators != length.value:
        raise InputError(f"prompt[1]: must be <len_{operators}>, the expression's operators, not {length.name!r}")
    return expression


def solve(expression: Sequence[Token], modulus: int) -> int:
    """The value of an expression in prefix order."""
    values: list[int] = []
    for token in reversed(expression):
        if token.value is None:
            left, right = values.pop(), values.pop()
            values.append(OPERATIONS[token.name](left, right) % modulus)
        else:
            values.append(token.value)
    return values.pop()


def judge(vocabulary: Vocabulary, prompt: Sequence[int], answer: Sequence[int], modulus: int) -> Verdict:
    """Whether `answer` is exactly the value of the prompt's expression."""
    value = solve(read_expression(vocabulary, prompt), modulus)
    fact, given = f"the value is {value}", plain_ids(answer)
    if given == [NUMBER + value]:
        return Verdict(True, fact)
    if not given:
        return Verdict(False, f"empty answer: {fact}")
    shown = " ".join(vocabulary.names(answer))
    if given[0] == NUMBER + value:
        return Verdict(False, f"trailing tokens in {shown!r}: {fact} and nothing more")
    return Verdict(False, f"{fact}, not {shown!r}")
