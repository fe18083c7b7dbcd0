"""A sweep before its workers start: what they are to make is checked and written down."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from canonlab.errors import InputError
from canonlab.files import exists
from canonlab.sweeps.estimate import largest
from canonlab.sweeps.forecast import costs_of, training_flops
from canonlab.sweeps.layout import Layout, layout
from canonlab.sweeps.places import SWEEP
from canonlab.sweeps.worklist import Worklist, worklist
from canonlab.training.config import RunConfig
from canonlab.training.plan import plan_runs
from canonlab.training.run import require_apart


class Sweep(NamedTuple):
    """The runs to make, and how many of them at once."""

    worklist: Worklist
    layout: Layout


def prepare(configs: Sequence[RunConfig], parent: Path, name: str, command: str, keep: str = "final") -> Sweep:
    """Plan, and so check, all runs below `parent` before the first one works; and write the list of them.

    `command` makes them. InputError for whatever is wrong with a run, or with the place.
    """
    require_apart(parent, "out")
    there = next(folder for folder in (parent, *parent.absolute().parents) if exists(folder))
    if not there.is_dir():
        raise InputError(f"out = {str(parent)!r}: {there} is not a folder")
    if name == "layout":
        raise InputError(f"name = {name!r}: is the name of another file in {SWEEP}/; give the recipe another one")
    plans = plan_runs(configs)
    costs = costs_of(plans)
    flops = [training_flops(plan, cost) for plan, cost in zip(plans, costs, strict=True)]
    # A user's own model isn't tried once more here: what it does with tensors that aren't real might end this process.
    built_in = [(plan, cost) for plan, cost in zip(plans, costs, strict=True) if not plan.plugins]
    memory = largest(*zip(*built_in, strict=True)) if built_in else None
    found = layout(plans, flops, parent, memory.bytes if memory else 0)
    listed = worklist(plans, flops, parent, name, command, keep, found.threads)
    listed.write()
    return Sweep(listed, found)
