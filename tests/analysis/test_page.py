"""The page in a real browser: Debian's chromium, headless, without network."""

import html
import html.parser
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from analysis.report import write_report
from tests.analysis.synthetic import catch_up, trial, write_study
from tests.analysis.with_matches import demo_specs, write_study_with_matches

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# Runs in the page after it has drawn itself: uses every control and writes what it saw into the document's title.
PROBE = """
<script>
const seen = { errors: [], requests: 0 };
addEventListener("error", (event) => seen.errors.push(String(event.message || event.target.src)), true);
const realError = console.error;
console.error = (...words) => { seen.errors.push(words.join(" ")); realError(...words); };
addEventListener("load", () => setTimeout(() => {
  const charts = [...document.querySelectorAll(".chart")];
  seen.empty = charts.filter((c) => !c.querySelector("svg path, svg .point, svg .bar")).map((c) => c.id);
  seen.charts = charts.length;
  const ap = document.getElementById("ap"), count = () => ap.querySelectorAll("path.curve").length;
  seen.before = count();
  const toggle = ap.querySelector('button[data-key="init:random"]');
  toggle.click();
  seen.without = count();
  seen.pressed = toggle.getAttribute("aria-pressed");
  toggle.click();
  seen.after = count();
  const width = () => ap.querySelector("path.curve").getAttribute("d");
  const all = width();
  ap.querySelector('button[title="Zoom in"]').click();
  seen.zoomed = width() !== all;
  ap.querySelector('button[title="Show all"]').click();
  seen.restored = width() === all;
  const pane = [...ap.querySelectorAll("rect")].at(-1), box = pane.getBoundingClientRect();
  const middle = { clientX: box.x + box.width / 2, clientY: box.y + 20, bubbles: true };
  pane.dispatchEvent(new PointerEvent("pointermove", middle));
  seen.tip = document.querySelector(".tip").textContent;
  seen.overflow = document.documentElement.scrollWidth - innerWidth;
  seen.requests = performance.getEntriesByType("resource").length;
  document.body.setAttribute("data-seen", JSON.stringify(seen));
}, 300));
</script>
"""


class _Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href") and value and not value.startswith(("#", "data:")):
                self.outside.append(value)


def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    specs = [trial(init, k) for init in ("random", "pretrained") for k in (1, 2)]
    path = write_report(str(tmp_path), write_study(tmp_path, specs, catch_up)).path
    text = path.read_text()
    links = _Links()
    links.feed(text)
    assert links.outside == []
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest|import\(", text)
    assert path.stat().st_size < 6_000_000
    data = re.search(r'<script type="application/json" id="study-data">(.*)</script>', text)
    assert data is not None
    assert json.loads(data.group(1))["curves"]["settings"][0]["unit"] == 90


def test_no_two_things_have_the_same_id(tmp_path: Path) -> None:
    specs = [trial(init, k, num_images=n) for init in ("random", "pretrained") for k in (1, 2) for n in (45, 450)]
    text = write_report(str(tmp_path), write_study(tmp_path, specs, catch_up)).path.read_text()
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_a_name_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    specs = [trial(init, 1) for init in ("random", "pretrained")]
    name = write_study(tmp_path, specs, catch_up, name="a<script>alert(1)</script>b".replace("/", "_"))
    text = write_report(str(tmp_path), name, tmp_path / "out").path.read_text()
    assert "<script>alert" not in text


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; apt-get install chromium")
@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_works_in_a_browser(tmp_path: Path, width: int) -> None:
    def skill(spec: object) -> float:
        return 0.6

    name = write_study_with_matches(tmp_path, demo_specs(seeds=(0, 1), ks=(1, 2)), skill, catch_up, num_images=40)
    path = write_report(str(tmp_path), name).path
    path.write_text(path.read_text().replace("<head>", f"<head>{PROBE}", 1))
    seen = _open(path, width, tmp_path)
    assert seen["errors"] == []
    assert seen["requests"] == 0
    assert seen["charts"] >= 5
    assert seen["empty"] == []
    assert seen["before"] == seen["after"] == 8
    assert (seen["without"], seen["pressed"]) == (4, "false")
    assert seen["zoomed"]
    assert seen["restored"]
    assert "iteration" in seen["tip"]
    assert seen["overflow"] <= 0


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; apt-get install chromium")
def test_a_study_of_several_data_sizes_draws_all_its_charts(tmp_path: Path) -> None:
    specs = [trial(init, k, num_images=n) for init in ("random", "pretrained") for k in (1, 2) for n in (45, 450)]
    path = write_report(str(tmp_path), write_study(tmp_path, specs, catch_up)).path
    path.write_text(path.read_text().replace("<head>", f"<head>{PROBE}", 1))
    seen = _open(path, 390, tmp_path)
    assert seen["errors"] == []
    assert seen["empty"] == []
    assert seen["charts"] == 6
    assert seen["before"] == 4
    assert seen["overflow"] <= 0


def _open(path: Path, width: int, folder: Path) -> dict[str, Any]:
    assert CHROMIUM is not None
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    options += [f"--window-size={width},900", "--virtual-time-budget=5000", "--dump-dom"]
    done = subprocess.run([CHROMIUM, *options, path.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert found is not None, done.stderr[-2000:]
    seen: dict[str, Any] = json.loads(html.unescape(found.group(1)))
    return seen
