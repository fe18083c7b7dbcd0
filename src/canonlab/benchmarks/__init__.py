"""Measurements of speed on the machine at hand, for `canonlab bench`. Results kept in benchmarks/results/."""

from collections.abc import Callable
from typing import Any

Tables = dict[str, list[dict[str, Any]]]
"""Title -> rows, all of one table with the same keys."""


def _data() -> Tables:
    from canonlab.benchmarks.data import bench_data

    tasks = ["copy", "depo1", "depo2", "brevo1", "brevo2", "mano", "lano-cfg3f"]
    return {"tokens generated per second": bench_data(tasks)}


def _canon() -> Tables:
    from canonlab.benchmarks.canon import bench_canon

    return {"Canon layer, 4 x 512 x 2730, one thread": bench_canon()}


def _parse() -> Tables:
    from canonlab.benchmarks.parse import bench_parse

    return {"milliseconds a sentence, one thread": bench_parse()}


def _train() -> Tables:
    from canonlab.benchmarks.train import bench_train

    return bench_train()


BENCHMARKS: dict[str, Callable[[], Tables]] = {"data": _data, "canon": _canon, "parse": _parse, "train": _train}
