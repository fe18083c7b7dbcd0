"""The command that quantizes runs."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from canonlab.cli import console, terminal
from canonlab.cli.arguments import Json, option
from canonlab.cli.training import listening
from canonlab.errors import InputError, require_integer
from canonlab.quantization.config import BITS, METHODS, QuantizationConfig
from canonlab.training.quantized import make_quantized, require_quantizable
from canonlab.training.run import find_run, known_runs, open_run


def quantize(
    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN ...", help="Folders of runs that are done.")],
    bits: Annotated[int, arg(help="Of each weight, from 2 to 8.")],
    method: Annotated[str, arg(help=f"{' or '.join(METHODS)}: see docs/quantization.md.")] = QuantizationConfig.method,
    windows: Annotated[int, arg(help="The first training windows, which gptq sees.")] = QuantizationConfig.windows,
    out: Annotated[Path | None, option("PATH", "Folder of the new runs; by default beside each run.")] = None,
    as_json: Json = False,
) -> None:
    """Quantize the final weights of runs: each makes a run folder of its own, which is evaluated as the run was.

    One that exists already is shown.
    """
    if not runs:
        raise InputError("RUN: name at least one folder of a run")
    require_integer("bits", bits, BITS[0], BITS[-1])
    quantization = QuantizationConfig(bits, method, windows)
    origins = [open_run(folder) for folder in runs]
    for origin in origins:
        require_quantizable(origin)
    results = []
    for origin in origins:
        folder = origin.folder if origin.folder.name not in ("", "..") else origin.folder.resolve()
        parent = out or folder.parent
        run = find_run(origin.plan.quantized(quantization), parent, known_runs(parent))
        with listening(None) as listener:
            result = make_quantized(run, origin, listener, shlex.join(["canonlab", *sys.argv[1:]]))
        results.append({"folder": str(run.folder), **result})
        if not as_json:
            console.print_evaluation(result["evaluation"], str(run.folder))
    if as_json:
        terminal.print_json(results)
