"""The claims say what the paper's own numbers show, and their recipes make the runs that they need."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import pytest

from canonlab.claims import Claim
from canonlab.claims.architecture import Architecture
from canonlab.claims.catalog import CLAIMS
from canonlab.claims.contrast import Contrast, published_difference
from canonlab.models.config import ModelConfig
from canonlab.sweeps.recipe import load_recipe, shipped_recipes
from canonlab.tasks.catalog import TASKS
from canonlab.training.config import RunConfig

each_claim = pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.number)


def test_the_twelve_findings() -> None:
    assert [claim.number for claim in CLAIMS] == ["1", "2", "2.1", *map(str, range(3, 13))]
    for claim in CLAIMS:
        texts = [str(contrast) for contrast in claim.contrasts]
        assert len(set(texts)) == len(texts) and (len(texts) > 1 or claim.number == "12"), claim.number


@each_claim
def test_recipes_are_shipped(claim: Claim) -> None:
    assert {*claim.recipes, *claim.small} <= set(shipped_recipes())
    assert claim.recipes or claim.number == "12"  # real text


@functools.cache
def canon_points(model: str, canon: str) -> str:
    """What a Canon set in a user's words comes to in a model."""
    return ModelConfig(model=model, canon=canon).decoder(64).canon.points


@functools.cache
def made(recipe: str) -> list[tuple[str, str, str, dict[str, Any]]]:
    """(task, place of task and training but the rate, rate, settings by dotted key) of each run of a recipe."""
    return [described(run) for run in load_recipe(recipe).runs]


def described(run: RunConfig) -> tuple[str, str, str, dict[str, Any]]:
    model = dataclasses.asdict(run.model)
    mixer = {f"model.mixer.{key}": value for key, value in model.pop("mixer").items()}
    settings = {f"model.{key}": value for key, value in model.items()} | mixer
    settings["model.canon"] = canon_points(run.model.model, run.model.canon)
    place = repr((run.task.name, sorted(run.task.set.items()), run.training.steps, run.training.exposures))
    return TASKS[run.task.name].task.name, place, f"{run.training.lr} {run.training.seed}", settings


def of(recipes: tuple[str, ...], architecture: Architecture, task: str) -> dict[str, set[str]]:
    """The rates and seeds of an architecture on a task in some recipes, by place."""
    found: dict[str, set[str]] = {}
    for recipe in recipes:
        for name, place, rate, settings in made(recipe):
            if name == task and architecture.fits(settings):
                found.setdefault(f"{place} {architecture.shared(settings)}", set()).add(rate)
    return found


def comparisons() -> Iterator[Any]:
    for claim in CLAIMS:
        for contrast in claim.contrasts if claim.recipes else ():
            for task in contrast.tasks:
                yield pytest.param(claim, contrast, task, id=f"{claim.number} {contrast}")


@pytest.mark.parametrize(("claim", "contrast", "task"), list(comparisons()))
def test_the_recipes_make_the_runs(claim: Claim, contrast: Contrast, task: str) -> None:
    """Both sides, at one place at least, at the same learning rates and seeds."""
    assert places(claim.recipes, contrast, task)


@each_claim
def test_small_recipes_make_some_of_the_runs(claim: Claim) -> None:
    for recipe in claim.small:
        assert any(places((recipe,), c, task) for c in claim.contrasts for task in c.tasks), recipe


def places(recipes: tuple[str, ...], contrast: Contrast, task: str) -> set[str]:
    """Where recipes make both sides, which must then be at the same learning rates and seeds."""
    first = of(recipes, contrast.first, task)
    second = first if isinstance(contrast.second, float) else of(recipes, contrast.second, task)
    common = first.keys() & second.keys()
    assert all(first[place] == second[place] for place in common)
    return common


@each_claim
def test_the_papers_own_cells_agree(claim: Claim) -> None:
    for contrast in claim.contrasts:
        found = published_difference(contrast)
        assert found is None or contrast.least < found < contrast.most, str(contrast)


def test_published_differences() -> None:
    rope, better_on_depo, half = CLAIMS[1].contrasts[0].first, CLAIMS[1].contrasts[0], CLAIMS[1].contrasts[-1]
    assert rope.model == "llama-rope"
    assert published_difference(better_on_depo) == pytest.approx(0.818, abs=0.001)
    assert published_difference(half) == pytest.approx(0.585, abs=0.001)
    assert published_difference(CLAIMS[0].contrasts[0]) is None
