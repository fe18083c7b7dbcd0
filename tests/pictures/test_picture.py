"""Pictures of all tasks: complete, on their own, the same again; and what can't be drawn."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from canonlab.errors import InputError
from canonlab.pictures import PAINTERS, picture, write_picture
from canonlab.tasks.base import SPLITS, Split, Task
from canonlab.tasks.brevo import Brevo
from canonlab.tasks.capo import Capo
from canonlab.tasks.catalog import TASKS, build_task
from canonlab.tasks.copy import Copy
from canonlab.tasks.depo import Depo
from canonlab.tasks.lano import Lano
from canonlab.tasks.mano import Mano

TEACHING: dict[str, dict[str, Any]] = {
    "depo1": {"N": 8, "K": 3},
    "depo2": {"N": 12, "K": 4},
    "brevo1": {"N": 8},
    "brevo2": {"N": 6},
    "mano": {"L": 1},
    "copy": {"N": 2},
}
DRAWN = [name for name, named in TASKS.items() if named.task in PAINTERS]
CASES = [(name, {}) for name in DRAWN] + list(TEACHING.items())


def test_the_papers_tasks_are_drawn() -> None:
    assert {TASKS[name].task for name in DRAWN} >= {Brevo, Capo, Copy, Depo, Lano, Mano}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("name", "settings"), CASES)
def test_every_task(name: str, settings: dict[str, Any], split: Split, read: Callable[[str], Any]) -> None:
    task = build_task(name, settings)
    svg = picture(task, seed=1, index=2, split=split)
    assert svg == picture(build_task(name, settings), seed=1, index=2, split=split)
    assert svg != picture(task, seed=2, index=2, split=split)
    for foreign in ("href", "url(", "<style", "<script", "<image", " id="):
        assert foreign not in svg
    found = read(svg)
    root = found.root
    for element in root.iter():
        assert not any(wrong in value for wrong in ("nan", "inf") for value in element.attrib.values())
    assert [child.tag.partition("}")[2] for child in root][:3] == ["title", "desc", "rect"]
    assert task.name in root[0].text and f"{split} window 2 of seed 1" in root[1].text
    width, height = float(root.get("width")), float(root.get("height"))
    assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
    for group in root[-2:]:
        left, top = map(float, re.findall(r"[\d.]+", group.get("transform")))
        for shape in group:
            for x, limit, before in (("x", width, left), ("y", height, top)):
                for key in (x, f"{x}1", f"{x}2", f"c{x}"):
                    assert 0 <= float(shape.get(key, 0)) + before <= limit


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("name", "settings"), CASES)
def test_questions_have_their_right_answers(name: str, settings: dict[str, Any], split: Split) -> None:
    task = build_task(name, settings)
    window = task.windows(0, 5, 1, split).tokens[0].tolist()
    if questions := PAINTERS[type(task)].questions:
        found = questions(task, window)
    else:
        found = task.examples(window)
        assert all(task.score(prompt, answer).right for prompt, answer in found)
    assert found
    ends = {"capo": "<eos>", "copy": "<query>", "lano": "<bos>"}
    marks = task.vocabulary.decode(window).split().count(ends.get(task.name, "<ans>"))
    assert marks - 1 <= len(found) <= marks


def test_the_query_asked_for(read: Callable[[str], Any]) -> None:
    task = build_task("depo1", {"N": 8, "K": 3})
    questions = task.examples(task.windows(3, 1, 1, "eval").tokens[0].tolist())
    for query in (0, 7, 8, len(questions) - 1):
        prompt, answer = questions[query]
        found = read(picture(task, 3, 1, "eval", query))
        assert found.tokens() == task.vocabulary.names([*prompt, *answer])
        assert found.caption.lower().startswith(task.score(prompt, answer).why)


def test_what_cannot_be_drawn() -> None:
    task = build_task("depo1", {"N": 8, "K": 3})
    for arguments, message in (
        ({"query": 10**6}, r"query = 1000000: must be an integer from 0 to \d+"),
        ({"query": -1}, "query = -1"),
        ({"index": -1}, "index = -1: must be an integer of at least 0"),
        ({"seed": -1}, "seed = -1"),
        ({"split": "test"}, "unknown split 'test'"),
    ):
        with pytest.raises(InputError, match=message):
            picture(task, **arguments)
    with pytest.raises(InputError, match="an instance of 20402 tokens is too large"):
        picture(build_task("copy", {"N": 10200, "context": 20402}))
    short = build_task("brevo1", {"context": 250})
    windows = short.windows(0, 0, 50, "eval").tokens.tolist()
    cut = next(i for i, window in enumerate(windows) if short.vocabulary.id("<eos>") not in window)
    with pytest.raises(InputError, match=f"context = 250: eval window {cut} of seed 0 holds no whole question"):
        picture(short, index=cut, split="eval")


def test_a_task_of_ones_own() -> None:
    class Own(Task):
        """Not a built-in one."""

        name, version, context = "own", 1, 8
        fill = evaluate = score = None  # type: ignore[assignment]

    with pytest.raises(InputError, match="no picture of the task Own: only of brevo, capo, copy, depo, lano, mano"):
        picture(Own())


def test_writing(tmp_path: Path) -> None:
    svg, path = picture(build_task("mano")), tmp_path / "new" / "mano.svg"
    write_picture("old", path)
    write_picture(svg, path)
    assert path.read_text(encoding="utf-8") == svg and list(path.parent.iterdir()) == [path]
    for wrong in ("mano.png", "mano", "mano.svg.txt"):
        with pytest.raises(InputError, match=r"must end in \.svg"):
            write_picture(svg, tmp_path / wrong)
    with pytest.raises(InputError, match="cannot be written"):
        write_picture(svg, path / "below-a-file.svg")
    assert list(tmp_path.iterdir()) == [path.parent]
