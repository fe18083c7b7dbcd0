"""Brevo, reasoning breadth: list everything that a vertex of a random graph depends on."""

from canonlab.tasks.brevo.task import Brevo

__all__ = ["Brevo"]
