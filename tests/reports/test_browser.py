"""The page in a real browser: everything is drawn, nothing fails, nothing is loaded."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from canonlab.reports import write_page
from canonlab.results.load import load_runs
from fabricate import learners

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
    "--virtual-time-budget=10000",
    "--dump-dom",
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH"),
]


@pytest.fixture
def document(tmp_path: Path) -> Callable[[Path, str], str]:
    """The document that Chromium makes of a page, at a fragment of it and with further flags, as HTML."""

    def dump(page: Path, fragment: str = "", *flags: str) -> str:
        profile = tmp_path / "profile"
        command = [str(CHROMIUM), *FLAGS, *flags, f"--user-data-dir={profile}", page.resolve().as_uri() + fragment]
        done = subprocess.run(command, capture_output=True, timeout=120)
        shutil.rmtree(profile, ignore_errors=True)
        text = done.stdout.decode()
        assert "<html" in text, done.stderr.decode()[-2000:]
        return text

    return dump


@pytest.fixture
def page(campaign: Path) -> Path:
    return write_page(load_runs([campaign]), campaign / "report.html")


def with_script(page: Path, script: str) -> Path:
    """A copy of the page that runs `script` once everything is drawn."""
    changed = page.with_name("changed.html")
    run = f"<script>addEventListener('load', () => setTimeout(() => {{ {script} }}, 500))</script></body>"
    changed.write_text(page.read_text(encoding="utf-8").replace("</body>", run), encoding="utf-8")
    return changed


def choose(**asked: str) -> str:
    """A script that sets filters of the page, such as `size="4L64D"`."""
    menus = (f"document.querySelector('#filters [name={name}]').value = '{value}';" for name, value in asked.items())
    return "".join(menus) + "document.getElementById('filters').dispatchEvent(new Event('change'));"


def test_all_charts_are_drawn_without_an_error(page: Path, document: Callable[..., str]) -> None:
    text = document(page)
    assert 'data-errors="0"' in text and 'data-charts="7"' in text
    assert text.count('class="scatterlayer') == 7
    # Copy: two charts of a line a row. Depo: four of three and three seeds and a mean a row; one of speeds.
    assert len(re.findall(r'class="js-line"', text)) == 2 * 2 + 4 * (3 + 1 + 3 + 1) + 2


def test_laws_are_drawn(tmp_path: Path, document: Callable[..., str]) -> None:
    """Bits against parameters; the most of them against exposures, two series and two guides."""
    text = document(write_page(learners(), tmp_path / "report.html"))
    filtered = document(with_script(tmp_path / "report.html", choose(size="1L32D2H")))
    for page in (text, filtered):  # a series is over sizes
        chart = re.search(r'class="chart exposures.*?</figure>', page, re.DOTALL)
        assert 'data-errors="0"' in page and chart and "published peak after 1,000" in chart[0]
        assert len(re.findall(r'class="js-line"', chart[0])) == 2 + 2


@pytest.mark.slow
def test_filters_hide_rows_and_redraw_charts(page: Path, document: Callable[..., str]) -> None:
    text = document(with_script(page, choose(canon="ABCD")))
    assert 'data-errors="0"' in text
    rows = re.findall(r'<tbody[^>]*data-canon="(\w+)"[^>]*>', text)
    hidden = re.findall(r'<tbody[^>]*data-canon="(\w+)"[^>]*hidden', text)
    assert sorted(rows) == ["ABCD"] * 2 + ["none"] * 2 and hidden == ["none"] * 2
    # Half of the lines are left: Copy's two charts, Depo's four of three seeds and a mean, and the speeds.
    assert len(re.findall(r'class="js-line"', text)) == 2 * 1 + 4 * (3 + 1) + 2


@pytest.mark.slow
def test_a_filter_that_leaves_a_task_out_hides_it(page: Path, document: Callable[..., str]) -> None:
    text = document(with_script(page, choose(task="copy")))
    assert re.findall(r'<section [^>]*data-task="(\w+)"[^>]*hidden', text) == ["depo"]
    assert 'data-errors="0"' in text


@pytest.mark.slow
def test_a_task_that_is_left_out_leaves_the_summary(page: Path, document: Callable[..., str]) -> None:
    text = document(with_script(page, choose(task="copy")))
    summary = text[text.index('class="short"') : text.index("</section>")]
    lines = re.findall(r'<li data-task="(\w+)"([^>]*)>', summary)
    assert [(task, "hidden" in rest) for task, rest in lines] == [("copy", False), ("depo", True)]


@pytest.fixture
def compared(fabricate: Callable[..., Path]) -> Path:
    """A page on two models with and without Canon layers at two sizes, all of which are compared."""
    for size in ("2L64D", "4L64D"):
        for model in ("llama-rope", "gla"):
            for canon in ("", "ABCD"):
                folder = fabricate(model=model, canon=canon, size=size)
    return write_page(load_runs([folder.parent]), folder.parent / "report.html")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ({"size": "4L64D"}, lambda size, sides: size == "4L64D"),
        ({"model": "gla"}, lambda size, sides: any(model == "gla" for model, _ in sides)),
        ({"model": "gla", "canon": "ABCD"}, lambda size, sides: ("gla", "ABCD") in sides),
    ],
)
def test_findings_without_a_side_that_is_asked_for_are_hidden(
    asked: dict[str, str],
    kept: Callable[[str, set[tuple[str, str]]], bool],
    compared: Path,
    document: Callable[..., str],
) -> None:
    text = document(with_script(compared, choose(**asked)))
    found = re.findall(r"<li ([^>]*data-first-model[^>]*)>", text)
    for attributes in found:
        data = dict(re.findall(r'data-([\w-]+)="([^"]*)"', attributes))
        sides = {(data[f"{side}-model"], data[f"{side}-canon"]) for side in ("first", "second")}
        assert ("hidden" in attributes) != kept(data["size"], sides)
    assert 0 < sum("hidden" in attributes for attributes in found) < len(found)
    assert 'data-errors="0"' in text


@pytest.mark.slow
@pytest.mark.parametrize(("size", "said"), [("2L64D", "none"), ("4L64D", "Nothing left by the filters.")])
def test_findings_that_are_all_hidden_say_so(
    size: str, said: str, fabricate: Callable[..., Path], document: Callable[..., str]
) -> None:
    for canon in ("", "ABCD"):
        fabricate(canon=canon)
    folder = fabricate(size="4L64D")
    page = write_page(load_runs([folder.parent]), folder.parent / "report.html")
    content = "getComputedStyle(document.querySelector('.findings ul'), '::before').content"
    text = document(with_script(page, f"{choose(size=size)} document.body.dataset.said = {content}"))
    (found,) = re.findall(r'data-said="([^"]*)"', text)
    assert found.replace("&quot;", "") == said


@pytest.mark.slow
def test_a_size_that_is_left_out_takes_its_heading_along(
    fabricate: Callable[..., Path], document: Callable[..., str]
) -> None:
    for size in ("2L64D", "4L64D"):
        folder = fabricate(size=size)
    page = write_page(load_runs([folder.parent]), folder.parent / "report.html")
    text = document(with_script(page, choose(size="4L64D")))
    table = re.findall(r'<div [^>]*class="map".*?</table>', text, re.DOTALL)[0]
    cells = re.findall(r'<t[hd] [^>]*data-size="(\w+)"([^>]*)>', table)
    assert [(size, "hidden" in rest) for size, rest in cells] == [("2L64D", True), ("4L64D", False)] * 2


@pytest.mark.slow
def test_heat_maps_are_seen(fabricate: Callable[..., Path], document: Callable[..., str]) -> None:
    """A cell of a heat map has the colour of its value, and text that stands out from it."""
    folders = [fabricate(size=size, canon=canon) for size in ("2L64D", "4L64D") for canon in ("", "ABCD")]
    page = write_page(load_runs(folders), folders[0].parent / "report.html")
    script = (
        "for (const cell of document.querySelectorAll('.map td[class^=shade]')) {"
        "const style = getComputedStyle(cell); cell.dataset.seen = style.backgroundColor + '/' + style.color }"
    )
    text = document(with_script(page, script))
    seen = re.findall(r'<td class="shade-(\d+)"[^>]*data-seen="rgb\(([^)]*)\)/rgb\(([^)]*)\)"', text)
    assert len(seen) == 4
    for _, paper, ink in seen:
        dark, light = sorted(_luminance(colour) for colour in (paper, ink))
        assert (light + 0.05) / (dark + 0.05) > 4.5  # WCAG 2, AA


def _luminance(colour: str) -> float:
    """Relative luminance of "r, g, b" (WCAG 2)."""
    parts = [int(part) / 255 for part in colour.split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.slow
def test_charts_are_readable_in_the_dark(page: Path, document: Callable[..., str]) -> None:
    """All words of a chart stand out from a dark page, and its lines can be seen (WCAG 2, AA)."""
    script = (
        "const paint = [...document.querySelectorAll('.chart svg text')].map((text) => getComputedStyle(text).fill);"
        "const lines = [...document.querySelectorAll('.swatch line')].map((line) => getComputedStyle(line).stroke);"
        "document.body.dataset.texts = [...new Set(paint)].join('/');"
        "document.body.dataset.lines = [...new Set(lines)].join('/');"
        "document.body.dataset.paper = getComputedStyle(document.body).backgroundColor"
    )
    text = document(with_script(page, script), "", "--blink-settings=preferredColorScheme=0")
    colours = {
        name: re.findall(r"rgb\(([^)]*)\)", re.findall(rf'data-{name}="([^"]*)"', text)[0])
        for name in ("texts", "lines", "paper")
    }
    (paper,) = colours["paper"]
    assert _luminance(paper) < 0.05
    for name, least in (("texts", 4.5), ("lines", 3)):
        assert colours[name]
        for colour in colours[name]:
            assert (_luminance(colour) + 0.05) / (_luminance(paper) + 0.05) > least


PRINTED = (
    "for (const sheet of document.styleSheets) for (const rule of sheet.cssRules)"
    "if (rule.media?.mediaText === 'print') rule.media.mediaText = 'all';"
)
"""A script that makes the screen look like paper."""


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "shown"), [({}, []), ({"canon": "ABCD"}, ["canon"])])
def test_paper_has_only_the_filters_in_use(
    asked: dict[str, str], shown: list[str], page: Path, document: Callable[..., str]
) -> None:
    menus = "[...document.querySelectorAll('#filters select')].filter((menu) => menu.checkVisibility())"
    tell = f"document.body.dataset.seen = {menus}.map((menu) => menu.name).join()"
    text = document(with_script(page, choose(**asked) + PRINTED + tell))
    assert re.findall(r'data-seen="([^"]*)"', text) == [",".join(shown)]


@pytest.mark.slow
def test_paper_is_begun_anew_only_between_tasks(page: Path, document: Callable[..., str]) -> None:
    """A long table may go on over the page, or the page of its heading would stay empty; a chart may not."""
    script = (
        "const seen = (what, key) => [...document.querySelectorAll(what)].map((part) => getComputedStyle(part)[key]);"
        "Object.assign(document.body.dataset, { sections: seen('section', 'breakBefore'),"
        "tables: seen('table', 'breakInside'), figures: seen('figure', 'breakInside') })"
    )
    text = document(with_script(page, PRINTED + script))
    sections, tables, figures = (
        re.findall(rf'data-{name}="([^"]*)"', text)[0].split(",") for name in ("sections", "tables", "figures")
    )
    assert sections == ["auto", "auto", "page"]  # in short, Copy, Depo
    assert set(tables) == {"auto"} and set(figures) == {"avoid"}


@pytest.mark.slow
def test_errors_and_attempts_to_load_are_counted(page: Path, document: Callable[..., str]) -> None:
    broken = with_script(page, "new Image().src = 'https://example.invalid/x.png'; setTimeout(() => { throw 1 })")
    assert 'data-errors="2"' in document(broken)


@pytest.mark.slow
def test_hover_tells_row_seed_step_and_value(page: Path, document: Callable[..., str]) -> None:
    chart = "document.querySelector('[data-metric=accuracy_k1]')"
    find = f"const i = {chart}.data.findIndex((trace) => trace.text[0].startsWith('mean of 2'))"
    text = document(with_script(page, f"{find}; Plotly.Fx.hover({chart}, [{{curveNumber: i, pointNumber: 7}}])"))
    (hover,) = re.findall(r'<g class="hovertext".*?</g>', text, re.DOTALL)
    assert "llama-rope + Canon-ABCD" in hover
    assert re.search(r"mean of 2, step 400: \d+\.\d% \(\d+\.\d% to \d+\.\d%\)", hover)


@pytest.mark.slow
@pytest.mark.parametrize(("lacking", "label"), [(1, "mean of 2"), (2, "seed 2")])
def test_a_mean_counts_only_the_runs_that_have_the_metric(
    lacking: int, label: str, fabricate: Callable[..., Path], document: Callable[..., str]
) -> None:
    """The thick line of a row of three runs, the first of which lack a metric."""
    folders = [fabricate(seed=seed) for seed in range(3)]
    for folder in folders[:lacking]:
        for name in ("metrics.jsonl", "result.json"):
            path = folder / name
            path.write_text(path.read_text().replace("accuracy_k1", "other"))
    page = write_page(load_runs([folders[0].parent]), folders[0].parent / "report.html")
    chart = "document.querySelector('[data-metric=accuracy_k1]')"
    thick = f"{chart}.data.filter((trace) => trace.line.width > 2).map((trace) => trace.text[3])"
    text = document(with_script(page, f"document.body.dataset.thick = {thick}.join('|')"))
    (found,) = re.findall(r'data-thick="([^"]*)"', text)
    assert re.fullmatch(rf"{label}, step 200: [^|]*", found)


@pytest.fixture
def long_names(fabricate: Callable[..., Path]) -> Path:
    """A page with an architecture and a quoted metric of 60 letters each."""
    for canon in ("", "ABCD"):
        folder = fabricate(model=60 * "m", canon=canon)
        for name in ("metrics.jsonl", "result.json"):
            text = (folder / name).read_text().replace("accuracy_k4", 60 * "x")
            (folder / name).write_text(text)
    fabricate()
    return write_page(load_runs([folder.parent]), folder.parent / "report.html")


def framed(page: Path, width: int) -> Path:
    """A page with `page` in a frame of `width` px, since a window has 500 at least; it keeps what the frame posts."""
    frame = page.with_name("frame.html")
    keep = "addEventListener('message', ({ data }) => { document.body.dataset.posted = data })"
    style = f"width: {width}px; height: 800px; border: 0"
    frame.write_text(f'<script>{keep}</script><iframe src="{page.name}" style="{style}"></iframe>', encoding="utf-8")
    return frame


def posted(page: Path, script: str, document: Callable[..., str], width: int = 400) -> list[str]:
    """What the expression `script`, an array, comes to on the page on a screen of `width` px."""
    text = document(framed(with_script(page, f"parent.postMessage(({script}).join('|'), '*')"), width))
    (found,) = re.findall(r'data-posted="([^"]*)"', text)
    return str(found).split("|")


@pytest.mark.slow
def test_long_names_do_not_widen_the_page_on_a_phone(long_names: Path, document: Callable[..., str]) -> None:
    script = "[innerWidth, document.documentElement.scrollWidth, document.documentElement.dataset.errors]"
    width, content, errors = map(int, posted(long_names, script, document))
    assert width == 400 and content <= width and errors == 0


@pytest.mark.slow
def test_long_names_stay_in_their_column(long_names: Path, document: Callable[..., str]) -> None:
    script = (
        "[...document.querySelectorAll('tbody th')].map((cell) => Math.max(0, cell.scrollWidth - cell.clientWidth))"
    )
    overhang = posted(long_names, script, document)
    assert len(overhang) > 6 and set(overhang) == {"0"}


@pytest.mark.slow
def test_a_link_opens_what_stands_behind_a_number(page: Path, document: Callable[..., str]) -> None:
    fragment = re.findall(r'href="(#run-\w+)"', page.read_text(encoding="utf-8"))[3]
    assert "<details open" not in document(page)
    opened = document(page, fragment)
    inside = opened[opened.index("<details open") :]
    assert opened.count("<details open") == 1 and f'id="{fragment[1:]}"' in inside


@pytest.mark.slow
def test_hostile_names_stay_text_in_charts(fabricate: Callable[..., Path], document: Callable[..., str]) -> None:
    folder = fabricate(model="<b onclick=1>x</b><script>throw 1</script>")
    page = write_page(load_runs([folder]), folder / "report.html")
    script = "Plotly.Fx.hover(document.querySelector('.chart'), [{curveNumber: 0, pointNumber: 5}])"
    text = document(with_script(page, script))
    assert 'data-errors="0"' in text and 'data-charts="5"' in text
    (hover,) = re.findall(r'<g class="hovertext".*?</g>', text, re.DOTALL)
    assert "&lt;script&gt;throw 1&lt;/script&gt;" in hover


@pytest.mark.slow
def test_a_run_without_records_says_so(fabricate: Callable[..., Path], document: Callable[..., str]) -> None:
    folder = fabricate(stop=10)
    (folder / "metrics.jsonl").unlink()
    text = document(write_page(load_runs([folder]), folder / "report.html"))
    assert 'data-errors="0"' in text and 'data-charts="0"' in text and "Nothing recorded yet." in text


@pytest.mark.slow
@pytest.mark.parametrize(("name", "maps"), [("panel", 0), ("capo", 4)])
def test_the_pages_of_real_sweeps_open_without_an_error(name: str, maps: int, document: Callable[..., str]) -> None:
    text = document(Path(__file__).parents[2] / "docs" / "results" / f"{name}.html")
    assert 'data-errors="0"' in text and int(re.findall(r'data-charts="(\d+)"', text)[0]) > 3
    assert text.count('class="map"') == maps
