"""A mixer's inventor asks: what is it good at? The miniatures, for models of theirs and for references.

All are trained in the same way, on the same data, with three seeds. Then pairs of a model and a reference that are open
get further seeds, looked at after each. So that many looks err no more often together, each has a part of the error
(`LOOKS`, 5% in all), and a lead has to be plainer than after one look (`APART`). Runs are found by their identity: what
has been made is not made again, and one more model makes only its own runs. `results.profile` says what is decided.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from canonlab.errors import InputError
from canonlab.models.cost import parameters
from canonlab.sweeps.recipe import load_recipe
from canonlab.training.config import RunConfig

SKILLS = ("copy", "depo", "recall", "brevo", "mano", "lano")

REFERENCES = (
    ("llama-rope", "none"),
    ("llama-rope", "ABCD"),
    ("gla", "none"),
    ("gla", "AbCD"),
    ("mamba2-mlp", "b"),
    ("mamba2-mlp", "AbCD"),
    ("gdn", "b"),
    ("gdn", "AbCD"),
)
"""Model and Canon set."""

MATCHED = 0.03
"""How far numbers of parameters may be apart that count as equal."""


class Architecture(NamedTuple):
    """A model in a user's words, and its Canon set."""

    model: str
    canon: str
    mlp_ratio: float = 0.0


def suite(skills: Iterable[str], architectures: Sequence[Architecture], seeds: int) -> list[RunConfig]:
    """The runs of these skills, for all architectures and for seeds 0 .. `seeds` - 1."""
    return [
        run_of(skill, architecture, seed) for skill in skills for architecture in architectures for seed in range(seeds)
    ]


def run_of(skill: str, architecture: Architecture, seed: int) -> RunConfig:
    """One run of a miniature."""
    base = load_recipe(f"mini/{skill}").runs[0]
    ratio = architecture.mlp_ratio or base.model.mlp_ratio
    model = dataclasses.replace(base.model, model=architecture.model, canon=architecture.canon, mlp_ratio=ratio)
    return dataclasses.replace(base, model=model, training=dataclasses.replace(base.training, seed=seed))


def matched(architecture: Architecture, vocabulary: int = 64) -> Architecture:
    """The architecture with an MLP as wide as gives it the parameters of llama-rope with its Canon set.

    InputError where no width does, to within `MATCHED`.
    """
    base = run_of("depo", architecture, 0).model
    wanted = parameters(dataclasses.replace(base, model="llama-rope", canon="ABCD").decoder(vocabulary))

    def count(ratio: float) -> int:
        return parameters(dataclasses.replace(base, mlp_ratio=ratio).decoder(vocabulary))

    low, high = 1 / 16, 16.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if count(middle) < wanted else (low, middle)
    if abs(found := count(high) / wanted - 1) > MATCHED:
        raise InputError(
            f"match_params: no width of the MLP brings {architecture.model} to within {MATCHED:.0%} of {wanted:,} "
            f"parameters; the nearest is {found:+.1%}"
        )
    return architecture._replace(mlp_ratio=high)


def more_seeds(open_pairs: Mapping[str, Sequence[tuple[Architecture, Architecture]]], count: int) -> list[RunConfig]:
    """The runs that the next look, at `count` seeds, takes: of all that are in an open pair of a skill."""
    runs = {}
    for skill, found in open_pairs.items():
        for architecture in dict.fromkeys(each for pair in found for each in pair):
            for seed in range(count):
                run = run_of(skill, architecture, seed)
                runs[repr(run)] = run
    return list(runs.values())
