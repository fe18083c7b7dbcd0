"""What a configuration resolves to, what names it, and what is refused before there is a folder."""

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import pytest

from canonlab.errors import InputError
from canonlab.models.config import ModelConfig
from canonlab.models.cost import cost
from canonlab.training.config import TaskConfig
from canonlab.training.loop import train
from canonlab.training.plan import load_task, plan_run, plan_runs
from canonlab.training.run import create_run, open_run
from tiny_runs import MIXER, TASK, Recorder, tiny_config, varied


def test_identity_is_a_function_of_the_configuration() -> None:
    assert plan_run(tiny_config()).identity == plan_run(tiny_config()).identity


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("training", {"lr": 0.02}),
        ("training", {"seed": 1}),
        ("training", {"steps": 13}),
        ("model", {"canon": "ABC"}),
        ("model", {"canon_residual": False}),
        ("model", {"model": "llama-nope"}),
        ("task", {"set": {"N": 7, "context": 28}}),
        ("backend", {"precision": "bf16"}),
    ],
)
def test_whatever_determines_the_result_is_in_the_identity(part: str, changes: dict[str, Any]) -> None:
    assert plan_run(varied(tiny_config(), part, **changes)).identity != plan_run(tiny_config()).identity


def test_many_runs_share_tasks_and_checks_of_models_but_no_task_of_a_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = []
    monkeypatch.setattr("canonlab.training.plan.parameters", lambda decoder: checked.append(decoder) or 1)
    configs = [tiny_config(), tiny_config(seed=1), varied(tiny_config(), "model", canon="AC")]
    plans = plan_runs(configs)
    assert [plan.identity for plan in plans] == [plan_run(config).identity for config in configs]
    assert plans[0].task is plans[1].task is plans[2].task
    assert [decoder.canon.points for decoder in checked[:2]] == ["ABCD", "AC"]
    (tmp_path / "mine.py").write_text(TASK)
    own = varied(tiny_config(), "task", name=f"{tmp_path / 'mine.py'}:ShortCopy", set={})
    first, second = plan_runs([own, own])
    assert first.task == second.task and first.task is not second.task


def test_words_for_the_same_thing_are_the_same_run() -> None:
    assert plan_run(varied(tiny_config(), "model", canon="DCBA")).identity == plan_run(tiny_config()).identity


