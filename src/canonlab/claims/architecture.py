"""Which runs are meant by "one layer of llama-rope with frozen Canon-ABCD"?"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from canonlab.models.config import ModelConfig
from canonlab.results.architecture import ANY, SCALES, in_words, unusual, with_canon
from canonlab.results.comparability import terms
from canonlab.results.groups import OWN, SIZE


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
        layers = () if self.layers is None else (f"{self.layers} layer{'s' if self.layers > 1 else ''}",)
        return ", ".join([with_canon(self.model, self.canon), *layers, *in_words(self.settings)])

    def matches(self, settings: Mapping[str, Any]) -> bool:
        """Whether a row with these settings, by dotted key, is of the architecture."""
        model, canon = settings["model.model"], settings["model.canon"]
        if settings.get(OWN) or (model.replace(" ", ""), canon) != (self.model, self.canon):
            return False
        if self.layers is not None and not str(settings[SIZE]).startswith(f"{self.layers}L"):
            return False
        apart = {name: value for name, value in unusual(settings).items() if name not in SCALES}
        return apart == dict(self.settings)

    def place(self, settings: Mapping[str, Any]) -> str:
        """What two rows of a task must share to be evidence: the terms of a comparison, with the width in place of the
        size where layers are given, and the settings that make no other architecture."""
        size = str(settings[SIZE])
        shared = dict(terms(settings)) | {SIZE: re.sub(r"^\d+L", "", size) if self.layers is not None else size}
        rest = [settings.get(f"model.{key}", getattr(ModelConfig, key)) for key in (*ANY, *SCALES)]
        return repr([sorted(shared.items()), rest])
