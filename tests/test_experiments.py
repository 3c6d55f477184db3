"""Every experiment script plans at every preset, from its own command line."""

import runpy
import sys
from pathlib import Path

import pytest

from benchmarks import gpu_hours

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted((ROOT / "experiments").glob("*.py"))


def start(script: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    """Run a script as from a shell; its exit status."""
    monkeypatch.setattr(sys, "argv", [str(script), *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    return ended.value.code


@pytest.mark.parametrize("preset", ["smoke", "demo", "paper"])
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_prints_its_plan_and_starts_nothing(
    script: Path, preset: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert start(script, ["--preset", preset, "--plan"], monkeypatch) == 0
    printed = capsys.readouterr().out
    assert "iterations instead of" in printed
    assert "Disk: at most" in printed
    assert list(tmp_path.iterdir()) == []


def test_the_papers_figure_1_plans_780k_iterations_an_arm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = ROOT / "experiments" / "schedule_length.py"
    start(script, ["--preset", "paper", "--plan"], monkeypatch)
    assert capsys.readouterr().out.count("780,000 iterations instead of 1,800,000") == 2


def test_the_plan_prints_the_six_numbers_of_figure_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(ROOT / "experiments" / "exposure.py", ["--preset", "paper", "--plan"], monkeypatch) == 0
    printed = capsys.readouterr().out
    lines = {line[:15].strip(): line.split() for line in printed.splitlines()}
    assert [word for word in lines["pre-trained, 2x"] if word[-1] in "MT"] == ["131.0M", "149.1M", "9.5T"]
    assert lines["random, 6x"][2:] == ["8.6M", "62.8M", "9.2T"]
    assert "860,001 instances in 118,287 images" in printed


def test_every_script_is_in_the_table() -> None:
    table = (ROOT / "experiments" / "README.md").read_text()
    assert [script.name for script in SCRIPTS if f"`{script.name}`" not in table] == []


def test_the_table_has_the_gpu_hours_that_follow_from_the_plans() -> None:
    told = {}
    for line in (ROOT / "experiments" / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 7 and cells[1].endswith(".py`"):
            told[cells[1].strip("`")] = cells[4].removeprefix("≤ ")
    assert told == gpu_hours.table()


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all scripts, so that trials which they have in common are trained once."""
    return tmp_path_factory.mktemp("smoke") / "storage"


@pytest.mark.ray
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_runs_from_start_to_report(
    script: Path, storage: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(script, ["--preset", "smoke", "--storage", str(storage)], monkeypatch) == 0
    reports = [line.removeprefix("Report: ") for line in capsys.readouterr().out.splitlines() if "Report: " in line]
    assert [Path(report).is_file() for report in reports] == [True]
