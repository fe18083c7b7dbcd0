"""The shipped recipes: the paper's cover every published cell with its hyper-parameters, and all of them plan.

The tables below are written out from Part 4.1 (arXiv 2512.17351), appendix A, and Part 3.3 (arXiv 2404.05405).
"""

import dataclasses
import functools
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from canonlab.models.config import ModelConfig
from canonlab.models.cost import cost, parameters
from canonlab.models.decoder import DecoderConfig
from canonlab.models.presets import PRESETS
from canonlab.results.groups import level_of
from canonlab.results.published import published, published_task, tables
from canonlab.sweeps.recipe import load_recipe, shipped_recipes
from canonlab.tasks.base import Task
from canonlab.tasks.catalog import build_task
from canonlab.tasks.mixture import Mixture
from canonlab.training.config import BackendConfig, RunConfig, TrainingConfig
from canonlab.training.plan import plan_run

RECIPES = shipped_recipes()
PAPER = [name for name in RECIPES if name.startswith("paper/")]
GPU = [name for name in RECIPES if name.startswith("gpu/")]

USUAL = {"warmup": 1000, "schedule": "cosine", "weight_decay": 0.03, "beta1": 0.9, "beta2": 0.98, "eps": 1e-6}
DEPO = {**USUAL, "context": 2048, "batch": 128, "lr": {3e-4, 5e-4, 1e-3, 2e-3}, "seed": {0}}
BREVO = {**USUAL, "lr": {3e-4, 5e-4, 1e-3, 2e-3}, "seed": {0}}
COPY = {**USUAL, "context": 1024, "batch": 32, "lr": {5e-4, 1e-3, 2e-3, 5e-3}, "seed": {0}, "steps": 50_000}
LANO = {
    **USUAL,
    "warmup": 0,
    "schedule": "linear",
    "weight_decay": 0.1,
    "batch": 96,
    "lr": {2e-4, 3e-4, 5e-4, 1e-3},
    "seed": {0},
    "steps": 100_000,
}
MANO = {
    **USUAL,
    "weight_decay": 0.1,
    "context": 1024,
    "batch": 64,
    "lr": {1e-4, 2e-4, 3e-4, 5e-4},
    "seed": {0, 1},
}
HYPER_PARAMETERS: dict[tuple[str, Any], dict[str, Any]] = {
    ("depo1", 225): {**DEPO, "steps": 87_500},
    ("depo1", 300): {**DEPO, "steps": 100_000},
    ("depo1", 375): {**DEPO, "steps": 112_500},
    ("depo2", 75): {**DEPO, "steps": 100_000},
    ("depo2", 100): {**DEPO, "steps": 125_000},
    ("depo2", 125): {**DEPO, "steps": 150_000},
    ("brevo1", 70): {**BREVO, "context": 1024, "batch": 256, "steps": 100_000},
    ("brevo1", 90): {**BREVO, "context": 1024, "batch": 256, "steps": 125_000},
    ("brevo1", 110): {**BREVO, "context": 1024, "batch": 256, "steps": 150_000},
    ("brevo2", 30): {**BREVO, "context": 1536, "batch": 192, "steps": 200_000},
    ("brevo2", 40): {**BREVO, "context": 1536, "batch": 192, "steps": 225_000},
    ("brevo2", 50): {**BREVO, "context": 1536, "batch": 192, "steps": 250_000},
    ("mano", 10): {**MANO, "steps": 80_000},
    ("mano", 13): {**MANO, "steps": 95_000},
    ("mano", 16): {**MANO, "steps": 110_000},
    ("lano", "cfg3f"): {**LANO, "context": 512},
    ("lano", "cfg3j"): {**LANO, "context": 1536},
    ("lano", "cfg3k"): {**LANO, "context": 1536},
    ("copy", 500): COPY,
}

