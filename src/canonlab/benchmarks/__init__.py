"""Measurements of speed on the machine at hand, and of statistics, for `canonlab bench`.

Results are kept in benchmarks/results/.
"""

from collections.abc import Callable
from typing import Any

Tables = dict[str, list[dict[str, Any]]]
"""Title -> rows, all of one table with the same keys."""


def _data() -> Tables:
    from canonlab.benchmarks.data import bench_biographies, bench_data

    tasks = ["copy", "depo1", "depo2", "brevo1", "brevo2", "mano", "lano-cfg3f"]
    return {"tokens generated per second": bench_data(tasks), "biographies per second": bench_biographies()}


def _canon() -> Tables:
    from canonlab.benchmarks.canon import bench_canon

    return {"Canon layer, 4 x 512 x 2730, one thread": bench_canon()}


def _parse() -> Tables:
    from canonlab.benchmarks.parse import bench_parse

    return {"milliseconds a sentence, one thread": bench_parse()}


def _train() -> Tables:
    from canonlab.benchmarks.train import bench_train

    return bench_train()


def _mixers() -> Tables:
    from canonlab.benchmarks.mixers import bench_mixers

    return bench_mixers()


def _report() -> Tables:
    from canonlab.benchmarks.report import bench_report

    return bench_report()


def _statistics() -> Tables:
    from canonlab.benchmarks.statistics import bench_statistics

    return bench_statistics()


BENCHMARKS: dict[str, Callable[[], Tables]] = {
    "data": _data,
    "canon": _canon,
    "mixers": _mixers,
    "parse": _parse,
    "train": _train,
    "report": _report,
    "statistics": _statistics,
}
