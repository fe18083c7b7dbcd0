"""Commands between canonlab and others' libraries: checkpoints in, models out, the models in others' evaluations."""

import json
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from canonlab.cli import console, terminal
from canonlab.cli.arguments import Json, option, require_outputs
from canonlab.errors import unknown
from canonlab.files import safe_name, write_text
from canonlab.hub import export, import_published
from canonlab.hub.harness import lm_eval, rows
from canonlab.training.backend import find_device
from canonlab.training.run import require_apart
from canonlab.typed import user_path

Checkpoint = Annotated[str, arg(help="Of a run: last or best.")]


def import_command(
    checkpoint: Annotated[
        Positional[str], arg(metavar="DIR_OR_HUB_NAME", help="A folder as published, or owner/name on the hub.")
    ],
    out: Annotated[Path | None, option("PATH", "The folder to write; by default models/<its name>.")] = None,
    as_json: Json = False,
) -> None:
    """Bring in a published checkpoint (Llama, LlamaCanon, GLA5, GDN2, Mamba2), or an export."""
    folder = out or Path("models") / safe_name(user_path(checkpoint).absolute().name)
    require_apart(folder, "out")
    about = import_published(checkpoint, folder)
    if as_json:
        terminal.print_json({"out": str(folder), **about})
    else:
        model = about["model"]
        words = f"{model['model']} {model['size']}, Canon {model['canon']}, {about['parameters']:,} parameters"
        terminal.say(f"{words}; in Python: canonlab.hub.load_published({str(folder)!r})")


def export_command(
    model: Annotated[Positional[Path], arg(metavar="RUN", help="A run folder, or one that canonlab import wrote.")],
    out: Annotated[Path, arg(help="The folder to write.")],
    to: Annotated[str, arg(help="hf, for Hugging Face's transformers.")] = "hf",
    checkpoint: Checkpoint = "last",
    as_json: Json = False,
) -> None:
    """Write a model as a folder that transformers loads, also where canonlab isn't installed."""
    if to != "hf":
        raise unknown("to", to, ["hf"])
    require_apart(out, "out")
    about = export(model, out, checkpoint)
    if as_json:
        terminal.print_json({"out": str(out), **about})
    else:
        words = f"{about['model']} {about['size']}, Canon {about['canon']}, {about['parameters']:,} parameters"
        terminal.say(f"{words}; AutoModelForCausalLM.from_pretrained({str(out)!r}, trust_remote_code=True)")


def lm_eval_command(
    model: Annotated[
        Positional[Path], arg(metavar="RUN_OR_DIR", help="A run, an export, or a checkpoint of transformers.")
    ],
    tasks: Annotated[tuple[str, ...], arg(metavar="TASK ...", help="Names of lm_eval's tasks, or of your own.")],
    include_path: Annotated[Path | None, option("DIR", "Tasks of your own as YAML; with their functions.")] = None,
    limit: Annotated[int | None, option("INT", "Documents of each task; by default all.")] = None,
    batch_size: Annotated[int, arg(help="Documents at once.")] = 8,
    tokenizer: Annotated[Path | None, option("DIR", "A folder with a tokenizer; by default the model's own.")] = None,
    checkpoint: Checkpoint = "last",
    device: Annotated[str, arg(help="Where: auto, cpu, cuda, cuda:N or mps.")] = "auto",
    out: Annotated[Path | None, option("PATH", "Also write what was found to this file, as JSON.")] = None,
    as_json: Json = False,
) -> None:
    """Evaluate a model on tasks of lm-evaluation-harness."""
    require_outputs({"out": out})
    found = lm_eval(
        model,
        tasks,
        include=include_path,
        limit=limit,
        batch=batch_size,
        tokenizer=tokenizer,
        checkpoint=checkpoint,
        device=str(find_device(device)),
    )
    if out is not None:
        write_text(out, json.dumps(found, indent=2) + "\n", "out")
    terminal.print_json(found) if as_json else console.print_rows(rows(found))
