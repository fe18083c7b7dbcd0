"""The README.md of an export, a model card: what the model is, how it is used, what it was measured at."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from canonlab import __version__
from canonlab.models.config import ModelConfig
from canonlab.models.decoder import DecoderConfig

HEADER = """---
library_name: transformers
pipeline_tag: text-generation
tags:
- canonlab
{tags}{index}---
"""

USE = """
## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

model = AutoModelForCausalLM.from_pretrained("DIR", trust_remote_code=True)  # without it where canonlab is installed
{tokenizer}```

The code in this folder is canonlab's ({version}), without its compiled CPU kernels. Weights are in single precision;
for half precision use autocast. `canonlab import DIR` brings the model back.
"""

TOKENIZED = """tokenizer = AutoTokenizer.from_pretrained("DIR", trust_remote_code=True)
pipeline("text-generation", model=model, tokenizer=tokenizer)({prompt})  # tokens are words between spaces
"""


@dataclass(frozen=True)
class Origin:
    """Where a model comes from.

    Attributes:
        source: In words.
        task: The name of the task that it was trained on, its parameters, and a prompt in words; empty for none.
        training: The configuration of its training.
        evaluation: `Evaluation.plain()` of these weights.
        notes: Lines for whoever uses it.
    """

    source: str
    task: str = ""
    parameters: Mapping[str, Any] | None = None
    prompt: str = ""
    training: Mapping[str, Any] | None = None
    evaluation: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()


def model_card(model: ModelConfig, config: DecoderConfig, parameters: int, origin: Origin) -> str:
    """The card as Markdown, with the header that the hub reads."""
    title = f"{model.model} {model.size}, Canon {config.canon.points or 'none'}"
    facts = {
        "source": origin.source,
        "parameters": f"{parameters:,}",
        "vocabulary": config.vocabulary,
        "layers": config.layers,
        "width": config.width,
        **{key: value for key, value in vars(model).items() if value != getattr(ModelConfig(), key)},
    }
    lines = [f"\n# {title}\n", *origin.notes, *([""] if origin.notes else []), *_table(facts.items())]
    if origin.task:
        lines += [f"\n## Task: {origin.task}\n", *_table((origin.parameters or {}).items())]
    if origin.training:
        lines += ["\n## Training\n", *_table(origin.training.items())]
    if origin.evaluation:
        lines += ["\n## Evaluation\n", *_results(origin.evaluation)]
    tokenizer = TOKENIZED.format(prompt=json.dumps(origin.prompt + " ")) if origin.task else ""
    use = USE.format(tokenizer=tokenizer, version=__version__)
    tags = "- canon-layers\n" if config.canon.points.replace("b", "") else ""
    return HEADER.format(tags=tags, index=_index(title, origin)) + "\n".join(lines) + "\n" + use


def _cell(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _table(rows: Iterable[tuple[str, Any]]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {_cell(key)} | {_cell(value)} |" for key, value in rows)]


def _results(evaluation: Mapping[str, Any]) -> list[str]:
    lines = ["| metric | value | 95% interval |", "|---|---|---|"]
    for name, metric in evaluation["metrics"].items():
        low, high = metric.get("low"), metric.get("high")
        interval = "" if low is None or high is None else f"{low:.4g} to {high:.4g}"
        value = "" if metric["value"] is None else f"{metric['value']:.4g}"
        lines.append(f"| {_cell(name)} | {value} | {interval} |")
    return lines


def _index(title: str, origin: Origin) -> str:
    """The results as the hub reads them: the metrics to quote, as JSON, which YAML reads too."""
    if not origin.evaluation or not origin.task:
        return ""
    metrics = [
        {"type": name, "name": name, "value": origin.evaluation["metrics"][name]["value"]}
        for name in origin.evaluation["headline"]
    ]
    dataset = {"type": f"canonlab/{origin.task}", "name": origin.task}
    result = {"task": {"type": "text-generation"}, "dataset": dataset, "metrics": metrics}
    return f"model-index: {json.dumps([{'name': title, 'results': [result]}])}\n"
