"""The published hyper-parameters; tests/test_recipes.py has their numbers, written out from the papers."""

from canonlab.tasks.catalog import TASKS
from canonlab.training.config import TrainingConfig
from canonlab.training.published import MODEL, TRAINING


def test_the_papers_tasks_have_some() -> None:
    assert {"brevo1", "brevo2", "capo", "depo1", "depo2", "lano-cfg3f", "mano"} <= TRAINING.keys() <= TASKS.keys()
    assert MODEL.keys() <= TASKS.keys()
    for settings in TRAINING.values():
        TrainingConfig(**settings)


def test_one_task_by_two_names_is_trained_as_one() -> None:
    assert TASKS["depo"].parameters == TASKS["depo1"].parameters
    assert TRAINING["depo"] == TRAINING["depo1"]
