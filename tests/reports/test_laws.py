"""The page's laws of knowledge, and Part 3.3's factors beside one's own."""

import dataclasses
import json
import re
from pathlib import Path

from canonlab.reports.laws import laws_data, laws_html
from canonlab.reports.page import page_html
from canonlab.results.groups import sections
from canonlab.results.load import load_runs
from fabricate import learners, write_run


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_laws_and_factors_are_on_the_page() -> None:
    page = page_html(learners())
    text = text_of(page[page.index("Laws") : page.index('id="task-0"')])
    assert "gpt2-original 100 1 [0.975..1.02], 3 seeds" in text
    assert "200 1.5 [1.46..1.54], 3 seeds 1L32D2H, N = 50,000 3 1 [1..1], 3 seeds 1.5x [1.5x..1.5x] rises" in text
    assert "1x [1x..1x] plateau" in text
    assert "3.3.6 Gated MLPs store less after 100 exposures: holds" in text
    assert "mlp gated, 100 exposures on knowledge 1.25x 1.25x to 1.25x 1.3x 3 supported" in text
    assert "3.3.10" not in text, "no runs among junk"


def test_the_chart_has_a_line_for_each_architecture() -> None:
    found = laws_data(sections(learners()))["exposures"]
    assert json.loads(json.dumps(found, allow_nan=False)) == {**found, "published": [[100, 1], [1000, 2]]}
    assert [line["label"] for line in found["lines"]] == ["gpt2-original", "gpt2-original, mlp gated"]
    assert [point["x"] for point in found["lines"][0]["points"]] == [100, 200, 400]
    assert all(len(point["seeds"]) == 3 for point in found["lines"][0]["points"])
    assert 'class="chart exposures"' in laws_html(sections(learners()))


def test_one_number_of_exposures_makes_no_chart() -> None:
    found = sections([each for each in learners() if each.record.config["training"]["exposures"] == 100])
    assert laws_data(found) == {}
    html = laws_html(found)
    assert "figure" not in html and "Laws of knowledge" in html


def test_runs_of_so_many_steps_are_counted() -> None:
    first, *rest = learners()
    config = {**first.record.config, "training": {**first.record.config["training"], "exposures": 0}}
    stepped = dataclasses.replace(first, record=dataclasses.replace(first.record, config=config))
    assert "Not here: 1 run made for a number of steps" in laws_html(sections([stepped, *rest]))


def test_other_pages_have_nothing_of_it(tmp_path: Path) -> None:
    write_run(tmp_path)
    loaded = load_runs([tmp_path])
    assert laws_html(sections(loaded)) == "" and laws_data(sections(loaded)) == {}
    data = re.search(r'id="data">(.*?)</script>', page_html(loaded), re.DOTALL)
    assert data and json.loads(data[1]).keys() == {"capacity", "sections"}
