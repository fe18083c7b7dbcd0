"""Inputs that are wrong, by kind: what a user, a damaged disk or a stranger's folder may give the program."""

from bad_inputs import commands, environment, files, folders, recipes, users
from bad_inputs.case import Bad

ALL: list[Bad] = [bad for kind in (commands, recipes, files, folders, users, environment) for bad in kind.cases()]
