"""bioD, knowledge capacity of invented people whose facts are strings of a chosen size and variety."""

from canonlab.tasks.biod.task import BioD

__all__ = ["BioD"]
