"""Mano, knowledge manipulation: prefix arithmetic modulo 23 without intermediate steps."""

from canonlab.tasks.mano.task import Mano

__all__ = ["Mano"]