KNOWLEDGE = ("biod", "capo", "mixture")
CAPO = {**USUAL, "weight_decay": 0.01, "beta2": 0.999, "eps": 1e-8, "context": 512, "seed": {0}, "steps": 0}
CAPO_100 = {
    # N: batch, rates, a mixture of experts' rates
    50_000: (12, {1e-3, 5e-4}, {5e-3, 2e-3, 1e-3}),
    100_000: (24, {1e-3, 5e-4}, {5e-3, 2e-3, 1e-3}),
    200_000: (48, {1e-3, 5e-4}, {5e-3, 2e-3, 1e-3}),
    500_000: (96, {1e-3, 5e-4}, {2e-3, 1e-3}),
    1_000_000: (192, {1e-3, 5e-4}, {2e-3, 1e-3}),
    2_000_000: (384, {5e-4, 3e-4}, {1e-3, 5e-4}),
}
CAPO_1000 = {
    # N: batch, rate, weight decay
    10_000: (24, 1e-3, 0.02),
    20_000: (48, 1e-3, 0.02),
    50_000: (96, 1e-3, 0.02),
    100_000: (192, 1e-3, 0.02),
    200_000: (192, 1e-3, 0.02),
    500_000: (192, 5e-4, 0.01),
    1_000_000: (192, 5e-4, 0.01),
}


class Model(NamedTuple):
    """What the runs of a recipe that differ in their training settings have in common."""

    task: Task
    model: ModelConfig
    decoder: DecoderConfig
    trainings: list[TrainingConfig]

    @property
    def label(self) -> tuple[str, Any]:
        """Published name of the task, or its own, and how hard it is."""
        identity = self.task.identity
        return published_task(identity) or self.task.name, level_of(identity, self.task.difficulty_parameter)


load = functools.cache(load_recipe)


def runs(recipe: str) -> list[RunConfig]:
    return load(recipe).runs


@functools.cache
def build(name: str, settings: str) -> Task:
    return build_task(name, json.loads(settings))


@functools.cache
def models(recipe: str) -> list[Model]:
    """Each model that is trained on each task for each number of exposures once, however many runs there are."""
    grouped: dict[str, list[RunConfig]] = {}
    for run in (run for run in runs(recipe) if not run.quantization.bits):
        grouped.setdefault(repr((run.task, run.model, run.training.exposures)), []).append(run)
    found = []
    for first, *others in grouped.values():
        task = build(first.task.name, json.dumps(first.task.set))
        decoder = first.model.decoder(len(task.vocabulary))
        found.append(Model(task, first.model, decoder, [run.training for run in (first, *others)]))
    return found


def paper_models() -> Iterator[Model]:
    return itertools.chain.from_iterable(map(models, PAPER))


def test_every_published_cell_is_covered_with_its_steps() -> None:
    steps: dict[tuple[Any, ...], set[int]] = {}
    for model in paper_models():
        words = dataclasses.asdict(model.model) | {"canon": model.decoder.canon.points}
        arguments = {f"model.mixer.{key}": value for key, value in words.pop("mixer").items()}
        settings = {f"model.{key}": value for key, value in words.items()} | arguments
        if published(model.task.identity, settings) is None:
            continue
        (task, hardness), hops = model.label, model.task.parameters.get("K")
        key = (task, hops, hardness, words["model"], words["canon"], words["canon_residual"], words["size"])
        steps.setdefault(key, set()).update(training.steps for training in model.trainings)
    cells = 0
    for entry in tables()["results"]:
        task = entry["task"]
        for hardness, published_steps in zip(tables()["difficulty"][task], tables()["steps"][task], strict=True):
            for size in entry["sizes"]:
                what = (entry["model"], entry["canon"], entry.get("residual", True), size)
                assert steps[(task, entry.get("K"), hardness, *what)] == {published_steps}, (task, hardness, *what)
                cells += 1
    assert cells == len(steps), "a model counts as published and is in no table"


def asked(model: Model) -> dict[str, Any]:
    """The hyper-parameters of a model's runs: one value each, but all rates and seeds."""
    first = model.trainings[0]
    found = {"context": model.task.context, **dataclasses.asdict(first)}
    for training in model.trainings:
        assert dataclasses.replace(training, lr=first.lr, seed=first.seed) == first
    found["lr"] = {training.lr for training in model.trainings}
    found["seed"] = {training.seed for training in model.trainings}
    assert len(model.trainings) == len(found["lr"]) * len(found["seed"])
    return found


