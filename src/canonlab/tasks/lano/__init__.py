"""Lano, hierarchical structure: sentences of a level-structured context-free grammar."""

from canonlab.tasks.lano.grammar import Grammar, read_grammar
from canonlab.tasks.lano.parser import Parser
from canonlab.tasks.lano.task import Lano

__all__ = ["Grammar", "Lano", "Parser", "read_grammar"]
