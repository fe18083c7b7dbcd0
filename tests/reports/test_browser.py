"""The page in a real browser: everything is drawn, nothing fails, nothing is loaded."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from canonlab.reports import load_runs, write_page

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
    """The document that Chromium makes of a page, at a fragment of it, as HTML."""

    def dump(page: Path, fragment: str = "") -> str:
        profile = tmp_path / "profile"
        command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", page.resolve().as_uri() + fragment]
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


def test_all_charts_are_drawn_without_an_error(page: Path, document: Callable[..., str]) -> None:
    text = document(page)
    assert 'data-errors="0"' in text and 'data-charts="7"' in text
    assert text.count('class="scatterlayer') == 7
    # Copy: two charts of a line a row. Depo: four of three and three seeds and a mean a row; one of speeds.
    assert len(re.findall(r'class="js-line"', text)) == 2 * 2 + 4 * (3 + 1 + 3 + 1) + 2


@pytest.mark.slow
def test_filters_hide_rows_and_redraw_charts(page: Path, document: Callable[..., str]) -> None:
    choose = "const menu = document.querySelector('#filters [name=canon]'); menu.value = 'ABCD';"
    script = f"{choose} menu.dispatchEvent(new Event('change', {{ bubbles: true }}))"
    text = document(with_script(page, script))
    assert 'data-errors="0"' in text
    rows = re.findall(r'<tbody[^>]*data-canon="(\w+)"[^>]*>', text)
    hidden = re.findall(r'<tbody[^>]*data-canon="(\w+)"[^>]*hidden', text)
    assert sorted(rows) == ["ABCD"] * 2 + ["none"] * 2 and hidden == ["none"] * 2
    # Half of the lines are left: Copy's two charts, Depo's four of three seeds and a mean, and the speeds.
    assert len(re.findall(r'class="js-line"', text)) == 2 * 1 + 4 * (3 + 1) + 2


@pytest.mark.slow
def test_a_filter_that_leaves_a_task_out_hides_it(page: Path, document: Callable[..., str]) -> None:
    choose = "const menu = document.querySelector('#filters [name=task]'); menu.value = 'copy';"
    text = document(with_script(page, f"{choose} menu.dispatchEvent(new Event('change', {{ bubbles: true }}))"))
    assert re.findall(r'<section [^>]*data-task="(\w+)"[^>]*hidden', text) == ["depo"]
    assert 'data-errors="0"' in text


@pytest.mark.slow
def test_a_size_that_is_left_out_takes_its_heading_along(
    fabricate: Callable[..., Path], document: Callable[..., str]
) -> None:
    for size in ("2L64D", "4L64D"):
        folder = fabricate(size=size)
    page = write_page(load_runs([folder.parent]), folder.parent / "report.html")
    choose = "const menu = document.querySelector('#filters [name=size]'); menu.value = '4L64D';"
    text = document(with_script(page, f"{choose} menu.dispatchEvent(new Event('change', {{ bubbles: true }}))"))
    table = re.findall(r'<div [^>]*class="map".*?</table>', text, re.DOTALL)[0]
    cells = re.findall(r'<t[hd] [^>]*data-size="(\w+)"([^>]*)>', table)
    assert [(size, "hidden" in rest) for size, rest in cells] == [("2L64D", True), ("4L64D", False)] * 2


@pytest.mark.slow
def test_heat_maps_are_seen(page: Path, document: Callable[..., str]) -> None:
    """A cell of a heat map has the colour of its value, and text that stands out from it."""
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
@pytest.mark.parametrize(("name", "charts", "maps"), [("skills", 6, 8), ("capo", 4, 4)])
def test_the_pages_of_real_sweeps_open_without_an_error(
    name: str, charts: int, maps: int, document: Callable[..., str]
) -> None:
    text = document(Path(__file__).parents[2] / "docs" / "results" / f"{name}.html")
    assert 'data-errors="0"' in text and f'data-charts="{charts}"' in text
    assert text.count('class="map"') == maps
