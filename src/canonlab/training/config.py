"""What a run is told to do. Every field counts: together they are the run's identity."""

import dataclasses
import math
from typing import Any, Literal, get_args

from canonlab.errors import InputError, require_integer, unknown
from canonlab.models.presets import ModelConfig

Schedule = Literal["cosine", "linear"]
Precision = Literal["auto", "fp32", "bf16"]
Switch = Literal["auto", "on", "off"]
Linear = Literal["auto", "torch", "fla"]


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """A task in a user's words: a preset or `path.py:Class`, and the parameters that differ from its defaults."""

    name: str
    set: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """AdamW and its schedule, evaluation and checkpoints. Source: Part 4.1, appendices A and C.

    Attributes:
        steps: Optimizer steps; 0 for as many as `exposures` take.
        exposures: Times that everything is to be seen, for tasks that teach a fixed set (capo), where steps is 0.
        batch: Windows in each step.
        lr: Peak learning rate.
        seed: Of the data and of the initial weights.
        warmup: Steps of linear warm-up.
        schedule: After the warm-up: cosine to a tenth of the peak, or linear to zero.
        weight_decay: On matrices and Canon weights; nothing else decays.
        beta1: AdamW's decay of the mean gradient.
        beta2: AdamW's decay of the mean square gradient.
        eps: AdamW's epsilon.
        clip: Largest gradient norm; 0 for no clipping.
        isolate: Instances packed into one window don't see each other.
        microbatch: Windows in one forward and backward pass; 0 for the whole batch.
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
    schedule: Schedule = "cosine"
    weight_decay: float = 0.03
    beta1: float = 0.9
    beta2: float = 0.98
    eps: float = 1e-6
    clip: float = 1.0
    isolate: bool = False
    microbatch: int = 0
    eval_every: int = 1000
    eval_windows: int = 64
    final_windows: int = 0
    checkpoint_every: int = 1000
    log_every: int = 10

    def __post_init__(self) -> None:
        for name in ("batch", "eval_every", "eval_windows", "checkpoint_every", "log_every"):
            require_integer(name, getattr(self, name), 1)
        require_integer("exposures", self.exposures, 0)
        require_integer("steps", self.steps, 0 if self.exposures else 1)
        for name in ("seed", "warmup", "microbatch", "final_windows"):
            require_integer(name, getattr(self, name), 0)
        _require_number("lr", self.lr, above=0)
        for name in ("weight_decay", "clip"):
            _require_number(name, getattr(self, name), least=0)
        _require_number("eps", self.eps, above=0)
        for name in ("beta1", "beta2"):
            _require_number(name, getattr(self, name), least=0, below=1)
        if self.schedule not in get_args(Schedule):
            raise unknown("schedule", self.schedule, get_args(Schedule))
        if self.microbatch and self.batch % self.microbatch:
            raise InputError(f"microbatch = {self.microbatch}: must divide the batch {self.batch}")


@dataclasses.dataclass(frozen=True)
class BackendConfig:
    """What to run on. What is left open is resolved once, when a run is created, and stored.

    Attributes:
        device: auto (cuda, else mps, else cpu) or a PyTorch device.
        precision: bf16 is autocast over fp32 weights; auto takes it where the hardware multiplies bf16 (on a CPU from
            width 64 on).
        compile: Whether each block goes through torch.compile; auto leaves small models eager.
        threads: Of CPU arithmetic; 0 for all cores.
        linear: What computes linear mixers: torch (chunks in PyTorch, anywhere), or fla (flash-linear-attention, on a
            GPU); auto takes fla where it can run.
    """

    device: str = "auto"
    precision: Precision = "auto"
    compile: Switch = "auto"
    threads: int = 0
    linear: Linear = "auto"

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise unknown("precision", self.precision, get_args(Precision))
        if self.compile not in get_args(Switch):
            raise unknown("compile", self.compile, get_args(Switch))
        if self.linear not in get_args(Linear):
            raise unknown("linear", self.linear, get_args(Linear))
        require_integer("threads", self.threads, 0)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """One training run."""

    task: TaskConfig
    model: ModelConfig
    training: TrainingConfig
    backend: BackendConfig = BackendConfig()


def _require_number(
    field: str, value: float, *, least: float = -math.inf, above: float = -math.inf, below: float = math.inf
) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (value >= least and above < value < below):
        bounds = [
            f"at least {least:g}" if least > -math.inf else "",
            f"above {above:g}" if above > -math.inf else "",
            f"below {below:g}" if below < math.inf else "",
        ]
        raise InputError(f"{field} = {value!r}: must be a number {' and '.join(filter(None, bounds))}")
