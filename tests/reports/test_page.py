"""The page as a file: complete, escaped, self-contained, written whole or not at all."""

import json
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from canonlab.errors import InputError
from canonlab.reports import write_page
from canonlab.reports.markup import Markup, join, script_json, tag
from canonlab.reports.page import line_styles, thin
from canonlab.results.groups import sections
from canonlab.results.load import load_runs

Fabricate = Callable[..., Path]
HOSTILE = """</script><script>alert("1")</script><img src=x onerror='alert(2)'>&amp;"""


class Document(HTMLParser):
    """Elements of a page with their attributes; checks that they are nested well."""

    VOID = frozenset({"meta"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: dict[str, str] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))
        if name not in self.VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text[self.open[-1]] = self.text.get(self.open[-1], "") + data

    def attributes(self, name: str) -> list[str]:
        return [value or "" for _, attributes in self.elements for key, value in attributes.items() if key == name]

    def count(self, element: str, **attributes: str) -> int:
        return sum(n == element and attributes.items() <= a.items() for n, a in self.elements)


def page_of(folder: Path) -> str:
    return write_page(load_runs([folder]), folder / "report.html").read_text(encoding="utf-8")


def data_of(page: str) -> Any:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert match
    return json.loads(match[1])


def test_says_what_was_run_and_what_came_out(campaign: Path) -> None:
    page = page_of(campaign)
    assert "<h1>Results on Copy and Depo</h1>" in page
    assert "8 runs of 2 architectures on 2 tasks, 1 of them unfinished." in page
    assert "95% interval within one run" in page and "over seeds" in page
    assert "4-hop accuracy" in page and "mean of 3" in page and "seed 2, unfinished (430 of 1,000)" in page
    for path in campaign.rglob("result.json"):
        result = json.loads(path.read_text())
        metric = result["evaluation"]["metrics"][result["evaluation"]["headline"][0]]
        assert f"[{100 * metric['low']:.1f}..{100 * metric['high']:.1f}]" in page
        for text in (result["data_sha256"], result["weights_sha256"], result["identity"], result["name"]):
            assert text in page
        assert join(result["command"]) in page
    assert "plotly.js (cartesian - minified)" in page and "Licensed under the MIT license" in page


def test_is_well_formed_and_accessible(campaign: Path) -> None:
    document = Document(page_of(campaign))
    assert document.count("html", lang="en") == 1
    assert document.count("meta", name="viewport") == 1
    assert document.count("th") == sum(document.count("th", scope=scope) for scope in ("col", "row", "rowgroup"))
    assert document.count("table") == document.count("caption") == document.count("div", role="region") == 8
    charts = [attributes for _, attributes in document.elements if attributes.get("class") == "chart"]
    assert [(chart["data-section"], chart.get("data-metric")) for chart in charts] == [
        ("0", "token_accuracy"),
        ("0", None),
        ("1", "accuracy_k1"),
        ("1", "accuracy_k2"),
        ("1", "accuracy_k4"),
        ("1", None),
        ("1", None),
    ]
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)
    ids = document.attributes("id")
    assert len(ids) == len(set(ids))
    links = document.attributes("href")
    assert {link.removeprefix("#") for link in links} < set(ids) and len(links) == 10


def test_what_was_left_out_is_said(campaign: Path) -> None:
    left_out = ["left out: cannot read a<b: Permission denied"]
    page = write_page(load_runs([campaign]), campaign / "report.html", left_out).read_text()
    assert "<li>Left out: cannot read a&lt;b: Permission denied</li>" in page[: page.index("<main>")]
    assert "Left out: cannot read" not in page_of(campaign)


def test_no_name_hides_anything_and_every_anchor_is_one(fabricate: Fabricate) -> None:
    for seed in range(2):
        folder = fabricate(model="mine.py:a\x1b[2J\u202eb", canon="", seed=seed)
        (folder / "result.json").unlink()
        config = json.loads((folder / "config.json").read_text()) | {"identity": 'x y" id="', "name": "n\x9b1m"}
        (folder / "config.json").write_text(json.dumps(config))
    page = page_of(folder.parent)
    text = page[page.index("<body>") : page.index("<script>", page.index("<body>"))]
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text) and "\\x9b1m" in text
    assert "a\\x1b[2J\\u202eb" in text and data_of(page)["sections"][0]["rows"][0]["label"] == "a\\x1b[2J\\u202eb"
    document = Document(page)
    ids = document.attributes("id")
    assert len(ids) == len(set(ids)) and all(re.fullmatch(r"[a-z]+(-[0-9a-f]+)?", each) for each in ids)
    assert {link.removeprefix("#") for link in document.attributes("href")} < set(ids)


def test_summary_has_a_line_for_each_task_that_filters_can_find(campaign: Path) -> None:
    page = page_of(campaign)
    summary = page[page.index('class="short"') :]
    assert re.findall(r'<li data-task="(\w+)"><a href="(#task-\d)">', summary) == [
        ("copy", "#task-0"),
        ("depo", "#task-1"),
    ]


