"""Tasks by name."""

import dataclasses
import inspect

import pytest

from canonlab.errors import InputError
from canonlab.tasks.base import Task
from canonlab.tasks.catalog import TASKS, build_task
from canonlab.tasks.mixture import Mixture
from canonlab.typed import plain


@pytest.mark.parametrize("name", TASKS)
def test_presets_are_complete(name: str) -> None:
    cls, parameters, summary = TASKS[name]
    later = {field.name for field in dataclasses.fields(cls) if "introduced" in field.metadata}
    assert [each for each in inspect.signature(cls).parameters if each not in later] == list(parameters)
    task = build_task(name)
    assert isinstance(task, Task) and type(task) is cls
    found = {**task.parameters, "context": task.context}
    assert {key: value for key, value in found.items() if key not in later} == plain(parameters)
    assert summary and "\n" not in summary


def test_unknown_tasks() -> None:
    with pytest.raises(InputError, match="unknown task 'depo3'; did you mean 'depo[12]?'"):
        build_task("depo3")
    with pytest.raises(
        InputError, match=r"unknown task 'x' \(allowed: biod, .*, brevo1, brevo2, capo, .*depo2, .*mixture\)"
    ):
        build_task("x")


@pytest.mark.parametrize("name", TASKS)
def test_what_makes_a_task_harder_is_one_of_its_parameters(name: str) -> None:
    task = build_task(name)
    assert (task.difficulty_parameter is None) == isinstance(task, Mixture)  # which is of several tasks
    assert task.difficulty_parameter in [None, *task.identity["parameters"]]
