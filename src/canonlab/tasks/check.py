"""Whether a task keeps what `canonlab.tasks.base.Task` promises: for the built-in ones and for a user's own."""

import dataclasses
import hashlib
import json
import os
import pickle
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from canonlab.checks import MOST_ROUNDS, Broken, Check, run_check, seconds_since
from canonlab.data.plain import Random
from canonlab.errors import InputError, require_integer, require_seed, shown, unknown
from canonlab.plugins import Parcel
from canonlab.tasks.base import MAX_CONTEXT, SPLITS, Evaluation, Example, Split, Task, Vocabulary, Windows
from canonlab.tasks.known_windows import KnownWindows

COUNT = 8
"""Windows in each block that is compared."""

FAR = 10**9
"""Where a second block starts."""

MOST_WINDOWS = 1000
"""Windows that models are evaluated on, one of which knows them all by heart."""

EXAMPLES = 40
"""How many answers the scorer is asked about at most."""

SLOW = 20_000
"""Tokens/s below which even a small model on a laptop would wait for its data."""

SECONDS = 0.3
"""How long the throughput is measured."""


def _sample(task: Task, seed: int) -> dict[Split, Windows]:
    return {split: task.windows(seed, 0, COUNT, split) for split in SPLITS}


IDENTITY = {"name", "version", "parameters", "context"}


