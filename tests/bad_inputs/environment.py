"""Environment variables with no sense in them."""

from collections.abc import Iterator

from bad_inputs.case import TINY, Bad

SAMPLE = "sample copy --set N=6 context=28"

IGNORED = (
    {"CANONLAB_CACHE": "/dev/null"},
    {"CANONLAB_CACHE": "/proc/nowhere"},
    {"COLUMNS": "0"},
    {"COLUMNS": "abc"},
    {"COLUMNS": "9" * 30},
    {"TERM": "\x1b[31m"},
    {"OMP_NUM_THREADS": "x"},
    {"NUMBA_THREADING_LAYER": "x"},
    {"HOME": "/dev/null"},
)
"""What is no reason not to do what was asked for."""


def cases() -> Iterator[Bad]:
    for number in ("0", "-1"):
        yield Bad("environment", SAMPLE, ("NUMBA_NUM_THREADS",), what=number, environment={"NUMBA_NUM_THREADS": number})
    yield Bad("environment", f"train copy {TINY} --log wandb", ("wandb",), environment={"WANDB_MODE": "nonsense"})
