"""Depo, reasoning depth: follow a directed cycle k steps from a node."""

from canonlab.tasks.depo.task import Depo

__all__ = ["Depo"]
