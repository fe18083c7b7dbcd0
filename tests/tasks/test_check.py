"""`check_task` passes the built-in tasks, and finds what is wrong with broken ones."""

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from canonlab.errors import InputError
from canonlab.plugins import load_plugin
from canonlab.tasks.base import Task
from canonlab.tasks.catalog import TASKS, build_task
from canonlab.tasks.check import CHECKS, Check, check_task

SMALL: dict[str, dict[str, Any]] = {
    "biod": {"N": 40, "T": 20, "D": 12},
    "copy": {"N": 6, "context": 30},
    "depo": {"N": 5, "K": 3, "V": 9, "lengths": [1, 2], "context": 90},
    "brevo": {"N": 6, "V": 4, "lengths": [1, 2], "context": 120},
    "mano": {"L": 3, "context": 40},
    "capo": {"N": 20},
}


QUICK = [name for name in CHECKS if name not in ("fresh process", "throughput")]
"""What takes no seconds."""


def by_name(task: Task) -> dict[str, Check]:
    return {check.name: check for check in check_task(task, windows=4, names=QUICK)}


@pytest.mark.parametrize("name", ["copy", "depo", "brevo1", "brevo2", "mano", "lano-cfg3f", "capo", "biod"])
def test_built_in_tasks_pass(name: str) -> None:
    settings = SMALL.get(name.rstrip("12"), {"context": 800})
    checks = by_name(build_task(name, settings))
    assert [check for check in checks.values() if not check.passed] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_presets_pass(name: str) -> None:
    task = build_task(name)
    unjudged = ["scorer"] if name == "capo-questions" else []  # what is right depends on the seed
    assert [check.name for check in check_task(task, seed=1, windows=2) if not check.passed] == unjudged


BASE = """
import dataclasses, itertools, random, threading, time
import numpy as np
from canonlab.tasks.base import *
from canonlab.tasks.copy import Copy

calls = itertools.count()

@dataclasses.dataclass(frozen=True)
class Broken(Copy):
    N: int = 6
    context: int = 30
"""

FILL = """
def fill(self, out, seed, start, split="train"):
    super().fill(out, seed, start, split)
"""