def expected(model: Model) -> dict[str, Any]:
    if model.task.name not in KNOWLEDGE:
        return HYPER_PARAMETERS[model.label]
    exposures, junk = model.trainings[0].exposures, isinstance(model.task, Mixture)
    people = (model.task.tasks[0] if isinstance(model.task, Mixture) else model.task).parameters["N"]
    if exposures == 1000 and not junk:
        batch, rate, decay = CAPO_1000[people]
        return {**CAPO, "exposures": 1000, "batch": batch, "lr": {rate}, "weight_decay": decay}
    batch, dense, experts = CAPO_100[people]
    rates = experts if model.model.model == "llama-moe" else dense
    assert exposures == 100 or (junk and exposures in (300, 600, 1000))
    return {**CAPO, "exposures": exposures, "batch": batch, "lr": rates}


@pytest.mark.parametrize("recipe", PAPER)
def test_hyper_parameters_are_the_published_ones(recipe: str) -> None:
    for model in models(recipe):
        wanted, found = expected(model), asked(model)
        assert {key: found[key] for key in wanted} == wanted, (model.task, model.model)
        assert model.decoder.tied == (model.task.name in KNOWLEDGE)


def test_every_task_and_number_of_people_is_there() -> None:
    found = {model.label for model in paper_models()}
    assert {label for label in found if label[0] not in KNOWLEDGE} == set(HYPER_PARAMETERS)
    people = {
        (model.trainings[0].exposures, model.task.parameters["N"])
        for model in paper_models()
        if model.task.name == "capo"
    }
    assert people == {(100, n) for n in CAPO_100} | {(1000, n) for n in CAPO_1000}


@pytest.mark.parametrize("recipe", RECIPES)
def test_plans(recipe: str) -> None:
    first = dataclasses.replace(runs(recipe)[0], backend=BackendConfig(device="cpu", compile="off"))
    assert plan_run(first).config.training.steps > 0


def test_every_model_can_be_built() -> None:
    """One layer of each kind, which says whether the others fit together too."""
    decoders = {repr(model.model): model.decoder for recipe in RECIPES for model in models(recipe)}
    for decoder in decoders.values():
        parameters(decoder)


@pytest.mark.parametrize("recipe", RECIPES)
def test_makes_no_run_twice_and_says_what_it_is(recipe: str) -> None:
    assert max(Counter(map(repr, runs(recipe))).values()) == 1
    loaded = load(recipe)
    folder, _, last = recipe.partition("/")
    assert loaded.name == (f"mini-{last}" if folder == "mini" else last) and loaded.about.endswith(".")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_takes_three_seeds_by_one_flag(recipe: str) -> None:
    changed = load_recipe(recipe, {"training.seed": [0, 1, 2]}).runs
    one = load_recipe(recipe, {"training.seed": 0}).runs
    assert Counter(run.training.seed for run in changed) == dict.fromkeys(range(3), len(one))
    assert [run for run in changed if run.training.seed == 0] == one
    same = [dataclasses.replace(run, training=dataclasses.replace(run.training, seed=0)) for run in runs(recipe)]
    assert {repr(run) for run in one} == {repr(run) for run in same}


def test_the_laptop_recipe_of_families_has_all_of_the_papers() -> None:
    """What it holds is in docs/results; a preset that came later may be in it."""
    found = {run.model.model for run in runs("laptop/families")}
    assert len(found & PRESETS.keys()) >= 18 and len(found - PRESETS.keys()) == 1, "18 presets and a hybrid"


@pytest.mark.parametrize("recipe", GPU)
def test_a_gpu_recipe_fits_into_25_minutes_at_its_assumed_speed(recipe: str) -> None:
    """15 TFLOP/s in training but no step under 10 ms, and half a minute a run for compiling and evaluation."""
    seconds = 0.0
    for model in models(recipe):
        flops = 3 * cost(model.decoder, model.task.context).flops_per_token * model.task.context
        for training in model.trainings:
            steps = training.steps or training.exposures * (model.task.windows_per_exposure or 0) / training.batch
            seconds += steps * max(training.batch * flops / 15e12, 0.01) + 30
    assert 0 < seconds <= 25 * 60
