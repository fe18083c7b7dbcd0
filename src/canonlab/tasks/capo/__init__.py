"""Capo, knowledge capacity: biographies of invented people, and questions about them."""

from canonlab.tasks.capo.extraction import CapoQuestions
from canonlab.tasks.capo.task import Capo

__all__ = ["Capo", "CapoQuestions"]
