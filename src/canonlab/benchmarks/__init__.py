"""Measurements of speed on the machine at hand, and of statistics, for `canonlab bench`.

Results are kept in benchmarks/results/.
"""

from collections.abc import Callable
from typing import Any

from canonlab.benchmarks.canon import bench_canon
from canonlab.benchmarks.data import bench_biographies, bench_data
from canonlab.benchmarks.mixers import bench_mixers
from canonlab.benchmarks.parse import bench_parse
from canonlab.benchmarks.report import bench_report
from canonlab.benchmarks.statistics import bench_statistics
from canonlab.benchmarks.sweep import bench_sweep
from canonlab.benchmarks.train import bench_train

BENCHMARKS: dict[str, Callable[[], dict[str, list[dict[str, Any]]]]] = {
    "data": lambda: {"tokens generated per second": bench_data(), "biographies per second": bench_biographies()},
    "canon": lambda: {"Canon layer, 4 x 512 x 2730, one thread": bench_canon()},
    "mixers": bench_mixers,
    "parse": lambda: {"milliseconds a sentence, one thread": bench_parse()},
    "train": bench_train,
    "report": bench_report,
    "statistics": bench_statistics,
    "sweep": bench_sweep,
}
"""Each gives tables: title -> rows, all of one table with the same keys."""
