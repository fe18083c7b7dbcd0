"""Engines: ways of starting a sweep's workers and of keeping them alive, on this machine or elsewhere.

An engine needs no more: workers that share a folder make each of its runs once, see `sweeps.worker`.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from canonlab.sweeps.prepare import Sweep


@dataclass(frozen=True)
class Crew:
    """The workers that somebody asks for: how many (0 for as many as the engine finds room for), the GPUs of each, what
    else the engine is told, and the tracker that they also log to."""

    workers: int = 0
    gpus: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)
    tracker: str | None = None


class Engine(Protocol):
    """A module that has workers elsewhere make a sweep."""

    def require(self, crew: Crew) -> None:
        """InputError for what the engine can't do, or does not have, before anything begins."""

    def run(self, sweep: Sweep, crew: Crew) -> Generator[None]:
        """Have workers make what is left of a sweep, of which something is.

        Yields a few times a second while that goes on. Raises Interrupted when this process is asked to stop, and
        Failed when the engine can do no more.
        """
