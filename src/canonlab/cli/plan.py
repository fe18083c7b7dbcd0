"""The command that says what a recipe takes before anything of it starts."""

from pathlib import Path
from typing import Annotated

from canonlab.cli import console, terminal
from canonlab.cli.arguments import Changes, Device, Json, Out, RecipeName, option, recipe_and_folder
from canonlab.sweeps import estimate, gpus
from canonlab.sweeps.forecast import costs_of, forecast, states
from canonlab.sweeps.recipe import Recipe
from canonlab.training.plan import plan_runs


def plan(
    recipe: RecipeName,
    settings: Changes = (),
    device: Device = None,
    out: Out = None,
    on: Annotated[
        str | None,
        option("COUNTxGPU", f"Not this machine, but so many GPUs, such as 8xh100: {', '.join(sorted(gpus.GPUS))}."),
    ] = None,
    as_json: Json = False,
) -> None:
    """What the runs of a recipe take, how many are done, and what their seeds can decide: nothing starts.

    Makes first steps of runs, in a folder that is thrown away, to tell the time here: up to a minute.
    """
    show(*recipe_and_folder(recipe, settings, device, out), as_json, on=on)


def show(recipe: Recipe, parent: Path, as_json: bool, measuring: bool = True, on: str | None = None) -> None:
    """Print what is known of a recipe's runs below `parent`; with the time here if it is to be measured."""
    machine = gpus.parse(on) if on is not None else None
    plans = plan_runs(recipe.runs)
    costs, so_far = costs_of(plans), states(plans, parent)
    found = forecast(plans, costs, so_far)
    if machine:
        taken = estimate.on_gpus(plans, costs, so_far, *machine)
    else:
        taken = estimate.here(plans, costs, so_far, parent, measuring)
    if as_json:
        terminal.print_json({"recipe": recipe.name, "folder": str(parent), **found.plain(), "estimate": taken.plain()})
    else:
        console.print_forecast(found, taken, recipe.name, parent)