def test_exposures_of_a_task_that_never_ends_are_no_wish_to_overlook() -> None:
    with pytest.raises(InputError, match="exposures = 5: the task copy never ends, so set steps alone"):
        plan_run(tiny_config(exposures=5))


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="no way to ask for the memory")
def test_a_batch_larger_than_the_memory_is_an_error_before_there_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="batch = 999999999999: its tokens alone take .* GiB, this machine has"):
        create_run(tiny_config(batch=999_999_999_999), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_more_windows_than_a_stream_has() -> None:
    with pytest.raises(InputError, match="steps = 99999999999999999999: must be an integer from 0 to"):
        plan_run(tiny_config(steps=99_999_999_999_999_999_999))


def test_steps_follow_from_exposures_where_a_task_has_an_end(tmp_path: Path) -> None:
    config = tiny_config(steps=0, exposures=3)
    with pytest.raises(InputError, match="exposures = 3: the task copy never ends, so set steps"):
        plan_run(config)
    capo = dataclasses.replace(config, task=TaskConfig("capo", {"N": 20}))
    run = create_run(capo, tmp_path / "run")
    windows = run.plan.task.windows_per_exposure
    assert windows and run.plan.config.training.steps == math.ceil(3 * windows / 4)
    assert open_run(run.folder).plan.identity == run.plan.identity
    given = plan_run(dataclasses.replace(capo, training=dataclasses.replace(config.training, steps=7)))
    assert (given.config.training.steps, given.config.training.exposures) == (7, 0)


@pytest.mark.parametrize(
    ("task", "steps", "exposures", "said"),
    [
        ("capo", 100, 50, True),
        ("capo", 100, 100, False),  # what the task publishes, so nobody may have asked for it
        ("capo", 0, 50, False),
        ("copy", 100, 0, False),
    ],
)
def test_exposures_that_are_not_used_are_said(task: str, steps: int, exposures: int, said: bool) -> None:
    settings = {"N": 8} if task == "capo" else {"N": 6, "context": 28}
    config = dataclasses.replace(tiny_config(steps=steps, exposures=exposures), task=TaskConfig(task, settings))
    line = f"steps = {steps} are set, so exposures = {exposures} are not used"
    assert (line in plan_run(config).notes) is said


def test_isolation_needs_a_token_that_opens_an_instance(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "tasks.py").write_text(TASK + "    separator = None\n")
    task = TaskConfig(f"{tmp_path / 'tasks.py'}:ShortCopy")
    plan_run(dataclasses.replace(tiny_config(), task=task))
    with pytest.raises(InputError, match="isolate = true: the task short-copy has no token that opens an instance"):
        create_run(dataclasses.replace(tiny_config(isolate=True), task=task), folder)
    assert not folder.exists()


OWN = (
    TASK.replace("import dataclasses\n", "from __future__ import annotations\nimport dataclasses\n", 1)
    + """    share: float = 1
    pair: tuple[int, float] = (1, 2)
    loose: Unknown = 3
"""
)


@pytest.mark.parametrize("values", [(7, 7.0, "7", "7.0", "+7")])
@pytest.mark.parametrize("name", ["copy", "own"])
def test_one_value_of_a_parameter_is_one_run_and_one_stream(tmp_path: Path, name: str, values: tuple[Any, ...]) -> None:
    (tmp_path / "own.py").write_text(OWN)
    task = "copy" if name == "copy" else f"{tmp_path / 'own.py'}:ShortCopy"
    plans = [
        plan_run(dataclasses.replace(tiny_config(), task=TaskConfig(task, {"N": N, "context": 28}))) for N in values
    ]
    assert len({plan.identity for plan in plans}) == len({plan.task.stream_key(0) for plan in plans}) == 1
    assert repr(plans[0].task.parameters["N"]) == "7"


def test_a_default_and_the_same_value_given_are_one_stream(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    name = f"{tmp_path / 'own.py'}:ShortCopy"
    alike = [{}, {"N": "6"}, {"share": 1.0}, {"share": "1"}, {"pair": [1, 2]}, {"pair": ["1", 2.0]}, {"loose": 3.0}]
    assert len({load_task(TaskConfig(name, settings)).stream_key(0) for settings in alike}) == 1
    default = load_task(TaskConfig(name))
    assert load_task(TaskConfig(name, {"share": 2})).parameters["share"] == 2.0 != default.parameters["share"]
    assert load_task(TaskConfig(name, {"loose": True})).parameters["loose"] is True


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"N": "six"}, "N = 'six': must be an integer"),
        ({"N": True}, "N = True: must be an integer"),
        ({"share": "half"}, "share = 'half': must be a number"),
        ({"pair": [1]}, "pair = [1]: must be a list of 2"),
        ({"pairs": [1, 2]}, "unknown task parameter 'pairs'; did you mean 'pair'"),
    ],
)
def test_parameters_of_another_type_are_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    (tmp_path / "own.py").write_text(OWN)
    with pytest.raises(InputError) as error:
        load_task(TaskConfig(f"{tmp_path / 'own.py'}:ShortCopy", settings))
    assert str(error.value).startswith(message)


def test_a_path_and_a_mapping_of_fields_as_parameters(tmp_path: Path) -> None:
    own = OWN.replace(
        "@dataclasses", "@dataclasses.dataclass(frozen=True)\nclass Part:\n    a: float = 1.0\n\n\n@dataclasses", 1
    )
    own = own.replace("import dataclasses\n", "import dataclasses\nfrom pathlib import Path\n", 1)
    (tmp_path / "own.py").write_text(own + "    at: Path | None = None\n    part: Part = Part()\n")
    config = TaskConfig(f"{tmp_path / 'own.py'}:ShortCopy", {"at": "a/b", "part": {"a": 2}})
    plan = plan_run(dataclasses.replace(tiny_config(), task=config))
    assert isinstance(plan.task.at, Path)  # type: ignore[attr-defined]
    assert plan.task.parameters["at"] == "a/b" and plan.task.parameters["part"] == {"a": 2.0}
    assert open_run(create_run(plan.asked, tmp_path / "run").folder).plan.identity == plan.identity


