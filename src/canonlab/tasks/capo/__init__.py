"""Capo, knowledge capacity: biographies of invented people."""

from canonlab.tasks.capo.task import Capo

__all__ = ["Capo"]
