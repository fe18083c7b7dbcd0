"""Settings of all tests, and fabricated run folders for tests of results and reports."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# One thread for PyTorch and NumPy, which read this when they are loaded, here and in processes that tests start. The
# models of tests are too small for two to pay, and threads that wait for each other on a busy machine, or beside other
# tests, are slower by an order of magnitude.
os.environ["OMP_NUM_THREADS"] = "1"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what it runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

from fabricate import COPY, DEPO, write_run


@pytest.fixture
def depo() -> dict[str, Any]:
    """The task of fabricated runs."""
    return DEPO


@pytest.fixture
def fabricate(tmp_path: Path) -> Callable[..., Path]:
    """`write_run` below tmp_path / "runs"."""
    return lambda *args, **settings: write_run(tmp_path / "runs", *args, **settings)


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    """A folder with two tasks, two architectures and three seeds of Depo, one of its runs killed, one seed of Copy."""
    for canon in ("", "ABCD"):
        for seed in range(3):
            write_run(tmp_path / "runs" / "depo", canon=canon, seed=seed, stop=430 if canon and seed == 2 else None)
        write_run(tmp_path / "runs" / "copy", COPY, canon=canon, size="1L32D", lr=0.005, steps=600)
    return tmp_path / "runs"


NOBODY = 65534


@pytest.fixture
def powerless(tmp_path: Path) -> Iterator[Path]:
    """A folder in which modes count: where root runs the tests, this one runs as somebody who isn't."""
    if not hasattr(os, "geteuid"):
        pytest.skip("the system has no modes")
    if os.geteuid():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory() as folder:  # nobody else may enter the folders of pytest
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)
