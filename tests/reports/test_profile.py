"""The page and the picture of a skill profile."""

import itertools
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from canonlab.reports.profile import profile_html, write_profile, write_strip
from canonlab.reports.strip import strip
from canonlab.results.cells import cells
from canonlab.results.groups import sections
from canonlab.results.load import load_runs
from canonlab.results.profile import Profile, skill

Fabricate = Callable[..., Path]
MINE, REFERENCES = ("gdn", "ABCD"), [("llama-rope", ""), ("gla", ""), ("llama-rope", "ABCD")]
LOSSES = {
    MINE: [0.1, 0.11, 0.12],
    ("llama-rope", ""): [0.5, 0.52, 0.51],
    ("gla", ""): [0.1, 0.12, 0.11],
    ("llama-rope", "ABCD"): [0.9, 0.91, 0.92],
}


def set_loss(folder: Path, loss: float) -> None:
    """Make this the loss of a run, and what runs are compared by."""
    result = json.loads((folder / "result.json").read_text())
    metric = {"value": loss, "low": loss - 1e-3, "high": loss + 1e-3, "right": None, "count": 1000}
    result["evaluation"]["metrics"]["loss"] = metric
    result["evaluation"]["headline"] = ["loss", *result["evaluation"]["headline"]]
    (folder / "result.json").write_text(json.dumps(result))


@pytest.fixture
def profile(fabricate: Fabricate) -> Profile:
    for (model, canon), losses in LOSSES.items():
        for seed, loss in enumerate(losses):
            folder = fabricate(model=model, canon=canon, seed=seed)
            set_loss(folder, loss)
    (section,) = sections(load_runs([folder.parent]))
    named = {(str(c.model["model.model"]), str(c.model["model.canon"])): c for c in cells(section)}
    return Profile([MINE], REFERENCES, [skill("depo", section, named, [MINE], REFERENCES)])


def test_the_page_says_what_is_decided_and_needs_nothing_else(profile: Profile) -> None:
    page = profile_html(profile, "report.html")
    assert (
        "Skill profile of gdn" in page
        and "12 runs on 1 skill, 3 seeds of each: 2 of 3 pairs decided" in page
        and 'href="report.html"' in page
    )
    assert "<script" not in page and "://" not in re.sub(r"http://www.w3.org/2000/svg", "", page)
    assert page.count("<strong>better</strong>") == 2 and "Depo: 2 of 3 decided" in page
    assert "llama-rope and llama-rope + Canon-ABCD" in page  # better than


def test_the_picture_has_a_dot_for_each_architecture_and_right_is_better(profile: Profile) -> None:
    root = ElementTree.fromstring(strip(profile))
    dots = root.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(dots) == 2 * len(LOSSES)  # in the legend and in the row
    row = {(dot.get("stroke"), dot.get("fill")): float(dot.get("cx", "0")) for dot in dots[: len(LOSSES)]}
    mine = max(dots[: len(LOSSES)], key=lambda dot: float(dot.get("r", "0")))
    assert len(row) == len(LOSSES) and float(mine.get("cx", "0")) > sorted(row.values())[-3]


def test_nothing_in_the_picture_lies_on_another(fabricate: Fabricate) -> None:
    """All architectures with the same seeds' values, the worst case: they stand one above another."""
    models = ["gdn", "gla", "llama-rope", "mamba2-mlp", "llama"]
    names = [(model, canon) for model in models for canon in ("", "ABCD")]
    for model, canon in names:
        for seed, loss in enumerate([0.1, 0.2, 0.3]):
            folder = fabricate(model=model, canon=canon, seed=seed)
            set_loss(folder, loss)
    (section,) = sections(load_runs([folder.parent]))
    named = {(str(c.model["model.model"]), str(c.model["model.canon"])): c for c in cells(section)}
    assert len(named) == len(names)
    mine, others = list(named)[:1], list(named)[1:]
    root = ElementTree.fromstring(strip(Profile(mine, others, [skill("depo", section, named, mine, others)])))
    drawn = root.findall("{http://www.w3.org/2000/svg}g")[0].findall("{http://www.w3.org/2000/svg}circle")
    places = [(float(dot.get("cx", "")), float(dot.get("cy", "")), float(dot.get("r", "")) + 1) for dot in drawn]
    assert len(places) == len(names) and len({x for x, _, _ in places}) == 1
    for one, other in itertools.combinations(places, 2):
        assert math.dist(one[:2], other[:2]) >= one[2] + other[2] - 1e-9
    height = float(root.get("height", ""))
    assert all(0 < y < height for _, y, _ in places)


def test_the_pictures_colours_are_the_pages(profile: Profile) -> None:
    page = profile_html(profile, "report.html")
    names = set(re.findall(r"--([a-z0-9-]+):", page.split("@media")[0]))
    drawn = set(re.findall(r'(?:fill|stroke)="(#[0-9a-f]{6})"', strip(profile)))
    assert drawn and all(f'[fill="{colour}"]' in page and f'[stroke="{colour}"]' in page for colour in drawn)
    assert set(re.findall(r"figure svg \[.*var\(--([a-z0-9-]+)\)", page)) <= names


def test_names_of_users_are_text(profile: Profile, tmp_path: Path) -> None:
    hostile = Profile([("<b>.py:<script>", "ABCD")], REFERENCES, profile.skills)
    page = profile_html(hostile, "report.html")
    assert "<script" not in page and "&lt;script&gt;" in page
    write_profile(profile, tmp_path / "profile.html", "report.html")
    write_strip(profile, tmp_path / "profile.svg")
    assert (tmp_path / "profile.html").read_text() == profile_html(profile, "report.html")
    assert (tmp_path / "profile.svg").read_text() == strip(profile)
