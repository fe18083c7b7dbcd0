"""The worked example of docs/own-task.md is a task that works, as it stands there."""

import re
from pathlib import Path

import numpy as np
import pytest

from canonlab.errors import InputError
from canonlab.plugins import load_plugin
from canonlab.tasks.base import Task
from canonlab.tasks.check import CHECKS, check_task

PAGE = Path(__file__).parents[1] / "docs" / "own-task.md"


@pytest.fixture(scope="module")
def sorting(tmp_path_factory: pytest.TempPathFactory) -> type[Task]:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 1
    file = tmp_path_factory.mktemp("own") / "sorting.py"
    file.write_text(blocks[0], encoding="utf-8")
    return load_plugin(f"{file}:Sorting").cls


@pytest.mark.parametrize("settings", [{}, {"N": 20, "context": 64}, {"N": 1, "V": 2, "context": 9}])
def test_it_passes_all_checks(sorting: type[Task], settings: dict[str, int]) -> None:
    once = ("fresh process", "throughput")  # what takes a second
    checks = check_task(sorting(**settings), names=[name for name in CHECKS if not settings or name not in once])
    assert [check for check in checks if not check.passed] == []


def test_its_windows_are_sorted(sorting: type[Task]) -> None:
    task = sorting(N=3, V=5, context=20)
    tokens, mask = task.windows(0, 0, 200)
    assert np.array_equal(mask, np.tile([0, 0, 0, 0, 0, 1, 1, 1], 3)[None, :20].repeat(200, 0))
    for instance in tokens[:, :16].reshape(-1, 8).tolist():
        assert [instance[0], instance[4]] == [0, 1] and sorted(instance[1:4]) == instance[5:]
    assert set(tokens[:, 1:4].ravel().tolist()) == set(range(2, 7))


def test_its_scorer_and_its_errors(sorting: type[Task]) -> None:
    task = sorting(N=3, V=5, context=20)
    assert task.score([0, 5, 2, 5, 1], [2, 5, 5]).right
    assert not task.score([0, 5, 2, 5, 1], [2, 5]).right
    for prompt in ([], [0], [0, 5, 2, 1], [0, 5, 1, 5, 1], [5, 2, 5, 1]):
        with pytest.raises(InputError, match="prompt"):
            task.score(prompt, [2])
    with pytest.raises(InputError, match="context = 7"):
        sorting(N=3, context=7)
