"""What the architectures cost beside each other: the `models` command."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from canonlab.errors import InputError, require_integer
from canonlab.models.config import ModelConfig
from canonlab.models.cost import cost, parameters_without_embedding
from canonlab.models.decoder import MOST
from canonlab.models.presets import PRESETS
from canonlab.models.sizes import Size

SIZES = ("8L512D", "12L512D", "8L768D", "12L768D")
"""Of all tasks but Capo."""

REFERENCE = next(iter(PRESETS))
AGAINST = f"against {REFERENCE}"
MATCHED = 0.03
"""Models whose parameters differ by more than this share are not of one size."""

SHARED = ("canon_kernel", "canon_dynamic", "canon_gate", "canon_layers", "exact_intermediate")
"""Settings that change how many parameters a model has, and that the reference shares with it."""

VOCABULARY, CONTEXT = 109, 2048
"""Depo1's."""

Row = dict[str, Any]


def overview(
    size: str = SIZES[0],
    canon: str = "original",
    vocabulary: int = VOCABULARY,
    context: int = CONTEXT,
    **options: Any,
) -> list[Row]:
    """Every preset at one size: `name`, `about`, and what `model_rows` says of it, with more settings as `options`.

    Where a preset lacks that size or Canon set, `about` says why and the numbers are None. InputError where all do.
    """
    rows = []
    for name, preset in PRESETS.items():
        try:
            (row,) = model_rows(ModelConfig(name, canon=canon, **options), [size], vocabulary, context)
            rows.append({"name": name, "about": preset.about, **row})
        except InputError as error:
            rows.append({"name": name, "about": str(error)})
    keys = max(rows, key=len)
    if "size" not in keys:
        raise InputError(rows[0]["about"])
    return [{key: row.get(key) for key in keys} for row in rows]


def model_rows(
    model: ModelConfig,
    sizes: Iterable[str] = SIZES,
    vocabulary: int = VOCABULARY,
    context: int = CONTEXT,
    device: str = "cpu",
) -> list[Row]:
    """What a model costs, one row for each size (a hybrid and a user's own too).

    `state_bytes_per_layer` is for one sequence of `context` tokens in single precision, and for one layer of the size.
    `against` is the share of parameters, embedding apart, that it has more than `REFERENCE` with the same Canon points,
    and `matched` whether that is at most 3%. A mixer that needs memory to be counted is counted on `device`.
    """
    require_integer("context", context, 1, MOST)
    rows = []
    for size in sizes:
        sized = dataclasses.replace(model, size=size)
        decoder = sized.decoder(vocabulary)
        found, reference = cost(decoder, context, device), _reference(sized, decoder.canon.points, vocabulary)
        against = found.parameters_without_embedding / reference - 1
        state = None if found.state_bytes is None else found.state_bytes // Size.parse(size).layers
        rows.append(
            {
                "size": size,
                "canon": decoder.canon.points or "none",
                "parameters": found.parameters,
                "without_embedding": found.parameters_without_embedding,
                "active": found.active_parameters,
                "flops_per_token": found.flops_per_token,
                "state_bytes_per_layer": state,
                "against": against,
                "matched": abs(against) <= MATCHED,
            }
        )
    return rows


def _reference(model: ModelConfig, points: str, vocabulary: int) -> int:
    """Parameters, embedding apart, of the reference; its counterpart of a convolution beside Canon layers is B.

    Beside K or V, which B would be on as well, a convolution has none.
    """
    convolution = "" if {"K", "V"} & set(points) else "B"
    canon = "none" if points in ("", "b") else points.replace("b", convolution)
    shared = {name: getattr(model, name) for name in SHARED}
    plain = ModelConfig(REFERENCE, model.size, canon, **shared)
    return parameters_without_embedding(plain.decoder(vocabulary))


def readable(rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Rows for a terminal: numbers short, `AGAINST` in percent, with a star where it is more than 3%."""
    shown = []
    for row in rows:
        against = None if row["against"] is None else f"{row['against']:+.1%}{'' if row['matched'] else ' *'}"
        rest = {key: _short(value) for key, value in row.items() if key not in ("against", "matched")}
        shown.append({**rest, AGAINST: against})
    return shown


def _short(value: Any) -> Any:
    """An integer with its first four digits and K, M or G; anything else as it is."""
    if not isinstance(value, int) or value < 10_000:
        return value
    number, suffix = next((value / unit, name) for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "K")) if value >= unit)
    return f"{number:.4g}{suffix}"
