"""A run before there is anything to lose: its configuration with everything resolved and checked."""

import dataclasses
import json
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from typing import Any, TypeVar

import torch

from canonlab.checks import of_the_user
from canonlab.errors import InputError, shown
from canonlab.files import read_bytes, safe_name, sha256
from canonlab.models.check.compilation import Graph, trace
from canonlab.models.check.sequence import looks_ahead
from canonlab.models.check.subject import Subject
from canonlab.models.config import pattern_names
from canonlab.models.cost import cost, parameters
from canonlab.models.decoder import DecoderConfig
from canonlab.models.mixers.attention import Attention
from canonlab.models.mixers.mla import MLA
from canonlab.models.sizes import require_memory
from canonlab.plugins import Plugin, is_plugin, load_plugin
from canonlab.quantization.config import QuantizationConfig
from canonlab.tasks.base import MAX_WINDOWS, Evaluation, Task
from canonlab.tasks.check import check_task
from canonlab.tasks.metrics import AREA
from canonlab.training.backend import Backend, resolve_backend
from canonlab.training.config import RunConfig, TrainingConfig
from canonlab.training.copies import load_task
from canonlab.training.evaluation import evaluate, led_by
from canonlab.training.identity import identifying, identity, split_training
from canonlab.training.lora import require_peft
from canonlab.training.published import TRAINING
from canonlab.training.start import Start, begun, require_vocabulary

T = TypeVar("T")

