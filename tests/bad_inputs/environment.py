"""Environment variables with no sense in them."""

from collections.abc import Iterator

from bad_inputs.case import TINY, Bad, written


def cases() -> Iterator[Bad]:
    yield Bad("environment", f"train copy {TINY} --log wandb", ("wandb",))
    assert written