def test_a_whole_number_and_the_float_of_that_value_are_the_same_run() -> None:
    plans = [
        plan_run(varied(tiny_config(), "model", model="gla", canon="none", mixer={"key_share": share}))
        for share in (1, 1.0)
    ]
    assert plans[0].identity == plans[1].identity and plans[0].name == plans[1].name


@pytest.mark.parametrize(
    ("body", "error"), [("return x", "ValueError"), ("return self.nothing, None", "AttributeError")]
)
def test_a_mixer_that_fails_is_an_error_before_there_is_a_folder(tmp_path: Path, body: str, error: str) -> None:
    (tmp_path / "broken.py").write_text(MIXER[: MIXER.index("        return self.out")] + f"        {body}\n")
    model = ModelConfig(model=f"{tmp_path / 'broken.py'}:Mean", size="1L16D2H")
    with pytest.raises(InputError, match=f"fails on its first tokens \\({error}.*canonlab check"):
        create_run(dataclasses.replace(tiny_config(), model=model), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("hybrid", ["", "llama-rope,"])
def test_a_mixer_that_sees_later_tokens_is_an_error_before_there_is_a_folder(tmp_path: Path, hybrid: str) -> None:
    leak = MIXER.replace("x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]", "x.cumsum(1) + 0.01 * x.roll(-1, 1)")
    (tmp_path / "leak.py").write_text(leak)
    model = ModelConfig(model=f"{hybrid}{tmp_path / 'leak.py'}:Mean", size="2L16D2H")
    with pytest.raises(InputError, match="depend on later tokens.*canonlab check"):
        create_run(dataclasses.replace(tiny_config(), model=model), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("body", "seen", "asked"),
    [
        ("x.cumsum(1) * (1 + 0 * x.sum().item())", "a value leaves its tensor", None),
        ("torch.stack([x[:, : t + 1].sum(1) for t in range(x.shape[1])], 1)", "operations for 16 tokens", True),
        ("x.cumsum(1)", "", True),
    ],
)
def test_a_mixer_that_only_trains_eagerly_does(
    body: str, seen: str, asked: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default, with a note; where compiling is asked for, it is an error unless it only takes long."""
    monkeypatch.setattr("canonlab.training.backend.COMPILE_FROM_WIDTH", 16)
    monkeypatch.setattr("canonlab.training.backend._can_compile", lambda device: True)
    (tmp_path / "own.py").write_text(MIXER.replace("x.cumsum(1)", body))
    model = ModelConfig(model=f"{tmp_path / 'own.py'}:Mean", size="1L16D2H")
    config = varied(dataclasses.replace(tiny_config(), model=model), "backend", compile="auto")
    run = create_run(config, tmp_path / "run")
    assert run.plan.backend.compile == (not seen)
    assert [note for note in run.plan.notes if seen and seen in note] == run.plan.notes
    if seen:
        assert open_run(run.folder).plan.backend == run.plan.backend and train(run, Recorder())["evaluation"]
    wanted = varied(config, "backend", compile="on")
    if asked:
        assert plan_run(wanted).backend.compile and not plan_run(wanted).notes
    else:
        with pytest.raises(InputError, match=f"compile = 'on': .*can only train eagerly .*{seen}"):
            plan_run(wanted)


def test_a_mixer_whose_kernel_needs_memory_is_planned_and_counted(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(MIXER)
    kernel = "torch.from_numpy(x.detach().numpy().cumsum(1)).to(x.dtype)"
    (tmp_path / "kernel.py").write_text(MIXER.replace("x.cumsum(1)", kernel))
    plain, own = (
        plan_run(dataclasses.replace(tiny_config(), model=ModelConfig(model=f"{tmp_path / name}:Mean", size="1L16D2H")))
        for name in ("plain.py", "kernel.py")
    )
    assert cost(own.decoder, 8) == cost(plain.decoder, 8)


def test_a_warm_up_longer_than_the_run_is_told() -> None:
    assert any("the rate never reaches lr" in note for note in plan_run(tiny_config(warmup=12)).notes)
    assert not any("warm-up" in note for note in plan_run(tiny_config(warmup=11)).notes)


@pytest.mark.parametrize(
    "model",
    [
        {"model": "own.py:Mean,gla", "mixer": {"feature_map": "elu"}},
        {"model": "own.py:Mean,gdn", "canon": "AbCD"},
        {"model": "llama-rope,own.py:Mean,own.py:Mean", "mixer": {"kv_heads": 1}, "canon": "none"},
    ],
)
def test_arguments_and_points_of_a_hybrid_may_be_those_of_one_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(MIXER)
    plan_run(varied(tiny_config(), "model", **{"size": "3L64D4H", "canon": "ACD", **model}))


def test_an_own_mixer_is_tried_with_its_arguments_in_the_hybrid(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from canonlab.models.mixers.gla import GLA\n\n\nclass Own(GLA):\n"
        "    def forward(self, x, *rest):\n        y, state = super().forward(x, *rest)\n"
        "        return y + x.roll(-1, 1) * (self.feature_map == 'elu'), state\n"
    )
    model = f"gdn,{tmp_path / 'own.py'}:Own"
    plan_run(varied(tiny_config(), "model", model=model, size="2L64D4H"))
    with pytest.raises(InputError, match="own.py:Own': outputs depend on later tokens"):
        plan_run(varied(tiny_config(), "model", model=model, size="2L64D4H", mixer={"feature_map": "elu"}))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("(Copy)", "", "ShortCopy must be a subclass of canonlab.tasks.base.Task"),
        ("(Copy)", "(Task)", "ShortCopy can't be made .TypeError: Can't instantiate abstract class ShortCopy"),
        ("@dataclasses.dataclass(frozen=True)\nclass ShortCopy(Copy)", "class ShortCopy(Task)", "must be a @dataclass"),
        (
            "28",
            "28\n\n    def __post_init__(self):\n        raise ValueError('no')",
            "ShortCopy can't be made .ValueError: no.$",
        ),
        ("28", "2", "context = 2"),
    ],
)
def test_a_task_that_cannot_be_made_is_said_in_one_line(tmp_path: Path, before: str, after: str, message: str) -> None:
    code = "from canonlab.tasks.base import Task\n" + TASK.replace("    N: int = 6\n", "")
    assert before in code
    (tmp_path / "tasks.py").write_text(code.replace(before, after))
    with pytest.raises(InputError, match=message) as error:
        load_task(TaskConfig(f"{tmp_path / 'tasks.py'}:ShortCopy"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("method", "error"),
    [
        ("vocabulary = property(lambda self: self.words)", "AttributeError: .*'words'"),
        ("def fill(self, *_):\n        raise ValueError('no')", "ValueError: no"),
    ],
)
def test_a_task_that_fails_is_an_error_before_there_is_a_folder(tmp_path: Path, method: str, error: str) -> None:
    (tmp_path / "tasks.py").write_text(
        "import dataclasses\nfrom canonlab.tasks.base import Task, Vocabulary\n\n\n"
        "@dataclasses.dataclass(frozen=True)\nclass Own(Task):\n    name, version, context = 'own', 1, 9\n"
        "    vocabulary = Vocabulary([('a', 'special', None)])\n    fill = evaluate = score = None\n"
        f"    {method}\n"
    )
    task = TaskConfig(f"{tmp_path / 'tasks.py'}:Own")
    with pytest.raises(InputError, match=f"fails on its first window \\({error}.*canonlab check-task"):
        create_run(dataclasses.replace(tiny_config(), task=task), tmp_path / "run")
    assert not (tmp_path / "run").exists()
