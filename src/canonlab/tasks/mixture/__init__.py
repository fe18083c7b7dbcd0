"""Mixture: windows of several tasks in fixed shares."""

from canonlab.tasks.mixture.task import Mixture, Part

__all__ = ["Mixture", "Part"]