def _attributes(task: Task, *_: int) -> str:
    words, exposure, share = task.vocabulary, task.windows_per_exposure, task.coincidence(1)
    files, lines, difficulty = task.files, task.warnings(), task.difficulty_parameter
    is_share = isinstance(share, float | int) and 0 <= share <= 1
    promises: dict[str, tuple[Any, bool, str]] = {
        "name": (task.name, isinstance(task.name, str), "text"),
        "version": (task.version, _is_count(task.version), "a number from 1 on"),
        "context": (task.context, _is_count(task.context) and task.context <= MAX_CONTEXT, "a number of tokens"),
        "vocabulary": (words, isinstance(words, Vocabulary) and len(words) > 0, "a Vocabulary"),
        "separator": (task.separator, isinstance(task.separator, str | None), "the name of a token, or None"),
        "identity": (task.identity, task.identity.keys() >= IDENTITY, f"a dict with {', '.join(sorted(IDENTITY))}"),
        "difficulty_parameter": (difficulty, difficulty in [None, *task.parameters], "a parameter's name, or None"),
        "windows_per_exposure": (exposure, exposure is None or _is_count(exposure), "a number from 1 on, or None"),
        "files": (files, all(isinstance(file, Path) for file in files.values()), "a dict of paths"),
        "warnings": (lines, isinstance(lines, list) and all(isinstance(line, str) for line in lines), "lines"),
        "coincidence": (share, share is None or is_share, "a share from 0 to 1, or None"),
    }
    for name, (found, fits, allowed) in promises.items():
        if not fits:
            raise Broken(f"{name} = {shown(found)}", f"must be {allowed}")
    return f"{', '.join(promises)} are what they must be"


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _identity(task: Task, *_: int) -> str:
    parameters = getattr(type(task), "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        raise Broken("the class is no frozen dataclass", "decorate it with @dataclasses.dataclass(frozen=True)")
    try:
        text = json.dumps(task.identity, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        advice = "use parameters that JSON knows: numbers, text, tuples, or override `identity`"
        raise Broken(f"the identity is no JSON: {error}", advice) from None
    if json.dumps(dataclasses.replace(task).identity, sort_keys=True) != text:  # type: ignore[type-var]
        raise Broken("an equal task has another identity", "make it depend on the parameters alone")
    varied: list[str] = []
    fixed: list[str] = []
    for field in (field.name for field in dataclasses.fields(task) if field.init):  # type: ignore[arg-type]
        other = next(_neighbours(task, field), None)
        (fixed if other is None else varied).append(field)
        if other is not None and other.identity == task.identity:
            advice = "leave `parameters` and `identity` as the base class has them, or name all fields"
            raise Broken(f"{field} = {getattr(other, field)!r} has the same identity", advice)
    return f"changes with {', '.join(varied) or 'nothing'}" + (f"; not varied: {', '.join(fixed)}" if fixed else "")


def _neighbours(task: Task, field: str) -> Iterator[Task]:
    """The task with other values of a numeric field, those that it allows."""
    value = getattr(task, field)
    if isinstance(value, int | float) and not isinstance(value, bool):
        for other in (value + 1, value - 1, *([2 * value] if value else [])):
            try:
                yield dataclasses.replace(task, **{field: other})  # type: ignore[type-var]
            except (InputError, ValueError):
                continue


def _vocabulary(task: Task, seed: int, *_: int) -> str:
    tokens = list(task.vocabulary)
    advice = "build it with Vocabulary((name, role, value), ...)"
    if not tokens:
        raise Broken("no tokens", advice)
    if (names := len({token.name for token in tokens})) < len(tokens):
        raise Broken(f"{len(tokens)} tokens have {names} different names", advice)
    for position, token in enumerate(tokens):
        if token.id != position:
            raise Broken(f"entry {position} has the id {token.id}", advice)
        if not token.name or token.name.split() != [token.name]:
            raise Broken(
                f"token {position} is called {token.name!r}", "names have no spaces, which `decode` puts between"
            )
    used = {int(i) for windows in _sample(task, seed).values() for i in np.unique(windows.tokens)}
    absent = [token.name for token in tokens if token.id not in used]
    shown = f" ({', '.join(absent[:4])}{', ...' if len(absent) > 4 else ''})" if absent else ""
    return f"{len(tokens)} tokens; {len(absent)} of them not in {2 * COUNT} windows{shown}"


def _tokens(task: Task, seed: int, *_: int) -> str:
    for split, windows in _sample(task, seed).items():
        if (low := int(windows.tokens.min())) < 0 or (high := int(windows.tokens.max())) >= len(task.vocabulary):
            wrong = low if low < 0 else high
            seen = f"id {wrong} in the {split} split, the vocabulary has 0..{len(task.vocabulary) - 1}"
            raise Broken(seen, "add the token to the vocabulary, or write another id")
    return f"all ids in 0..{len(task.vocabulary) - 1}"


def _mask(task: Task, seed: int, *_: int) -> str:
    shares = []
    for split, windows in _sample(task, seed).items():
        mask = windows.mask
        if (high := int(mask.max())) > 1:
            raise Broken(f"a mark of {high} in the {split} split", "write 1 for a scored target and 0 elsewhere")
        if mask[:, 0].any():
            raise Broken(
                f"the first token is marked in the {split} split", "mark only what has a prefix to predict it from"
            )
        if not mask.any():
            raise Broken(f"nothing is marked in the {split} split", "mark the tokens to be predicted, so answers")
        shares.append(f"{mask.mean():.1%} of {split}")
    return f"marked: {', '.join(shares)}"


def _by_index(task: Task, seed: int, *_: int) -> str:
    # A generator that is seeded in `fill` leaves the same state each time: only a step away from it shows that.
    random.random(), np.random.random(), torch.rand(())  # noqa: NPY002
    before = _global_randomness()
    for split in SPLITS:
        for start in (0, FAR):
            whole = task.windows(seed, start, COUNT, split)
            _require_same(whole, _overwritten(task, seed, start, split), "made into arrays that held something")
            for first, count in [(i, 1) for i in reversed(range(COUNT))] + [(3, COUNT - 3), (0, 3)]:
                part = task.windows(seed, start + first, count, split)
                expected = Windows(*(array[first : first + count] for array in whole))
                _require_same(expected, part, f"made {'alone' if count == 1 else 'in another batch'}")
    if _global_randomness() != before:
        advice = "draw from a generator keyed by (stream key, index, split), see canonlab.data.random"
        raise Broken("a global random generator was used", advice)
    return "the same alone, in any batch, near and far, in used arrays"


def _require_same(expected: Windows, found: Windows, how: str) -> None:
    for what, a, b in zip(("tokens", "mask"), expected, found, strict=True):
        if not np.array_equal(a, b):
            position = np.argwhere(a != b)[0][1]
            seen = f"another {what[:5].rstrip('s')} at position {position} of a window when {how}"
            advice = "make each window from (stream key, index, split) alone, and write every entry of it"
            raise Broken(seen, advice)


def _overwritten(task: Task, seed: int, start: int, split: Split) -> Windows:
    """The windows written over entries that no task would write."""
    shape = (COUNT, task.context)
    out = Windows(np.full(shape, -1, np.int32), np.full(shape, 255, np.uint8))
    task.fill(out, seed, start, split)
    return out


def _global_randomness() -> bytes:
    return pickle.dumps((random.getstate(), np.random.get_state(), torch.get_rng_state().numpy()))  # noqa: NPY002


def _threads(task: Task, seed: int, *_: int) -> str:
    starts = [4 * COUNT + i for i in range(2 * COUNT)] * 4
    with ThreadPoolExecutor(2) as pool:
        at_once = list(pool.map(lambda start: task.windows(seed, start, 2), starts))
    for start, found in zip(starts, at_once, strict=True):
        _require_same(task.windows(seed, start, 2), found, "two threads are at work")
    return f"{len(starts)} calls by two threads gave what one gives"


def _fresh_process(task: Task, seed: int, *_: int) -> str:
    try:
        parcel = pickle.dumps((Parcel.pack(task), seed))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise Broken(f"it can't be pickled: {error}", "define the class at the top level of its file") from None
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONHASHSEED": "12345"}
    command = [sys.executable, "-c", "from canonlab.tasks.check import print_digest; print_digest()"]
    child = subprocess.run(command, input=parcel, env=environment, capture_output=True)
    if child.returncode:
        raise Broken(child.stderr.decode().strip().rpartition("\n")[2], "find out why another process raised this")
    if child.stdout.decode().split()[-1] != digest(task, seed):
        raise Broken("another process made other windows", "beware of the order of sets, `hash`, time and files")
    return "another process made the same windows"


def digest(task: Task, seed: int) -> str:
    """SHA-256 (hex) of some windows of both splits."""
    found = hashlib.sha256()
    for split in SPLITS:
        for start in (0, FAR):
            for array in task.windows(seed, start, COUNT, split):
                found.update(array.tobytes())
    return found.hexdigest()


def print_digest() -> None:
    """In the fresh process: the digest of the task that is on standard input."""
    parcel, seed = pickle.load(sys.stdin.buffer)
    print(digest(parcel.unpack(), seed))


def _streams(task: Task, seed: int, *_: int) -> str:
    tokens = task.windows(seed, 0, COUNT).tokens
    others = {
        "the eval split": task.windows(seed, 0, COUNT, "eval"),
        "another seed": task.windows(seed + 1, 0, COUNT),
        "other indices": task.windows(seed, COUNT, COUNT),
    }
    for what, windows in others.items():
        if np.array_equal(tokens, windows.tokens):
            advice = "begin `fill` with `self.stream(out, seed, start, split)` and use all that it returns"
            raise Broken(f"{what} gives the same windows", advice)
    return "splits, seeds and indices give different windows"


def _bad_arguments(task: Task, *_: int) -> str:
    for what, arguments in {
        "seed -1": (-1, 0, 1, "train"),
        "start -1": (0, -1, 1, "train"),
        "split 'x'": (0, 0, 1, "x"),
    }.items():
        try:
            task.windows(*arguments)  # type: ignore[arg-type]
        except InputError:
            continue
        raise Broken(
            f"{what} is accepted", "begin `fill` with `self.stream(out, seed, start, split)`, which checks them"
        )
    return "refused with an InputError"


def _scorer(task: Task, seed: int, *_: int) -> str:
    windows = [row for part in _sample(task, seed).values() for row in part.tokens.tolist()]
    examples = [example for row in windows for example in task.examples(row)]
    if not examples:
        advice = "implement `examples`, and use a context that holds whole instances"
        raise Broken("not checked: the task gives no examples", advice, passed=None)
    examples = examples[:: -(-len(examples) // EXAMPLES)]
    accepted: dict[str, list[bool]] = {}
    for number, example in enumerate(examples):
        verdict = task.score(*example)
        if not verdict.right:
            shown = f"{task.vocabulary.decode(example.prompt[-8:])!r} -> {task.vocabulary.decode(example.answer[:8])!r}"
            advice = "make `score` and the generator agree, or `examples` cut at the right places"
            raise Broken(f"a generated answer is judged wrong ({shown}: {verdict.why})", advice)
        for kind, answer in _mutations(example, len(task.vocabulary), number):
            accepted.setdefault(kind, []).append(task.score(example.prompt, answer).right)
    for kind, verdicts in accepted.items():
        # A mutation can be right by chance where a prompt has many right answers; most are not.
        if sum(verdicts) > (0 if kind == "empty" else len(verdicts) / 2):
            seen = f"{sum(verdicts)} of {len(verdicts)} {kind} answers are judged right"
            raise Broken(seen, "compare the whole answer: its length, its end, and every token")
    try:
        task.score([len(task.vocabulary)], examples[0].answer)
    except InputError:
        pass
    else:
        raise Broken("a prompt of an unknown id is judged", "begin `score` with `require_token_ids`")
    kinds = ", ".join(f"{sum(verdicts)} of {len(verdicts)} {kind}" for kind, verdicts in accepted.items())
    return f"{len(examples)} answers judged right; after mutation {kinds}"


def _mutations(example: Example, tokens: int, number: int) -> Iterator[tuple[str, list[int]]]:
    """(kind, answer) for ways to spoil an answer."""
    answer, rng = example.answer, Random(0, number, 0)
    if answer:
        yield "empty", []
    if len(answer) > 1:
        yield "truncated", answer[:-1]
    yield "prolonged", [*answer, rng.below(tokens)]
    if answer and tokens > 1:
        position, shift = rng.below(len(answer)), 1 + rng.below(tokens - 1)
        yield "altered", [*answer[:position], (answer[position] + shift) % tokens, *answer[position + 1 :]]


def _evaluation(task: Task, seed: int, windows: int) -> str:
    known = KnownWindows(task.windows(seed, 0, windows, "eval").tokens, len(task.vocabulary))
    draw = torch.Generator().manual_seed(0)
    guesses = task.evaluate(
        lambda ids: torch.rand(*ids.shape, len(task.vocabulary), generator=draw), seed=seed, windows=windows
    )
    knows = task.evaluate(known, seed=seed, windows=windows)
    main = _require_sound(guesses)
    _require_sound(knows)
    low, high = guesses.metrics[main], knows.metrics[main]
    if not high.count:
        seen = f"{main} counts nothing in {windows} windows"
        raise Broken(seen, "use a context that holds whole instances, or more windows")
    if high.right is not None and high.value < 1:
        seen = f"a model that knows all windows by heart has {main} {high.value:.1%}"
        raise Broken(seen, "compare each prediction with the token that comes next, on the eval stream of `seed`")
    # An amount may have a floor that both stand on, as bits have: then the loss must tell them apart.
    names = [main] if high.right is not None or "loss" not in knows.metrics else [main, "loss"]
    if all(guesses.metrics[name].value == knows.metrics[name].value for name in names):
        raise Broken(f"a model that guesses has the same {main}, {low.value:.3g}, as one that knows", "count mistakes")
    return f"{main}: {low.value:.3g} for a model that guesses, {high.value:.3g} for one that knows the windows by heart"


def _require_sound(evaluation: Evaluation) -> str:
    """The main metric's name, if all metrics have values in their intervals and the headline names some of them."""
    if not evaluation.headline or any(name not in evaluation.metrics for name in evaluation.headline):
        raise Broken(f"headline {evaluation.headline!r}", f"name some of the metrics: {', '.join(evaluation.metrics)}")
    for name, metric in evaluation.metrics.items():
        if metric.count and not np.isfinite(metric.value):
            raise Broken(f"{name} is {metric.value}", "count only what can be measured")
        if metric.right is not None and not 0 <= metric.right <= metric.count:
            raise Broken(f"{name} has {metric.right} right of {metric.count}", "make it with `metrics.share`")
    json.dumps(evaluation.plain(), allow_nan=False)
    return evaluation.headline[0]


def _throughput(task: Task, seed: int, *_: int) -> str:
    out = task.windows(seed, 0, COUNT)  # compiles, if there is something to compile
    begin, blocks = time.perf_counter(), 0
    while (spent := seconds_since(begin)) < SECONDS and blocks < MOST_ROUNDS:
        task.fill(out, seed, blocks * COUNT)
        blocks += 1
    rate = blocks * COUNT * task.context / spent
    seen = f"{rate:,.0f} tokens/s on one thread"
    if rate < SLOW:
        raise Broken(seen, "compile the generator with canonlab.data.jit.kernel, as tasks/copy.py does")
    return f"{seen}; a fast GPU uses about a million"


CHECKS: dict[str, Callable[[Task, int, int], str]] = {
    "attributes": _attributes,
    "identity": _identity,
    "vocabulary": _vocabulary,
    "tokens": _tokens,
    "mask": _mask,
    "by index": _by_index,
    "threads": _threads,
    "fresh process": _fresh_process,
    "streams": _streams,
    "bad arguments": _bad_arguments,
    "scorer": _scorer,
    "evaluation": _evaluation,
    "throughput": _throughput,
}
"""What each does with a task, a seed and a number of windows: it returns what was seen, or raises `Broken`."""


def check_task(task: Task, seed: int = 0, windows: int = COUNT, names: Iterable[str] = tuple(CHECKS)) -> list[Check]:
    """The checks called `names` of `task`, on a stream of `seed`; models are evaluated on `windows` windows."""
    require_seed(seed)
    require_integer("windows", windows, 1, MOST_WINDOWS)
    for name in (names := tuple(names)):
        if name not in CHECKS:
            raise unknown("check", name, CHECKS)
    return [run_check(name, partial(CHECKS[name], task, seed, windows), "task") for name in names]
