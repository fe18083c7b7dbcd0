"""Models in lm-evaluation-harness: runs, exports and imported checkpoints, and any folder that transformers knows."""

import json
import logging
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from canonlab.checks import of_the_user
from canonlab.errors import InputError, require_integer, shown
from canonlab.extras import optional
from canonlab.files import exists, parse_json, read_bytes
from canonlab.hub.export import read_source, to_transformers
from canonlab.hub.exported import CONFIG
from canonlab.hub.tokenizer import tokenizer_files
from canonlab.tasks.base import Task

KEPT = ("results", "groups", "group_subtasks", "versions", "n-shot", "n-samples", "higher_is_better")
"""What of the harness's results says anything of the model."""


def lm_eval(
    folder: Path,
    tasks: Sequence[str],
    *,
    include: Path | None = None,
    limit: int | None = None,
    batch: int = 8,
    tokenizer: Path | None = None,
    checkpoint: str = "last",
    device: str = "cpu",
) -> dict[str, Any]:
    """What lm-evaluation-harness finds of the model in a folder, as it says it (`KEPT`).

    Args:
        folder: a run, an export, a published checkpoint, or a checkpoint of an architecture that transformers has.
        tasks: names of the harness's, or of those in `include`, a folder with tasks as YAML.
        limit: of documents per task.
        batch: documents at once.
        tokenizer: a folder with one, by default the model's own.

    Raises:
        InputError: lm_eval isn't installed, or a model, tokenizer or task can't be found or loaded. Code that comes
            with a model is not executed.
    """
    for field, count in (("limit", 1 if limit is None else limit), ("batch_size", batch)):
        require_integer(field, count, 1)
    optional("lm_eval", "lm-eval", "canonlab lm-eval")
    optional("transformers", "lm-eval", "canonlab lm-eval")
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    if include is not None and not include.is_dir():
        raise InputError(f"include_path = {shown(str(include))}: must be a folder with tasks as YAML")
    if not tasks:
        raise InputError("tasks = (): name at least one")
    with of_the_user(f"include_path = {shown(str(include))}: can't be read"):
        manager = TaskManager(include_path=include, include_defaults=False)
        if manager.all_groups or not set(tasks) <= set(manager.all_tasks):  # lm_eval's own take seconds to be listed
            manager = TaskManager(include_path=include)
    require_known(tasks, manager.all_tasks)
    model = _model(folder, tokenizer, checkpoint, batch, device)
    with of_the_user(f"tasks = {', '.join(tasks)}: can't be evaluated"):
        found = simple_evaluate(model, tasks=list(tasks), limit=limit, task_manager=manager, log_samples=False)
    content = {key: found[key] for key in KEPT if key in found}
    plain: dict[str, Any] = json.loads(json.dumps(content, default=str))
    return plain


def rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each task and metric."""
    table = []
    for task, metrics in found["results"].items():
        for key, value in metrics.items():
            name, _, filtered = key.partition(",")
            if not filtered or name.endswith("_stderr") or not isinstance(value, int | float):
                continue
            error = metrics.get(f"{name}_stderr,{filtered}")
            table.append(
                {
                    "task": task,
                    "metric": name if filtered == "none" else f"{name} ({filtered})",
                    "value": f"{value:.4f}",
                    "stderr": f"{error:.4f}" if isinstance(error, int | float) else "",
                    "documents": found.get("n-samples", {}).get(task, {}).get("effective", ""),
                    "shots": found.get("n-shot", {}).get(task, ""),
                }
            )
    return table


def require_known(tasks: Sequence[str], known: Sequence[str]) -> None:
    """InputError for a task that is none of those known, which are thousands."""
    for name in tasks:
        if name not in known:
            close = get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise InputError(f"unknown task {shown(name)}{hint} (see lm_eval ls tasks; your own: --include-path)")


def _model(folder: Path, tokenizer: Path | None, checkpoint: str, batch: int, device: str) -> Any:
    from lm_eval.models.huggingface import HFLM

    settings: dict[str, Any] = {"batch_size": batch, "device": device, "trust_remote_code": False}
    if _is_foreign(folder):
        given = {} if tokenizer is None else {"tokenizer": str(tokenizer)}
        with of_the_user(f"{folder}: can't be loaded by transformers"):
            return HFLM(pretrained=str(folder), **settings, **given)
    source = read_source(folder, checkpoint)
    words = _tokenizer(folder, tokenizer, source.task)
    if source.task is not None:
        settings["max_length"] = max(HFLM._DEFAULT_MAX_LENGTH, source.task.context)
    return HFLM(pretrained=to_transformers(source.decoder, source.task).to(device), tokenizer=words, **settings)


def _is_foreign(folder: Path) -> bool:
    """Whether a folder has a model of an architecture that comes with transformers."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    path = folder / CONFIG
    content = parse_json(read_bytes(path), path) if exists(path) else None
    return isinstance(content, dict) and content.get("model_type") in CONFIG_MAPPING_NAMES


def _tokenizer(folder: Path, given: Path | None, task: Task | None) -> Any:
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if given is None and task is not None:
        content, about = tokenizer_files(task).values()
        fast = Tokenizer.from_str(json.dumps(content))
        return PreTrainedTokenizerFast(tokenizer_object=fast, **{**about, "tokenizer_class": None})
    place = given or folder
    if given is None and not exists(folder / "tokenizer_config.json") and not exists(folder / "tokenizer.json"):
        raise InputError(f"{folder} has no tokenizer; name a folder with one: --tokenizer DIR")
    with of_the_user(f"{place}: its tokenizer can't be loaded"):
        return AutoTokenizer.from_pretrained(str(place), trust_remote_code=False)
