"""Which runs are meant by "one layer of llama-rope with frozen Canon-ABCD"?"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from canonlab.models.config import ModelConfig
from canonlab.results.architecture import ANY, SCALES, in_words, unusual, with_canon
from canonlab.results.cells import Cell
from canonlab.results.comparability import terms
from canonlab.results.groups import OWN, SIZE
from canonlab.tasks.metrics import lower_is_better

ONLY = {"capo": ("training.exposures", 100)}
"""What the findings of Part 4.1 are about: capacity depends on the architecture after 100 exposures, and hardly after
1000."""


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

    @property
    def at_its_best(self) -> bool:
        """Whether it stands with the best of all that was tried of it, however much that is."""
        return False

    def __str__(self) -> str:
        layers = () if self.layers is None else (f"{self.layers} layer{'s' if self.layers > 1 else ''}",)
        return ", ".join([with_canon(self.model, self.canon), *layers, *in_words(self.settings)])

    def matches(self, cell: Cell) -> bool:
        """Whether a cell is of the architecture, and of what findings about it are about."""
        settings = cell.rows[0].settings
        key, wanted = ONLY.get(cell.section.task["name"], ("", None))
        return self.fits(settings) and (lower_is_better(cell.metric) or settings.get(key) == wanted)

    def fits(self, settings: Mapping[str, Any]) -> bool:
        """Whether a row with these settings, by dotted key, is of the architecture."""
        model, canon = settings["model.model"], settings["model.canon"]
        if settings.get(OWN) or (model.replace(" ", ""), canon) != (self.model, self.canon):
            return False
        if self.layers is not None and not str(settings[SIZE]).startswith(f"{self.layers}L"):
            return False
        apart = {name: value for name, value in unusual(settings).items() if name not in SCALES}
        return apart == dict(self.settings)

    def place(self, cell: Cell) -> str:
        """What two cells must share to be evidence."""
        return f"{id(cell.section)} {self.shared(cell.rows[0].settings)}"

    def shared(self, settings: Mapping[str, Any]) -> str:
        """What their rows must share of their settings: the terms of a comparison, with the width in place of the size
        where layers are given, and the settings that make no other architecture."""
        size = str(settings[SIZE])
        shared = dict(terms(settings)) | {SIZE: re.sub(r"^\d+L", "", size) if self.layers is not None else size}
        return repr([sorted(shared.items()), scales(settings)])

    def rank(self, _: Cell) -> float:
        """Of cells of one place the one of the highest rank counts, of several the last: those that differ in none of
        this are a preset's that meant another model in an earlier version."""
        return 0.0


def scales(settings: Mapping[str, Any]) -> list[Any]:
    """The settings of a model that make no other architecture."""
    return [settings.get(f"model.{key}", getattr(ModelConfig, key)) for key in (*ANY, *SCALES)]
