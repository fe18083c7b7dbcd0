"""What a run is told to do. Every field counts: together they are the run's identity."""

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any

from canonlab import typed
from canonlab.errors import InputError, require_integer, require_seed, shown, unknown
from canonlab.models.config import ModelConfig
from canonlab.quantization.config import QuantizationConfig
from canonlab.tasks.base import MAX_COUNT, MAX_WINDOWS
from canonlab.training.optimizer import OPTIMIZERS, SCHEDULES, choices
from canonlab.training.parts import CHECKPOINTS
from canonlab.training.published import MODEL, TRAINING

WORDS: dict[str, Collection[str]] = {
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "precision": ("auto", "fp32", "bf16"),
    "compile": ("auto", "on", "off"),
    "linear": ("auto", "torch", "numba", "fla"),
}
"""What a field may be."""

INTEGERS = {
    **dict.fromkeys(("batch", "eval_every", "checkpoint_every", "log_every"), (1, MAX_WINDOWS)),
    **dict.fromkeys(("steps", "exposures", "warmup", "microbatch"), (0, MAX_WINDOWS)),
    "eval_windows": (1, MAX_COUNT),
    "final_windows": (0, MAX_COUNT),
}
"""The least and the most."""

MOST_THREADS = 1024
"""Some systems end a process that asks for many more."""


MOST_RANK = 1 << 16
"""Far beyond any matrix's own rank."""


def _require_word(field: str, value: str) -> None:
    if value not in WORDS[field]:
        raise unknown(field, value, WORDS[field])


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """A task in a user's words: a preset or `path.py:Class`, and the parameters that differ from its defaults."""

    name: str
    set: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    __doc__ = f"""Optimizer and schedule, evaluation and checkpoints. Source: Part 4.1, appendices A and C.

    Attributes:
        steps: Optimizer steps; 0 for as many as `exposures` take.
        exposures: Times that everything is to be seen, for tasks that teach a fixed set (capo), where steps is 0.
        batch: Windows in each step.
        lr: Peak learning rate.
        seed: Of the data and of the initial weights.
        warmup: Steps of linear warm-up.
        optimizer: {choices(OPTIMIZERS)}.
        schedule: From the peak, after the warm-up, on. {choices(SCHEDULES)}.
        weight_decay: On matrices and Canon weights, but for those that a mixer's class marks; nothing else decays.
        beta1: Decay of the mean gradient.
        beta2: Decay of the mean square gradient.
        eps: Added to the root of the mean square gradient.
        clip: Largest gradient norm; 0 for no clipping.
        isolate: Instances packed into one window don't see each other.
        microbatch: Windows in one forward and backward pass; 0 for the whole batch.
        metric: What runs are compared and the best checkpoint is chosen by, such as loss; area_loss for its mean over
            the evaluations in training; auto for the task's own.
        eval_every: Steps between evaluations.
        eval_windows: Windows of each of them.
        final_windows: Windows of the final evaluation; 0 for the task's default (95% intervals of at most one point).
        checkpoint_every: Steps between checkpoints.
        log_every: Steps between lines of the training log.
    """

    steps: int = 10_000
    exposures: int = 0
    batch: int = 32
    lr: float = 1e-3
    seed: int = 0
    warmup: int = 1000
    optimizer: str = "adamw"
    schedule: str = "cosine"
    weight_decay: float = 0.03
    beta1: float = 0.9
    beta2: float = 0.98
    eps: float = 1e-6
    clip: float = 1.0
    isolate: bool = False
    microbatch: int = 0
    metric: str = "auto"
    eval_every: int = 1000
    eval_windows: int = 64
    final_windows: int = 0
    checkpoint_every: int = 1000
    log_every: int = 10

    def __post_init__(self) -> None:
        for name, (least, most) in INTEGERS.items():
            require_integer(name, getattr(self, name), least, most)
        if not self.exposures:
            require_integer("steps", self.steps, 1)
        require_seed(self.seed)
        _require_number("lr", self.lr, above=0)
        for name in ("weight_decay", "clip"):
            _require_number(name, getattr(self, name), least=0)
        _require_number("eps", self.eps, above=0)
        for name in ("beta1", "beta2"):
            _require_number(name, getattr(self, name), least=0, below=1)
        for name in ("optimizer", "schedule"):
            _require_word(name, getattr(self, name))
        if self.microbatch and self.batch % self.microbatch:
            raise InputError(f"microbatch = {self.microbatch}: must divide the batch {self.batch}")


