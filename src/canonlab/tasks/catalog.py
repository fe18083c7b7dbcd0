"""The built-in tasks by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from canonlab.errors import unknown
from canonlab.tasks.base import Task, typed_settings
from canonlab.tasks.biod import BioD
from canonlab.tasks.brevo import Brevo
from canonlab.tasks.capo import Capo, CapoQuestions
from canonlab.tasks.copy import Copy
from canonlab.tasks.depo import Depo
from canonlab.tasks.lano import Lano
from canonlab.tasks.mano import Mano
from canonlab.tasks.mixture import Mixture, Part


class NamedTask(NamedTuple):
    """A task with the parameters that a name stands for."""

    task: type[Task]
    parameters: Mapping[str, Any]
    summary: str


DEPO1 = {"N": 225, "K": 8, "V": 50, "lengths": (1, 2), "context": 2048}
DEPO2 = {"N": 75, "K": 16, "V": 4, "lengths": (5, 7), "context": 2048}
BREVO1 = {"N": 70, "V": None, "lengths": (1, 1), "query": "last-quarter", "context": 1024}
BREVO2 = {"N": 30, "V": 4, "lengths": (2, 4), "query": "last-quarter", "context": 1536}
BIOD = {"N": 10_000, "K": 6, "C": 1, "D": 500, "L": 2, "T": 500, "N0": 400 * 400 * 1000, "context": 512}
CAPO = {"N": 50_000, "simple": False, "tokenizer": "own", "context": 512}
BIOD_MINI = {"N": 1000, "K": 1, "C": 8, "D": 64, "L": 1, "T": 64, "N0": 64**2, "context": 64}
BIOD_JUNK = (
    Part("biod-mini", {"N": 200, "N0": 64**4}),
    Part("biod-mini", {"N": 10_000_000, "N0": 64**4}, share=7, name="junk"),
)
JUNK = (Part("capo"), Part("capo", {"N": 100_000_000}, share=7, name="junk"))
LANO_CONTEXT = dict.fromkeys(("cfg3b", "cfg3f", "cfg3g", "cfg3h", "cfg3i"), 512) | {"cfg3j": 1536, "cfg3k": 1536}

TASKS: Mapping[str, NamedTask] = MappingProxyType(
    {
        "biod": NamedTask(BioD, BIOD, "knowledge capacity: facts of K attributes, of a chosen size and variety (bioD)"),
        "biod-junk": NamedTask(
            Mixture,
            {"parts": BIOD_JUNK, "context": 64},
            "knowledge capacity among junk, in miniature: a mixture of bioD",
        ),
        "biod-mini": NamedTask(
            BioD, BIOD_MINI, "knowledge capacity in miniature: eight tokens to know of each person, not of the paper"
        ),
        "brevo1": NamedTask(Brevo, BREVO1, "reasoning breadth: all that a vertex depends on; names are one token of N"),
        "brevo2": NamedTask(Brevo, BREVO2, "reasoning breadth with names of 2-4 tokens out of a vocabulary of 2 x 4"),
        "capo": NamedTask(Capo, CAPO, "knowledge capacity: biographies, written anew in each exposure (bioS)"),
        "capo-questions": NamedTask(CapoQuestions, CAPO, "knowledge extraction: questions about half of capo's people"),
        "capo-simple": NamedTask(Capo, {**CAPO, "simple": True}, "knowledge capacity, one text a person (bioS-simple)"),
        "capo-junk": NamedTask(
            Mixture,
            {"parts": JUNK, "context": 512},
            "knowledge capacity in a mixture: seven of eight windows are of people who never come again",
        ),
        "copy": NamedTask(Copy, {"N": 500, "context": 1024}, "copy a permutation of 1..N (a warm-up)"),
        "depo": NamedTask(Depo, DEPO1, "reasoning depth: the k-th successor on a directed cycle; the same as depo1"),
        "depo1": NamedTask(Depo, DEPO1, "reasoning depth with names of 1-2 tokens out of a vocabulary of 2 x 50"),
        "depo2": NamedTask(Depo, DEPO2, "reasoning depth with names of 5-7 tokens out of a vocabulary of 2 x 4"),
        **{
            f"lano-{grammar}": NamedTask(
                Lano,
                {"grammar": grammar, "context": context},
                f"hierarchical structure: sentences of the context-free grammar {grammar}",
            )
            for grammar, context in LANO_CONTEXT.items()
        },
        "lano-mini": NamedTask(
            Lano,
            {"grammar": "mini", "context": 64},
            "hierarchical structure in miniature: a grammar of five levels, not of the paper",
        ),
        "mixture": NamedTask(
            Mixture,
            {"parts": (Part("lano-mini"), Part("mano")), "context": 512},
            "several tasks in exact shares, any of them: here two skills at once, structure and arithmetic",
        ),
        "mano": NamedTask(Mano, {"L": 10, "context": 1024}, "knowledge manipulation: arithmetic modulo 23, at once"),
    }
)


def build_task(name: str, settings: Mapping[str, Any] = MappingProxyType({})) -> Task:
    """The preset `name` with some parameters set anew; InputError with the nearest word if there is no such."""
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    preset = TASKS[name]
    return preset.task(**{**preset.parameters, **typed_settings(preset.task, settings)})