TOKEN_BYTES, FLOAT_BYTES = 5, 4
"""Of a token in a batch, an int32 and its mark; of a parameter."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """A configuration with everything resolved and checked, before anything is written.

    `copies` are the user's own files by name, as the run folder keeps them; `notes` are lines for people.
    """

    asked: RunConfig
    config: RunConfig
    task: Task
    decoder: DecoderConfig
    backend: Backend
    plugins: dict[str, Plugin]
    copies: dict[str, bytes]
    notes: list[str]
    start: Start | None = None

    @cached_property
    def _training(self) -> tuple[dict[str, Any], dict[str, Any], int]:
        return split_training(dataclasses.asdict(self.config.training), self._model)

    @property
    def _model(self) -> dict[str, Any]:
        return {**self.decoder.plain(), "sources": self._sources(pattern_names(self.config.model.model))}

    @cached_property
    def content(self) -> dict[str, Any]:
        """All that determines the weights, as plain data: `config` of `training.record`."""
        task = {**self.task.identity, "source": next(iter(self._sources([self.config.task.name])), None)}
        content = {"task": task, "model": self._model, "training": self._training[0]}
        quantization = self.config.quantization.plain()
        made_of = {"quantization": quantization} if quantization else {}
        if self.start:
            made_of["start"] = self.start.content
        plain: dict[str, Any] = json.loads(json.dumps({**content, "precision": self.backend.precision, **made_of}))
        return plain

    @property
    def quantizes(self) -> bool:
        """Whether nothing is trained: the weights are those of another run (`trained`), on grids of few bits."""
        return self.config.quantization.bits > 0

    @property
    def steps(self) -> int:
        """The optimizer steps that it takes."""
        return 0 if self.quantizes else self.config.training.steps

    @property
    def trained(self) -> "Plan":
        """The run that trains: itself, or the one that it quantizes."""
        return self.quantized(QuantizationConfig())

    def quantized(self, quantization: QuantizationConfig) -> "Plan":
        """The same run with its weights quantized so."""
        asked, config = (dataclasses.replace(each, quantization=quantization) for each in (self.asked, self.config))
        return dataclasses.replace(self, asked=asked, config=config)

    @property
    def measuring(self) -> dict[str, Any]:
        """What is logged, evaluated and saved, and how often."""
        return self._training[1]

    @property
    def machine(self) -> dict[str, Any]:
        """What the run is computed with: device, threads, kernels, microbatch."""
        backend = dataclasses.asdict(self.backend)
        del backend["precision"]
        return {**backend, "microbatch": self._training[2]}

    @cached_property
    def identity(self) -> str:
        """SHA-256 of what determines the weights: see `training.identity`."""
        return identity(self.content)

    @property
    def name(self) -> str:
        """For people first: task, model, Canon set, size, learning rate, seed; then the start of the identity.

        Any system can have a file of that name, whatever words the user has: see `files.safe_name`.
        """
        model, training = self.config.model, self.config.training
        mixers = "+".join(map(_short, pattern_names(model.model)))
        words = [_short(self.config.task.name), mixers, self.decoder.canon.points or "none", model.size]
        if self.quantizes:
            words.append(f"{self.config.quantization.method}{self.config.quantization.bits}")
        about = "-".join([*words, f"lr{training.lr:g}", f"s{training.seed}"])
        return f"{safe_name(about)}-{self.identity[:10]}"

    def _sources(self, references: list[str]) -> list[dict[str, str]]:
        return [self.plugins[reference].identity for reference in references if reference in self.plugins]


def _short(reference: str) -> str:
    return reference.rpartition(":")[2] if is_plugin(reference) else reference


def plan_runs(configs: Iterable[RunConfig]) -> list[Plan]:
    """The plans of many runs, after those of what they are made of where these aren't among them.

    Tasks and models that several of them have are made and checked once.
    """
    shared: dict[str, Any] = {}
    plans = [plan_run(config, shared=shared) for config in configs]
    there = {plan.identity for plan in plans}
    origins = {plan.trained.identity: plan.trained for plan in plans if plan.quantizes}
    return [*(plan for identity, plan in origins.items() if identity not in there), *plans]


def plan_run(
    config: RunConfig,
    backend: Backend | None = None,
    shared: dict[str, Any] | None = None,
    start: Start | None = None,
) -> Plan:
    """Resolve and check a configuration. `backend` and `start` are given when an existing run's are to be kept."""
    shared = {} if shared is None else shared
    if fresh_start := config.start if start is None else None:
        start = begun(fresh_start)
    if is_plugin(config.task.name):  # whoever wrote it may not have thought of two runs at one object
        task = load_task(config.task)
        _try_task(config.task.name, task)
    else:
        task = _once(shared, config.task, partial(load_task, config.task))
    if start and start.lora[0]:
        require_peft()
    if fresh_start:
        require_vocabulary(fresh_start, task)
    if config.training.isolate and task.separator_id is None:
        raise InputError(f"isolate = true: the task {task.name} has no token that opens an instance")
    resolved = dataclasses.replace(config, training=_with_steps(config.training, task))
    _require_room(resolved.training, task)
    _require_metric(resolved.training, lambda: _once(shared, [config.task, "metrics"], partial(_evaluation, task)))
    decoder = config.model.decoder(len(task.vocabulary))
    weights = FLOAT_BYTES * _once(shared, decoder, partial(_parameters, config.model.model, decoder))
    require_memory("size", config.model.size, weights, "its parameters alone")
    notes: list[str] = []
    references = [config.task.name, *pattern_names(config.model.model)]
    plugins = {reference: load_plugin(reference) for reference in references if is_plugin(reference)}
    if fresh := backend is None:
        backend, notes = resolve_backend(config.backend, decoder.width, _narrowest_head(decoder))
        if backend.device == "cpu":
            require_memory("size", config.model.size, 4 * weights, "its parameters, their gradients and two means")
    separator = task.separator_id if config.training.isolate else None
    for name in dict.fromkeys(filter(is_plugin, pattern_names(config.model.model))):
        _try_mixer(name, plugins[name], decoder, task, backend, separator)
    if fresh and backend.compile and (reason := _eager_only(config, decoder, plugins, backend)):
        backend = dataclasses.replace(backend, compile=False)
        notes.append(reason)
    copies = _copies(plugins.values(), task)
    notes = [*task.warnings(), *_unused_exposures(config, task), *_endless_warmup(resolved.training), *notes]
    plan = Plan(config, resolved, task, decoder, backend, plugins, copies, notes, start)
    if start and identifying(plan.content)["model"] != start.content["model"]:
        raise InputError(f"model = {shown(config.model.model)}: must be that of the run that this one goes on from")
    return plan


