"""A part's tokens among those of a mixture, and a model of the mixture as a model of one part."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from canonlab.tasks.base import Generate, Model


class Words:
    """The ids that a part's tokens have in the mixture: token i of the part is `ids[i]` of the mixture's `size`.

    A model that predicts the mixture's tokens is a model of the part's, with more tokens than those, if its columns are
    put into the part's order. Where the ids are the same ones that is the model itself.
    """

    def __init__(self, ids: Sequence[int], size: int) -> None:
        self.ids, self.size = np.array(ids, np.int64), size

    @property
    def same(self) -> bool:
        """Whether the part's ids are the mixture's."""
        return bool((self.ids == np.arange(len(self.ids))).all())

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """The mixture's ids with the part's first, in its order."""
        rest = np.setdiff1d(np.arange(self.size), self.ids)
        return np.concatenate([self.ids, rest])

    @cached_property
    def back(self) -> NDArray[np.int64]:
        """By the mixture's ids: their places in `order`, which are the part's ids of its own tokens."""
        return np.argsort(self.order)

    def model(self, model: Model) -> Model:
        """The model for the part's evaluation; a module if it is one, with a cached state if it has one."""
        if self.same:
            return model
        if not isinstance(model, nn.Module):
            return lambda ids: self.columns(model(self.mixed(ids)))
        return StatefulPart(model, self) if hasattr(model, "init_state") else ModulePart(model, self)

    def generate(self, generate: Generate | None) -> Generate | None:
        """The continuation of the part's prompts."""
        if self.same or generate is None:
            return generate
        return Continued(generate, self)

    def mixed(self, ids: Tensor) -> Tensor:
        """The mixture's ids of the part's."""
        return torch.from_numpy(self.order).to(ids.device)[ids]

    def columns(self, output: Any) -> Tensor:
        """The logits of an output, the part's tokens first; columns beyond the mixture's tokens stay where they are."""
        logits: Tensor = getattr(output, "logits", output)
        own = logits[..., torch.from_numpy(self.order).to(logits.device)]
        return torch.cat([own, logits[..., self.size :]], dim=-1) if logits.shape[-1] > self.size else own


class ModulePart(nn.Module):
    """A module as a model of a part."""

    def __init__(self, model: nn.Module, words: Words) -> None:
        super().__init__()
        self.model, self.words = model, words

    def forward(self, ids: Tensor, *rest: Any) -> Tensor:
        """The part's ids -> logits; whatever else the module takes is passed on."""
        return self.words.columns(self.model(self.words.mixed(ids), *rest))


class StatefulPart(ModulePart):
    """The same of a module that has a cached state."""

    def init_state(self, *size: int) -> Any:
        """The module's."""
        return self.model.init_state(*size)  # type: ignore[operator]


class Continued:
    """`Generate` in a part's ids; tokens that are none of its own have ids beyond its vocabulary."""

    def __init__(self, generate: Generate, words: Words) -> None:
        self.generate, self.words = generate, words

    def __call__(
        self,
        prompts: Sequence[Sequence[int]],
        max_new: int,
        stop: int | None = None,
        *,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[int]]:
        """See `Generate`."""
        order, back = self.words.order, self.words.back
        mixed = [order[list(prompt)].tolist() for prompt in prompts]
        end = None if stop is None else int(order[stop])
        answers = self.generate(mixed, max_new, end, temperature=temperature, seed=seed)
        return [back[answer].tolist() for answer in answers]