def test_loads_nothing(campaign: Path) -> None:
    page = page_of(campaign)
    document = Document(page)
    names = {name for name, _ in document.elements}
    assert not names & {"link", "img", "iframe", "object", "embed", "base", "image", "use", "source", "video", "audio"}
    for attribute in ("src", "srcset", "action", "poster", "background", "data"):
        assert document.attributes(attribute) == []
    assert all(link.startswith("#") for link in document.attributes("href"))
    assert "@import" not in document.text["style"] and "url(" not in document.text["style"]
    own = resources.files("canonlab.reports").joinpath("page.js").read_text()
    assert own in page and not re.search(r"fetch|XMLHttpRequest|import\b|WebSocket|sendBeacon|https?:", own)
    (policy,) = [a["content"] for _, a in document.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"


def test_the_vendored_script_can_stand_in_a_script_element() -> None:
    text = resources.files("canonlab.reports").joinpath("vendor/plotly-cartesian.min.js").read_text(encoding="utf-8")
    assert "</script" not in text.lower() and "<!--" not in text


def test_what_users_named_is_escaped(fabricate: Fabricate, depo: dict[str, Any], tmp_path: Path) -> None:
    plain = Document(page_of(fabricate(canon="").parent))
    folder = fabricate({**depo, "parameters": {"N": HOSTILE}}, model=HOSTILE, canon="", seed=1)
    path = folder / "result.json"
    result = json.loads(path.read_text())
    result["evaluation"]["headline"] = [HOSTILE]
    result["evaluation"]["metrics"][HOSTILE] = {"value": 0.5}
    result |= {"command": HOSTILE, HOSTILE: HOSTILE}
    path.write_text(json.dumps(result))
    page = page_of(folder.parent)
    document = Document(page)
    for name in ("script", "style", "img"):
        assert document.count(name) == plain.count(name)
    assert "onerror" not in {key for _, attributes in document.elements for key in attributes}
    assert HOSTILE in {row["label"] for section in data_of(page)["sections"] for row in section["rows"]}
    assert document.text["code"].count(HOSTILE) == 1


def test_data_of_the_charts(campaign: Path) -> None:
    copy, depo = data_of(page_of(campaign))["sections"]
    assert [row["label"] for row in depo["rows"]] == ["llama-rope", "llama-rope + Canon-ABCD"]
    assert [row["colour"] for row in depo["rows"]] == [row["colour"] for row in copy["rows"]] == [0, 1]
    run = depo["rows"][1]["runs"][2]
    records = [json.loads(line) for line in next(campaign.rglob("*ABCD*s2*/metrics.jsonl")).read_text().splitlines()]
    evaluations = [record for record in records if record["kind"] == "eval"]
    assert run["finished"] is False and run["steps"] == [record["step"] for record in evaluations]
    for name in ("accuracy_k1", "accuracy_k2", "accuracy_k4"):
        assert run["metrics"][name] == pytest.approx([e["metrics"][name]["value"] for e in evaluations], rel=1e-3)
    losses = [record["loss"] for record in records if record["kind"] == "train"]
    assert run["loss"] == pytest.approx(losses, rel=1e-3) and run["lossSteps"][-1] == 430


def test_a_loss_that_is_no_number_is_a_gap(fabricate: Fabricate) -> None:
    folder = fabricate(stop=20)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "step": 30, "loss": NaN}\n')
    assert data_of(page_of(folder))["sections"][0]["rows"][0]["runs"][0]["loss"][2:] == [None]


def test_an_unfinished_run_alone_makes_a_page(fabricate: Fabricate) -> None:
    folder = fabricate(stop=30)
    page = page_of(folder)
    assert "1 run of 1 architecture on 1 task, 1 of them unfinished." in page
    Document(page)


def test_same_runs_same_bytes(campaign: Path) -> None:
    runs = load_runs([campaign])
    first = write_page(runs, campaign / "a" / "first.html").read_bytes()
    assert write_page(list(reversed(runs)), campaign / "second.html").read_bytes() == first


def test_is_replaced_whole_or_left_alone(fabricate: Fabricate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = load_runs([fabricate()])
    page = tmp_path / "report.html"
    page.write_text("before")

    def full(self: Path, *_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match=r"page '.*report\.html': cannot be written: No space left on device"):
            write_page(runs, page)
    assert page.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["report.html"]
    assert write_page(runs, page) == page and page.read_text().startswith("<!doctype html>")


def test_a_path_that_cannot_be_written(fabricate: Fabricate, tmp_path: Path) -> None:
    runs = load_runs([fabricate()])
    with pytest.raises(InputError, match="cannot be written"):
        write_page(runs, tmp_path / "runs")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_page(runs, tmp_path / "file" / "report.html")


def test_lines_are_distinct_and_an_architecture_keeps_its_colour(fabricate: Fabricate, tmp_path: Path) -> None:
    for canon in ("", "A", "AC", "ABC", "ABCD", "B", "D"):
        for lr in (0.001, 0.002, 0.003):
            fabricate(canon=canon, lr=lr)
    found = sections(load_runs([tmp_path]))
    (styles,) = line_styles(found)
    assert len(styles) == len(set(styles)) == 21
    colours = {(row.architecture, style.colour) for row, style in zip(found[0].rows, styles, strict=True)}
    assert len(colours) == 7 and Counter(colour for _, colour in colours)[0] == 2


def test_thinning_keeps_the_mean() -> None:
    steps, values = list(range(10, 10_010, 10)), [float(i % 7) for i in range(1000)]
    thin_steps, thin_values = thin(steps, values, 200)
    assert len(thin_values) == 200 and thin_steps[-1] == 10_000
    assert sum(thin_values) / 200 == pytest.approx(sum(values) / 1000)
    assert thin(steps[:200], values[:200], 200) == (steps[:200], values[:200])
    assert thin(steps[:201], values[:201], 200)[0][-2:] == [2000, 2010]
    assert thin([], []) == ([], [])


def test_markup_escapes_all_that_is_not_markup() -> None:
    inner = tag("b", "<&>", class_='"', data_x=1, title=None)
    assert inner == '<b class="&quot;" data-x="1">&lt;&amp;&gt;</b>'
    assert tag("p", inner, "<", 3) == f"<p>{inner}&lt;3</p>"
    assert isinstance(join("<"), Markup)
    assert script_json({"a": "</script>", "b": float("inf")}) == '{"a":"\\u003c/script>","b":null}'