@dataclasses.dataclass(frozen=True)
class BackendConfig:
    """What to run on. What is left open is resolved once, when a run is created, and stored.

    Attributes:
        device: cpu, cuda, cuda:N or mps; auto takes cuda, else mps, else cpu.
        precision: fp32, or bf16, which is autocast over fp32 weights; auto takes bf16 where the hardware multiplies it
            (on a CPU from width 128 on, and where attention has no narrow heads).
        compile: Whether each block goes through torch.compile, on or off; auto leaves small models eager.
        threads: Of CPU arithmetic; 0 for as many as PyTorch takes by itself.
        linear: What computes linear mixers: torch (chunks in PyTorch, anywhere), numba (the same, but in compiled
            loops where a state is small and the numbers aren't bf16; on a CPU), or fla (flash-linear-attention, on a
            GPU); auto takes the last that can run.
    """

    device: str = "auto"
    precision: str = "auto"
    compile: str = "auto"
    threads: int = 0
    linear: str = "auto"

    def __post_init__(self) -> None:
        for name in ("precision", "compile", "linear"):
            _require_word(name, getattr(self, name))
        require_integer("threads", self.threads, 0, MOST_THREADS)


@dataclasses.dataclass(frozen=True)
class StartConfig:
    """The run whose weights a run begins with, its parent, and what of them is trained.

    Attributes:
        run: The parent's folder. It must be done.
        checkpoint: Of the parent, last or best.
        lora: Rank of the updates to the mixers' matrices (LoRA, arXiv 2106.09685), which are then all that is trained;
            0 to train all weights.
        lora_embedding: Rank of the update to the embedding beside them; 0 for none.
    """

    run: str
    checkpoint: str = "last"
    lora: int = 0
    lora_embedding: int = 0

    def __post_init__(self) -> None:
        if self.checkpoint not in CHECKPOINTS:
            raise unknown("checkpoint", self.checkpoint, CHECKPOINTS)
        for name in ("lora", "lora_embedding"):
            require_integer(name, getattr(self, name), 0, MOST_RANK)
        if self.lora_embedding and not self.lora:
            raise InputError(f"lora_embedding = {self.lora_embedding}: goes with lora, which is 0")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """One run: what is trained; whether the weights that come out are then quantized, which is a run of its own; and
    `start` where it goes on from another run's weights, and has that one's model."""

    task: TaskConfig
    model: ModelConfig
    training: TrainingConfig
    backend: BackendConfig = BackendConfig()
    quantization: QuantizationConfig = QuantizationConfig()
    start: StartConfig | None = None


def as_parts(content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The parts of a RunConfig as mappings of their fields, from plain data; `task: copy` is a task by its name."""
    names = [field.name for field in dataclasses.fields(RunConfig)]
    parts: dict[str, dict[str, Any]] = {}
    for part, given in content.items():
        if part not in names:
            raise unknown("field", part, names)
        fields = {"name": given} if part == "task" and isinstance(given, str) else given
        if not isinstance(fields, Mapping | None):
            raise InputError(f"{part} = {shown(fields)}: must be a mapping of fields")
        if fields is not None:
            parts[part] = dict(fields)
    return parts


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `below` in which what `above` has takes the place of the same; mappings are laid over one another."""
    merged = {**below, **above}
    for key in merged:
        layers = [layer.get(key, {}) for layer in (below, above)]
        if all(isinstance(layer, Mapping) for layer in layers):
            merged[key] = overlay(*layers)
    return merged


def run_config(content: Mapping[str, Any]) -> RunConfig:
    """The configuration that plain data describes, over what its task publishes, over the defaults."""
    parts = as_parts(content)
    if not (name := parts.get("task", {}).get("name")):
        raise InputError("task: missing; name one, such as task: copy")
    name = typed.coerce(name, str, "task.name")
    published = {"model": MODEL.get(name, {}), "training": TRAINING.get(name, {})}
    return typed.build(RunConfig, overlay(published, parts))


def _require_number(
    field: str, value: float, *, least: float = -math.inf, above: float = -math.inf, below: float = math.inf
) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (value >= least and above < value < below):
        bounds = [
            f"at least {least:g}" if least > -math.inf else "",
            f"above {above:g}" if above > -math.inf else "",
            f"below {below:g}" if below < math.inf else "finite",
        ]
        raise InputError(f"{field} = {shown(value)}: must be a number {' and '.join(filter(None, bounds))}")
