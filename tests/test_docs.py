"""The documentation builds as a site, without a warning and without a network, and its examples do what it says."""

import contextlib
import importlib.util
import io
import re
import socket
import sys
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

import raystudy
from raystudy import cli, load_preset
from tests.test_experiments import start

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
ELSEWHERE = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//""")


def refused(*_: object) -> NoReturn:
    raise OSError("no network here")


def build_site(target: Path, docs: Path = DOCS) -> None:
    """What `make docs` does; raises ``Abort`` for a warning."""
    build(load_config(str(ROOT / "mkdocs.yml"), docs_dir=str(docs), site_dir=str(target), strict=True))


def block(page: str, language: str) -> str:
    """The first block of code in that language on a page."""
    found = re.search(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole site, built while nothing can be reached."""
    target = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        patch.setattr(socket.socket, "connect", refused)
        patch.setattr(socket, "getaddrinfo", refused)
        build_site(target)
    return target


def test_every_page_is_built(site: Path) -> None:
    assert {path.stem for path in site.glob("*.html")} == {path.stem for path in DOCS.glob("*.md")} | {"404"}


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    assert [path.name for path in site.glob("*.html") if ELSEWHERE.search(path.read_text())] == []


def test_every_public_name_is_documented(site: Path) -> None:
    page = (site / "api.html").read_text()
    places = [f"{raystudy._PLACE_OF[name]}.{name}" for name in raystudy.__all__]
    assert [place for place in places if f'id="{place}"' not in page] == []


def test_a_broken_link_stops_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    docs = tmp_path / "docs"
    docs.mkdir()
    for page in DOCS.glob("*.md"):
        (docs / page.name).write_text("# A page\n")
    (docs / "index.md").write_text("# A page\n\n[nowhere](nowhere.md)\n")
    with pytest.raises(Abort):
        build_site(tmp_path / "site", docs)


@pytest.fixture
def box_head(tmp_path: Path) -> Path:
    """The worked example as a user saves it."""
    script = tmp_path / "box_head.py"
    script.write_text(block("adding_an_axis.md", "python"))
    return script


def loaded(script: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, script.stem, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("preset", ["smoke", "demo"])
def test_the_worked_axis_plans_as_a_script(
    preset: str, box_head: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(box_head, ["--preset", preset, "--seeds", "1", "--plan"], monkeypatch) == 0
    assert "6 trials in 6 segments" in capsys.readouterr().out


def test_the_worked_axis_shares_the_trials_of_the_schedule_study(
    box_head: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = load_preset("demo")
    widened = loaded(box_head, monkeypatch).study(preset)
    schedules = loaded(ROOT / "experiments" / "schedule_length.py", monkeypatch).study(preset)

    def ids(study: raystudy.StudySpec) -> set[str]:
        own = raystudy.StudySpec(name="", base=study.base, axes=study.axes, pretraining=preset.pretraining)
        return {trial.trial_id for trial in own.trials()}

    assert len(ids(widened)) == 12
    assert len(ids(widened) & ids(schedules)) == 4  # both inits and both seeds at 6x with the demo's own width


@pytest.mark.ray
def test_the_worked_axis_runs_from_start_to_report(
    box_head: Path,
    ray_cluster: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--preset", "smoke", "--schedules", "1", "--inits", "random", "--storage", str(tmp_path / "storage")]
    assert start(box_head, arguments, monkeypatch) == 0
    printed = capsys.readouterr().out
    assert [f"box head {width}" in printed for width in (64, 128, 256)] == [True, True, True]


def test_the_arithmetic_of_scaling_prints_what_the_page_says() -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(block("scaling.md", "python"), {})
    assert printed.getvalue() == block("scaling.md", "text")


def test_every_command_is_shown_somewhere(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    listed = re.search(r"commands:\n(.*?)\n\n", capsys.readouterr().out, re.DOTALL)
    assert listed is not None
    names = re.findall(r"(?m)^    ([a-z][a-z-]+)(?:\s|$)", listed[1])
    assert len(names) > 10
    pages = "".join(path.read_text() for path in DOCS.glob("*.md"))
    assert [name for name in names if f"raystudy {name}" not in pages] == []
