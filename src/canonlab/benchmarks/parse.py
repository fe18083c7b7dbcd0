"""How long it takes to parse a sentence of Lano's grammars."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from canonlab.checks import seconds_since
from canonlab.tasks.lano import Lano
from canonlab.tasks.lano.evaluate import first_sentences

PUBLISHED = {
    ("recognise", "cfg3f"): 5.8,
    ("recognise", "cfg3j"): 34.6,
    ("recognise", "cfg3k"): 23.5,
    ("distributions", "cfg3f"): 12.5,
    ("distributions", "cfg3k"): 87.0,
}
"""Seconds a sentence of the published code, on one core of a 2-core server CPU."""

WINDOW = 2100
"""Tokens: holds any sentence of the shipped grammars."""


def bench_parse(
    grammars: Sequence[str] = ("cfg3f", "cfg3j", "cfg3k"),
    sentences: int = 200,
    runs: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> list[dict[str, Any]]:
    """Time the recogniser and the true next-token distributions on one core, over the same sentences.

    A row per (method, grammar): tokens, the sentences' mean length; milliseconds, the mean of a sentence in the best of
    `runs` runs; published_milliseconds (None where unknown). On a machine that is shared, `time.thread_time` as the
    `clock` leaves the other processes out.
    """
    rows = []
    for grammar in grammars:
        task = Lano(grammar, WINDOW)
        texts = first_sentences(task.windows(0, 0, sentences, "eval").tokens)
        for name, method in (("recognise", task.parser.recognise), ("distributions", task.parser.distributions)):
            method(texts[0])  # compiles
            best = min(_seconds(method, texts, clock) for _ in range(runs))
            published = PUBLISHED.get((name, grammar))
            rows.append(
                {
                    "method": name,
                    "grammar": grammar,
                    "tokens": float(np.mean([len(text) for text in texts])),
                    "milliseconds": 1e3 * best / len(texts),
                    "published_milliseconds": None if published is None else 1e3 * published,
                }
            )
    return rows


def _seconds(method: Callable[[np.ndarray], object], texts: list[np.ndarray], clock: Callable[[], float]) -> float:
    begin = clock()
    for text in texts:
        method(text)
    return seconds_since(begin, clock)
