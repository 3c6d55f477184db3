"""Every experiment script plans at every preset, from its own command line."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted((ROOT / "experiments").glob("*.py"))


@pytest.mark.parametrize("preset", ["smoke", "demo", "paper"])
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_prints_its_plan_and_starts_nothing(
    script: Path, preset: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script), "--preset", preset, "--plan"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "iterations instead of" in printed
    assert "Disk: at most" in printed
    assert list(tmp_path.iterdir()) == []


def test_the_papers_figure_1_plans_780k_iterations_an_arm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = ROOT / "experiments" / "schedule_length.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--preset", "paper", "--plan"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out.count("780,000 iterations instead of 1,800,000") == 2


def test_every_script_is_in_the_table() -> None:
    table = (ROOT / "experiments" / "README.md").read_text()
    assert [script.name for script in SCRIPTS if f"`{script.name}`" not in table] == []
