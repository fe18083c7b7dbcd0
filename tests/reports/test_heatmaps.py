"""Heat maps: difficulty against size, the published cell beside the measured one."""

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from canonlab.reports.export import write_latex
from canonlab.reports.heatmaps import heatmaps_html
from canonlab.results.groups import sections
from canonlab.results.load import load_runs
from canonlab.tasks.catalog import build_task


def text_of(cell: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", cell)).strip()


def grids(html: str) -> dict[str, list[list[str]]]:
    """The texts of the cells of each table, by its caption."""
    found = {}
    for table in re.findall(r"<table>.*?</table>", html, re.DOTALL):
        caption = re.findall(r"<caption>(.*?)</caption>", table)[0]
        rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
        found[caption] = [[text_of(cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in rows]
    return found


def test_the_published_grid_stands_beside_what_was_measured(fabricate: Callable[..., Path]) -> None:
    for n, lr, seed in itertools.product((225, 300), (0.001, 0.003), (0, 1)):
        task = {**build_task("depo1", {"N": n}).identity, "source": None}
        folder = fabricate(task, canon="ABCD", size="8L512D", lr=lr, seed=seed)
    html = heatmaps_html(sections(load_runs([folder.parent])))
    table = grids(html)["llama-rope + Canon-ABCD"]
    assert table[0] == ["", "8L512D", "12L512D", "8L768D", "12L768D"]
    assert [row[0] for row in table[1:]] == ["N = 225", "N = 300", "N = 375"]
    measured = table[1][1]
    assert re.fullmatch(r"\S+% \d+\.\d\.\.\d+\.\d lr 0\.00\d ↔ 97\.0% with 87\.5K steps and batch 128", measured), (
        measured
    )
    assert table[3][1] == "76.0%" and table[1][4] == "94.0%"  # nothing measured there
    assert "learning rate 0.001 of 0.001, 0.003; 2 seeds" in html or "learning rate 0.003 of" in html


def test_a_task_that_is_not_the_papers_has_only_its_own_cells(
    fabricate: Callable[..., Path], depo: dict[str, Any]
) -> None:
    folders = [
        fabricate({**depo, "parameters": {**depo["parameters"], "N": n}}, size=size, canon="")
        for n, size in ((20, "2L64D"), (100, "10L64D"))
    ]
    (table,) = grids(heatmaps_html(sections(load_runs([folders[0].parent])))).values()
    assert table[0][1:] == ["2L64D", "10L64D"] and [row[0] for row in table[1:]] == ["N = 20", "N = 100"]
    assert table[1][2] == "" and table[2][1] == "" and table[1][1].endswith("%")


def test_a_run_as_long_as_the_papers_is_compared_with_it(fabricate: Callable[..., Path]) -> None:
    task = {**build_task("depo1", {"N": 225}).identity, "source": None}
    run = fabricate(task, size="8L512D", steps=87_500, training={"batch": 128})
    table = grids(heatmaps_html(sections(load_runs([run]))))
    assert re.fullmatch(r"\S+% 97\.0% [+-]\d+\.\d", table["llama-rope + Canon-ABCD"][1][1])


def test_what_the_papers_code_has_otherwise_is_said(fabricate: Callable[..., Path]) -> None:
    task = {**build_task("depo1", {"N": 225, "K": 4}).identity, "source": None}
    run = fabricate(task, model="gla", canon="", size="8L512D", steps=87_500, training={"batch": 128})
    (table,) = grids(heatmaps_html(sections(load_runs([run])))).values()
    assert table[1][1].endswith(" code: SiLU on q, k, v")


def test_other_windows_than_the_papers_are_no_reproduction(fabricate: Callable[..., Path]) -> None:
    task = {**build_task("depo1", {"N": 225}).identity, "source": None, "context": 300}
    run = fabricate(task, size="8L512D", steps=87_500, training={"batch": 128})
    table = grids(heatmaps_html(sections(load_runs([run]))))
    assert table["llama-rope + Canon-ABCD"][1][1].endswith("97.0% with context 2,048")


def test_another_weight_decay_than_the_papers_is_no_reproduction(fabricate: Callable[..., Path]) -> None:
    task = {**build_task("depo1", {"N": 225}).identity, "source": None}
    run = fabricate(task, size="8L512D", steps=87_500, training={"batch": 128, "weight_decay": 0.9})
    table = grids(heatmaps_html(sections(load_runs([run]))))
    assert table["llama-rope + Canon-ABCD"][1][1].endswith("97.0% with weight decay 0.03")


def test_a_users_mixer_with_a_presets_name_has_no_published_cell(fabricate: Callable[..., Path]) -> None:
    task = {**build_task("depo1", {"N": 225}).identity, "source": None}
    run = fabricate(task, model="mine.py:llama-rope", size="8L512D")
    assert "97.0%" not in heatmaps_html(sections(load_runs([run])))


def test_an_easy_task_without_any_evaluation_does_not_hide_a_harder_one(
    fabricate: Callable[..., Path], depo: dict[str, Any], tmp_path: Path
) -> None:
    folder = fabricate(stop=40)
    fabricate({**depo, "parameters": {**depo["parameters"], "N": 20}})
    runs = load_runs([folder.parent])
    assert "4-hop accuracy" in heatmaps_html(sections(runs))
    write_latex(runs, tmp_path / "table.tex")
    assert "4-hop accuracy" in (tmp_path / "table.tex").read_text()


def test_two_lengths_of_training_are_two_maps(fabricate: Callable[..., Path]) -> None:
    for steps in (500, 1000):
        fabricate(steps=steps, size="2L64D")
        folder = fabricate(steps=steps, size="4L64D")
    names = grids(heatmaps_html(sections(load_runs([folder.parent]))))
    assert set(names) == {"llama-rope + Canon-ABCD, steps 500", "llama-rope + Canon-ABCD, steps 1,000"}


def test_one_difficulty_and_one_size_are_no_map(fabricate: Callable[..., Path]) -> None:
    assert heatmaps_html(sections(load_runs([fabricate().parent]))) == ""


def test_nothing_finished_nothing_drawn(fabricate: Callable[..., Path]) -> None:
    assert heatmaps_html(sections(load_runs([fabricate(stop=100)]))) == ""
