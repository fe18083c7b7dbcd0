"""Which runs are meant by "one layer of llama-rope with frozen Canon-ABCD"?"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from canonlab.results.cells import WORDS
from canonlab.results.groups import OWN, SIZE
from canonlab.results.published import USUAL

EXPECTED = {key: value for key, value in USUAL.items() if key != "tied"}
"""Settings of a model that an architecture has unless it says otherwise. What is not in here
(`exact_intermediate`, `tied`) may be anything, but the same on both sides of a comparison."""


@dataclass(frozen=True)
class Architecture:
    """A model preset (or hybrid) and its Canon set.

    `layers`, where given, restricts to models of so many: these are compared with others of the same width. `settings`
    are fields of ModelConfig that differ from the usual, ("mixer.init", "mimetic") for an argument of the mixer.
    """

    model: str
    canon: str = ""
    layers: int | None = None
    settings: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        added = "conv1d" if self.canon == "b" else f"Canon-{self.canon}"
        layers = () if self.layers is None else (f"{self.layers} layer{'s' if self.layers > 1 else ''}",)
        words = (WORDS.get(key, f"{key.removeprefix('mixer.')} {value}") for key, value in self.settings)
        return ", ".join([f"{self.model} + {added}" if self.canon else self.model, *layers, *words])

    def matches(self, settings: Mapping[str, Any]) -> bool:
        """Whether a row with these settings, by dotted key, is of the architecture."""
        model, canon = settings["model.model"], settings["model.canon"]
        if settings.get(OWN) or (model.replace(" ", ""), canon) != (self.model, self.canon):
            return False
        if self.layers is not None and not str(settings[SIZE]).startswith(f"{self.layers}L"):
            return False
        given = dict(self.settings)
        mixer = {key.removeprefix("model."): v for key, v in settings.items() if key.startswith("model.mixer.")}
        if mixer != {key: value for key, value in given.items() if key.startswith("mixer.")}:
            return False
        return all(settings.get(f"model.{key}", usual) == given.get(key, usual) for key, usual in EXPECTED.items())

    def place(self, settings: Mapping[str, Any]) -> str:
        """What two rows must have in common to be compared: size, or width, and the settings of no architecture."""
        size = str(settings[SIZE])
        apart = {SIZE, "model.model", "model.canon", *(f"model.{key}" for key in EXPECTED)}
        rest = sorted(
            (key, repr(value))
            for key, value in settings.items()
            if key.startswith("model.") and not key.startswith("model.mixer.") and key not in apart
        )
        return repr([re.sub(r"^\d+L", "", size) if self.layers is not None else size, rest])
