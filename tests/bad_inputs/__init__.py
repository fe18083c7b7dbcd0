"""Inputs that are wrong, by kind: what a user, a damaged disk or a stranger's folder may give the program."""

from bad_inputs import checkpoints, commands, environment, files, folders, recipes, users
from bad_inputs.case import Bad

KINDS = (commands, recipes, files, folders, checkpoints, users, environment)
ALL: list[Bad] = [bad for kind in KINDS for bad in kind.cases()]
