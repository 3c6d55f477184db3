"""`raystudy search`: what it plans, and what it refuses before anything starts."""

import argparse
from pathlib import Path

import pytest

from raystudy.cli import main
from raystudy.commands.scripts import load_function
from raystudy.commands.search import add_search_flags, build_search
from raystudy.spec.less_data import size_axis
from raystudy.spec.presets import load_preset
from raystudy.spec.search import SearchSpec, Value
from raystudy.spec.study import StudySpec

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
SCRIPT = EXPERIMENTS / "small_data_search.py"
SCRIPT_35K = EXPERIMENTS / "less_data_35k_search.py"


def preset_search(preset: str, script: Path = SCRIPT) -> SearchSpec:
    parser = argparse.ArgumentParser()
    add_search_flags(parser)
    return build_search(load_function(script, "search", "SearchSpec"), parser.parse_args(["--preset", preset]))


def test_the_plan_names_every_parameter_and_the_budgets_and_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["search", str(SCRIPT), "--preset", "demo", "--plan", "--trials", "5"]) == 0
    printed = capsys.readouterr().out
    for words in ("base_lr: 0.01, 0.02, 0.04", "weight_decay", "drop_factor: 0.02 to 0.5 (logarithmic)", "iterations"):
        assert words in printed
    assert "10 trials (random 5, pretrained 5)" in printed
    assert list(tmp_path.iterdir()) == []


def test_all_mistakes_are_told_at_once_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--keep", "2", "--trials", "0", "--weights", "no_such_file.pth", "--workers", "3"]
    assert main(["search", str(SCRIPT), "--preset", "smoke", *flags]) == 2
    told = capsys.readouterr().err
    assert told.startswith("raystudy: 4 problems:")
    for words in ("keep is 2", "trials is 0", "no_such_file.pth does not exist", "--workers is 3"):
        assert words in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [("missing.py", None, "there is no script"), ("study.py", "study = 1\n", "no function `search(preset)`")],
)
def test_a_file_that_is_no_search_is_refused(
    name: str, content: str | None, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    assert main(["search", str(path), "--plan"]) == 2
    assert words in capsys.readouterr().err


def test_the_papers_search_holds_what_it_prints_and_shows_for_small_data() -> None:
    search = preset_search("paper")
    assert search.base.data.num_images == 1_000
    parameters = {parameter.name: parameter for parameter in search.parameters}
    rates = parameters["base_lr"].finite_values()
    assert {0.02, 0.04} <= set(rates)  # the default, and 35k's
    assert parameters["drop_factor"].low == 0.02
    assert parameters["drop_factor"].high > 0.1
    assert {15_000, 35_000} <= set(parameters["iterations"].finite_values())
    scales = search.trial("random", {"scales": "512 to 800"}).input.train_short_sides
    assert (scales[0], scales[-1]) == (512, 800)
    longest = search.trial("random", {"iterations": 35_000})
    assert longest.schedule.milestones == (25_000,)
    assert longest.global_batch == 16


def test_what_the_paper_found_for_35k_images_is_in_the_space_of_that_search() -> None:
    search = preset_search("paper", SCRIPT_35K)
    values: dict[str, Value] = {
        "base_lr": 0.04,
        "weight_decay": 1e-4,
        "drop_factor": 0.02,
        "iterations": 540_000,
        "scales": "512 to 800",
    }
    for parameter in search.parameters:
        assert parameter.on_grid(values[parameter.name]) == values[parameter.name] or parameter.choices
    preset = load_preset("paper")
    study = StudySpec(name="paper's", base=preset.base, axes=(size_axis(preset, 35_000),))
    longest = max(study.trials(), key=lambda trial: trial.schedule.total)
    assert search.trial("random", values).trial_id.split("-")[-1] == longest.trial_id.split("-")[-1]


@pytest.mark.parametrize("script", [SCRIPT, SCRIPT_35K], ids=lambda path: path.stem)
def test_both_arms_of_every_preset_have_equal_budgets(script: Path) -> None:
    for preset in ("smoke", "demo", "paper"):
        search = preset_search(preset, script)
        assert [arm.name for arm in search.arms] == ["random", "pretrained"]
        assert len({search.budget(arm.name) for arm in search.arms}) == 1
        assert search.problems() == []
