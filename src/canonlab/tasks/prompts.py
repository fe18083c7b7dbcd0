"""Reading a prompt from left to right, in plain Python, with InputErrors that name the position and what is wrong."""

from collections.abc import Sequence
from itertools import pairwise

from canonlab.errors import InputError
from canonlab.tasks.base import Token, Vocabulary, require_token_ids
from canonlab.tasks.names import Names


def instances(tokens: Sequence[int], first: int) -> list[list[int]]:
    """A window cut before every `first`, the token that begins an instance; the last part may lack its end, and a
    window inside of one instance has none."""
    starts = [position for position, token in enumerate(tokens) if token == first]
    return [list(tokens[start:stop]) for start, stop in pairwise([*starts, len(tokens)])]


class PromptReader:
    """A prompt's ids and the position of the next one to read. InputError for what is no id of the vocabulary."""

    def __init__(self, vocabulary: Vocabulary, prompt: Sequence[int]) -> None:
        self.vocabulary = vocabulary
        self.ids = require_token_ids("prompt", prompt, vocabulary)
        self.position = 0

    @property
    def done(self) -> bool:
        """Whether all is read."""
        return self.position == len(self.ids)

    def at(self, token: int) -> bool:
        """Whether `token` stands here."""
        return not self.done and self.ids[self.position] == token

    def expect(self, token: int) -> None:
        """Step over `token`."""
        if not self.at(token):
            raise self.error(self.vocabulary[token].name)
        self.position += 1

    def read(self, what: str, *roles: str) -> Token:
        """Step over a token of one of the `roles`; `what` describes these, for people."""
        if self.done or self.vocabulary[self.ids[self.position]].role not in roles:
            raise self.error(what)
        self.position += 1
        return self.vocabulary[self.ids[self.position - 1]]

    def read_name(self, names: Names, what: str) -> tuple[int, ...]:
        """Step over a name; `what` it names, for people."""
        try:
            name = names.read(self.ids, self.position)
        except ValueError as error:
            raise InputError(f"prompt[{self.position}]: {error} where {what} must be") from None
        self.position += len(name)
        return name

    def end(self) -> None:
        """Make sure that nothing is left."""
        if not self.done:
            raise self.error("the prompt's end")

    def error(self, allowed: str) -> InputError:
        """The error for what stands here instead of what is allowed."""
        here = "the prompt's end" if self.done else repr(self.vocabulary[self.ids[self.position]].name)
        return InputError(f"prompt[{self.position}]: must be {allowed}, not {here}")
