"""The command that shows recipes: what is shipped, and what one says."""

from typing import Annotated

from tyro.conf import Positional

from canonlab.cli import console, terminal
from canonlab.cli.arguments import Json, option
from canonlab.sweeps.recipe import load_recipe, recipe_text, shipped_recipes


def recipe(
    name: Annotated[
        Positional[str | None], option("[RECIPE]", "A shipped recipe, or a YAML file; none for a list.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print a recipe, to copy it or to see what a sweep would do; or list those that are shipped."""
    if name is None:
        recipes = {each: load_recipe(each) for each in shipped_recipes()}
        rows = [{"recipe": each, "runs": len(found.runs), "about": found.about} for each, found in recipes.items()]
        terminal.print_json(rows) if as_json else console.print_rows(rows)
        return
    text, found = recipe_text(name), load_recipe(name)
    if as_json:
        terminal.print_json({"recipe": found.name, "about": found.about, "runs": len(found.runs), "text": text})
    else:
        terminal.say_all(text)