def _once(shared: dict[str, Any], key: object, make: Callable[[], T]) -> T:
    if (name := repr(key)) not in shared:
        shared[name] = make()
    found: T = shared[name]
    return found


def _narrowest_head(decoder: DecoderConfig) -> int | None:
    """The width of the narrowest attention heads; None without attention."""
    attention = (block.mixer.arguments for block in decoder.pattern if issubclass(block.mixer.cls, (Attention, MLA)))
    return min((decoder.width // arguments.get("heads", 1) for arguments in attention), default=None)


def _try_task(name: str, task: Task) -> None:
    """InputError when a user's own task fails on its first window, or in an evaluation, which may be hours away."""
    advice = f"; see canonlab check-task {name}"
    with of_the_user(f"task = {shown(name)}: fails on its first window", advice):
        len(task.vocabulary), task.windows(0, 0, 1)
    for check in check_task(task, names=("attributes", "tokens", "mask")):
        if not check.passed:
            raise InputError(f"task = {shown(name)}: {check.seen}: {check.advice}{advice}")
    with of_the_user(f"task = {shown(name)}: fails in its evaluation", advice):
        _evaluation(task).plain()


def _evaluation(task: Task) -> Evaluation:
    """What an evaluation of a model that knows nothing finds, for the names of its metrics."""
    size = len(task.vocabulary)
    return task.evaluate(lambda ids: torch.zeros(*ids.shape, size), seed=0, windows=1, batch=1)


def _parameters(model: str, decoder: DecoderConfig) -> int:
    """How many parameters the decoder has. InputError where its parts, of which a user's own may raise anything, don't
    fit together."""
    if not any(map(is_plugin, pattern_names(model))):
        return parameters(decoder)
    with of_the_user(f"model = {shown(model)}: can't be built", "; see canonlab check"):
        return parameters(decoder)


TRIED: set[str] = set()
"""What this process has tried, by the hash of all that it depends on: a sweep tries a mixer once, not for each run."""


def _try_mixer(
    name: str, plugin: Plugin, decoder: DecoderConfig, task: Task, backend: Backend, separator: int | None
) -> None:
    """InputError when a user's own mixer fails on a few tokens, sees later ones, or can't be evaluated on the task.

    It is tried before there is anything to lose, with the arguments that it has in this decoder, which may be a hybrid.
    A mixer that sees the token it is to predict would win every comparison.
    """
    key = sha256([plugin.identity, decoder.plain(), task.identity, dataclasses.asdict(backend), separator])
    if key in TRIED:
        return
    mixer = next(block.mixer for block in decoder.pattern if block.mixer.cls is plugin.cls)
    failing = of_the_user(f"model = {shown(name)}: fails on its first tokens", f"; see canonlab check {name}")
    with failing, backend.autocast():
        cost(decoder, 8, backend.device)
        ahead = looks_ahead(Subject(mixer, decoder.width, backend.device))
    if ahead:
        raise InputError(
            f"model = {shown(name)}: outputs depend on later tokens, those that are to be predicted; "
            f"see canonlab check {name}"
        )
    few = dataclasses.replace(decoder, layers=min(decoder.layers, len(decoder.pattern)))
    with of_the_user(f"model = {shown(name)}: fails in the evaluation of {task.name}", f"; see canonlab check {name}"):
        evaluate(backend.place(few.build()), task, 0, 1, backend, separator).plain()
    TRIED.add(key)


TRACED: dict[str, Graph] = {}
"""What a compiler makes of each mixer of which this process has asked that, by the hash of all that it depends on."""


def _eager_only(config: RunConfig, decoder: DecoderConfig, plugins: dict[str, Plugin], backend: Backend) -> str | None:
    """Why a run for which compiling is but the default is left to run eagerly, in a line; None where it compiles.

    InputError where compiling was asked for and a mixer is no graph: pieces of one compile without end where a value
    that stands between them changes. One that is a large graph takes its time, but compiles.
    """
    for mixer in (block.mixer for block in decoder.pattern):
        name = next((name for name, plugin in plugins.items() if plugin.cls is mixer.cls), None)
        if name is None:
            continue
        key = sha256([plugins[name].identity, decoder.plain(), backend.device])
        if key not in TRACED:
            TRACED[key] = trace(Subject(mixer, decoder.width, backend.device))
        graph, asked = TRACED[key], config.backend.compile == "on"
        if graph.breaks and asked:
            raise InputError(f"compile = 'on': {name} can only train eagerly ({graph.breaks}); take auto or off")
        if graph.breaks or (graph.grows and not asked):
            hint = "" if graph.breaks else ", unless compile = on"
            return f"{name} can't be compiled well ({graph.breaks or graph.grows}): blocks run eagerly{hint}"
    return None


def _endless_warmup(training: TrainingConfig) -> list[str]:
    if training.warmup < training.steps:
        return []
    return [f"the warm-up of {training.warmup} steps does not end in {training.steps} steps: the rate never reaches lr"]


def _copies(plugins: Iterable[Plugin], task: Task) -> dict[str, bytes]:
    """The content of the user's files by name, with that of the folder before it if a folder was named."""
    copies: dict[str, bytes] = {}
    contents = [(plugin.path.name, plugin.source) for plugin in plugins]
    contents += [(name, read_bytes(path)) for name, path in task.copied]
    for name, content in contents:
        if copies.setdefault(name, content) != content:
            raise InputError(f"{name}: two different files have one name; rename one")
    return copies


def _require_room(training: TrainingConfig, task: Task) -> None:
    """InputError where a batch does not fit into this machine's memory, or the run would take more windows than are."""
    if training.steps > MAX_WINDOWS // training.batch:
        raise InputError(
            f"steps = {shown(training.steps)}: times the batch {training.batch} is more than {MAX_WINDOWS} windows"
        )
    require_memory("batch", training.batch, training.batch * task.context * TOKEN_BYTES, "its tokens alone")


def _require_metric(training: TrainingConfig, evaluation: Callable[[], Evaluation]) -> None:
    """InputError where the task has no such metric, or its area too few evaluations."""
    if training.metric not in ("auto", "loss", f"{AREA}loss"):  # which every task has
        led_by(evaluation(), training.metric)
    if training.metric.startswith(AREA) and training.steps <= training.eval_every:
        raise InputError(
            f"metric = {training.metric}: is over the evaluations in training, two or more; eval_every = "
            f"{training.eval_every} makes one in {training.steps} steps"
        )


def _unused_exposures(config: RunConfig, task: Task) -> list[str]:
    """Says that steps outrank exposures, unless these are only what the task publishes.

    InputError for a task that has no use for exposures.
    """
    steps, exposures = config.training.steps, config.training.exposures
    published = TRAINING.get(config.task.name, {}).get("exposures", 0)
    if exposures and task.windows_per_exposure is None:
        raise InputError(f"exposures = {exposures}: the task {task.name} never ends, so set steps alone")
    if not steps or exposures in (0, published):
        return []
    return [f"steps = {steps} are set, so exposures = {exposures} are not used"]


def _with_steps(training: TrainingConfig, task: Task) -> TrainingConfig:
    """The settings with the steps that their exposures take, when they leave the steps open."""
    if training.steps:
        return dataclasses.replace(training, exposures=0)
    if task.windows_per_exposure is None:
        raise InputError(f"exposures = {training.exposures}: the task {task.name} never ends, so set steps alone")
    return dataclasses.replace(training, steps=-(-training.exposures * task.windows_per_exposure // training.batch))