BROKEN = {
    "a hidden parameter": (
        "identity",
        """
        @property
        def identity(self):
            return {"name": "broken", "context": self.context}
        """,
    ),
    "an identity that is no JSON": ("identity", "extra: object = frozenset()"),
    "a role that doesn't exist": (
        "vocabulary",
        """
        vocabulary = property(lambda self: Vocabulary((str(i), "digit", None) for i in range(8)))
        """,
    ),
    "a vocabulary that lacks tokens": (
        "tokens",
        """
        vocabulary = property(lambda self: Vocabulary((str(i), "number", None) for i in range(7)))
        """,
    ),
    "marks of 2": ("mask", FILL + "    out.mask[:, 3] = 2"),
    "a marked first token": ("mask", FILL + "    out.mask[:, 0] = 1"),
    "no marks": ("mask", FILL + "    out.mask[:] = 0"),
    "the order of calls": ("by index", FILL + "    out.tokens[:, 3] = 2 + next(calls) % 6"),
    "the place in the batch": ("by index", FILL + "    out.tokens[1::2, 1] = 7"),
    "an entry that isn't written": (
        "by index",
        """
        def fill(self, out, seed, start, split="train"):
            before = out.mask[:, 7].copy()
            super().fill(out, seed, start, split)
            out.mask[:, 7] = before
        """,
    ),
    "a global generator, even if seeded": (
        "by index",
        FILL + "    random.seed(f'{seed} {split}')\n    out.tokens[:, 5] = random.randrange(2, 8)",
    ),
    "a scratch that threads share": (
        "threads",
        """
        shared = np.zeros((100, 30), np.int32)

        def fill(self, out, seed, start, split="train"):
            super().fill(out, seed, start, split)
            self.shared[: len(out.tokens)] = out.tokens
            time.sleep(0.001)
            out.tokens[:] = self.shared[: len(out.tokens)]
        """,
    ),
    "the order of a set of strings": (
        "fresh process",
        FILL + "    out.tokens[:, 3] = 2 + hash('canon') % 6\n    out.tokens[:, 4] = 2 + hash('lab') % 6\n"
        "    out.tokens[:, 5] = 2 + hash('task') % 6",
    ),
    "one stream for both splits": (
        "streams",
        """
        def fill(self, out, seed, start, split="train"):
            super().fill(out, seed, start, require_split(split) and "train")
        """,
    ),
    "one stream for all seeds": (
        "streams",
        """
        def fill(self, out, seed, start, split="train"):
            self.stream(out, seed, start, split)
            super().fill(out, 0, start, split)
        """,
    ),
    "a seed that isn't checked": (
        "bad arguments",
        """
        def fill(self, out, seed, start, split="train"):
            super().fill(out, abs(seed), start, split)
        """,
    ),
    "a scorer that accepts anything": ("scorer", "def score(self, prompt, answer):\n    return Verdict(True, 'fine')"),
    "a scorer that ignores what follows": (
        "scorer",
        """
        def score(self, prompt, answer):
            return super().score(prompt, answer[: self.N])
        """,
    ),
    "a scorer that is happy with a beginning": (
        "scorer",
        """
        def score(self, prompt, answer):
            given = list(answer)
            return Verdict(given == prompt[1:-1][: len(given)] and bool(given), "so far")
        """,
    ),
    "a scorer that rejects the generator's answers": (
        "scorer",
        """
        def score(self, prompt, answer):
            return Verdict(list(answer) == sorted(prompt[1:-1]), "sorted")
        """,
    ),
    "a scorer that fails": ("scorer", "def score(self, prompt, answer):\n    raise IndexError('no such entry')"),
    "an evaluation of the wrong position": (
        "evaluation",
        """
        def evaluate(self, model, **arguments):
            return super().evaluate(lambda ids: model(ids).roll(1, 1), **arguments)
        """,
    ),
    "an evaluation of another stream": (
        "evaluation",
        """
        def evaluate(self, model, *, seed, **arguments):
            return super().evaluate(model, seed=seed + 1, **arguments)
        """,
    ),
    "an evaluation that is always right": (
        "evaluation",
        """
        def evaluate(self, model, *, seed, windows=None, batch=32, generate=None):
            from canonlab.tasks.metrics import share
            return Evaluation({"accuracy": share(5, 5)}, ("accuracy",), {})
        """,
    ),
    "a headline that isn't there": (
        "evaluation",
        """
        def evaluate(self, model, **arguments):
            return dataclasses.replace(super().evaluate(model, **arguments), headline=("acuracy",))
        """,
    ),
    "a slow generator": ("throughput", FILL + "    time.sleep(0.05)"),
}


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Task]:
    def load(body: str) -> Task:
        file = tmp_path / "broken.py"
        file.write_text(BASE + textwrap.indent(textwrap.dedent(body), "    "), encoding="utf-8")
        return load_plugin(f"{file}:Broken").cls()

    return load


def test_nothing_is_wrong_with_what_the_broken_ones_derive_from(make: Callable[[str], Task]) -> None:
    assert all(check.passed for check in check_task(make(""), windows=4))


@pytest.mark.parametrize("what", BROKEN)
def test_broken_tasks_are_caught(what: str, make: Callable[[str], Task]) -> None:
    name, body = BROKEN[what]
    (check,) = check_task(make(body), windows=4, names=[name])
    assert check.passed is False and check.seen and check.advice, check


def test_a_mutable_class_is_caught() -> None:
    class Open(Task):
        pass

    Open.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]
    checks = by_name(Open())  # type: ignore[abstract]
    assert checks["identity"].passed is False and "frozen" in checks["identity"].seen


def test_without_examples_the_scorer_is_not_checked(make: Callable[[str], Task]) -> None:
    check = by_name(make("def examples(self, tokens):\n    return []"))["scorer"]
    assert check.passed is None and "examples" in check.advice


def test_a_check_that_does_not_exist() -> None:
    with pytest.raises(InputError, match="unknown check 'maks'; did you mean 'mask'?"):
        check_task(build_task("copy"), names=["identity", "maks"])
