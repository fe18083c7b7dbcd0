"""Commands about models: what there is, what one costs, whether a mixer keeps its promises."""

import sys
from typing import Annotated, Any

from tyro.conf import Positional, arg

from canonlab.cli import console, terminal
from canonlab.cli.arguments import Json, Mixer, parse_settings
from canonlab.errors import InputError
from canonlab.models import table
from canonlab.models.check import check_mixer, chosen
from canonlab.models.check.costs import readable
from canonlab.models.config import ModelConfig
from canonlab.training.backend import find_device


def models(
    name: Annotated[
        Positional[str | None], arg(metavar="[NAME]", help="A preset, several with commas, or path.py:Class.")
    ] = None,
    size: Annotated[str | None, arg(help="Such as 8L512D or 4-8; by default all four of a NAME.")] = None,
    canon: Annotated[str, arg(help="Canon points, original or none.")] = "original",
    canon_kernel: Annotated[int, arg(help="Taps of each Canon layer, 2 to 8.")] = 4,
    canon_dynamic: Annotated[bool, arg(help="With taps of each token's own.")] = False,
    canon_gate: Annotated[bool, arg(help="With a learned factor on what each adds.")] = False,
    canon_layers: Annotated[str, arg(help="The layers that have them, such as 0-3,8; or all.")] = "all",
    mixer: Mixer = (),
    vocabulary: Annotated[int, arg(help="Tokens.")] = table.VOCABULARY,
    context: Annotated[int, arg(help="Tokens of a window, for FLOPs and state.")] = table.CONTEXT,
    as_json: Json = False,
) -> None:
    """List the architectures, or say what one costs: parameters, FLOPs, state, and against llama-rope."""
    options: dict[str, Any] = {
        "canon_kernel": canon_kernel,
        "canon_dynamic": canon_dynamic,
        "canon_gate": canon_gate,
        "canon_layers": canon_layers,
    }
    if name is None:
        if mixer:
            raise InputError(f"--mixer {' '.join(mixer)}: name the model that it is for")
        rows = table.overview(table.SIZES[0] if size is None else size, canon, vocabulary, context, **options)
    else:
        model = ModelConfig(name, canon=canon, **options, mixer=parse_settings(mixer))
        rows = table.model_rows(model, table.SIZES if size is None else [size], vocabulary, context)
    if as_json:
        terminal.print_json(rows)
    else:
        console.print_models(rows, vocabulary, context)


def check(
    model: Annotated[Positional[str], arg(metavar="MIXER", help="path.py:Class, or a preset.")],
    size: Annotated[str, arg(help="The model whose width the mixer has, and whose costs are shown.")] = "2L64D",
    mixer: Mixer = (),
    only: Annotated[tuple[str, ...], arg(metavar="CHECK ...", help='These alone, such as segments "any length".')] = (),
    skip: Annotated[tuple[str, ...], arg(metavar="CHECK ...", help="All but these, such as costs.")] = (),
    device: Annotated[str, arg(help="Where: auto, cpu, cuda, cuda:N or mps.")] = "cpu",
    as_json: Json = False,
) -> None:
    """Whether a mixer keeps its promises, from causality to decoding, and what it costs. Status 1 if not."""
    config = ModelConfig(model, size, mixer=parse_settings(mixer))
    findings = check_mixer(config, chosen(only, skip), str(find_device(device)))
    if as_json:
        checks = [found._asdict() for found in findings.checks]
        terminal.print_json({"passed": not findings.failed, "checks": checks, "costs": findings.costs})
    else:
        console.print_checks(findings.checks)
        if findings.costs:
            print()
            console.print_rows(readable(findings.costs))
    if findings.failed:
        sys.exit(1)
