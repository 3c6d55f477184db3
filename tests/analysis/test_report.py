from pathlib import Path

from analysis.evidence import differences, evidence
from analysis.load import load_study
from analysis.report import write_report
from raystudy.records import TrialState
from raystudy.spec.trial import TrialSpec
from tests.analysis.synthetic import Made, catch_up, trial, write_study


def specs(*, seeds: tuple[int, ...] = (0,), ks: tuple[int, ...] = (1, 2, 4)) -> list[TrialSpec]:
    return [trial(init, k, seed) for init in ("random", "pretrained") for k in ks for seed in seeds]


def test_catch_up_is_found_and_one_seed_is_said(tmp_path: Path) -> None:
    report = write_report(str(tmp_path), write_study(tmp_path, specs(), catch_up))
    assert "at 4x" in report.sentence
    assert "no confidence interval can be given: one seed" in report.sentence
    page = report.path.read_text()
    assert "As measured, random init is within 1 AP" in page


def test_random_init_that_stays_behind_is_said_to(tmp_path: Path) -> None:
    report = write_report(str(tmp_path), write_study(tmp_path, specs(ks=(1, 2)), catch_up))
    assert "does not catch up within 2x" in report.sentence
    assert "both still rise" in report.sentence


def test_the_table_has_one_line_a_schedule(tmp_path: Path) -> None:
    report = write_report(str(tmp_path), write_study(tmp_path, specs(seeds=(0, 1)), catch_up))
    assert [line[0] for line in report.table] == ["schedule", "1x", "2x", "4x"]
    assert report.table[1][-1] == "2"


def test_a_study_without_a_finished_pair_gives_no_answer(tmp_path: Path) -> None:
    made = [
        Made(trial("random", 1), TrialState.DIVERGED, until=40),
        Made(trial("pretrained", 1)),
        Made(trial("random", 2), TrialState.WAITING, until=0),
        Made(trial("pretrained", 2), TrialState.FAILED, until=100),
    ]
    report = write_report(str(tmp_path), write_study(tmp_path, made, catch_up))
    assert report.sentence.startswith("No answer yet")
    assert any("diverged at iteration 40 of 90" in note for note in report.notes)
    assert any("out of memory" in note for note in report.notes)


def test_a_study_that_has_not_begun_has_a_report(tmp_path: Path) -> None:
    made = [Made(spec, TrialState.WAITING, until=0) for spec in specs(ks=(1,))]
    report = write_report(str(tmp_path), write_study(tmp_path, made, catch_up))
    assert report.sentence.startswith("No answer yet")
    assert report.path.exists()


def test_figures_of_a_setting_and_of_all_differences_are_written(tmp_path: Path) -> None:
    made = [trial(init, k, num_images=n) for init in ("random", "pretrained") for k in (1, 2) for n in (45, 450)]
    folder = write_report(str(tmp_path), write_study(tmp_path, made, catch_up)).path.parent / "figures"
    names = {path.stem for path in folder.iterdir()}
    assert names == {"ap-1", "ap-2", "losses-1", "losses-2", "differences"}
    assert all((folder / f"{name}.{kind}").stat().st_size > 1000 for name in names for kind in ("png", "svg"))


def test_differences_are_those_of_each_schedule_or_of_the_ends_where_none_is_shared(tmp_path: Path) -> None:
    shared = load_study(str(tmp_path / "a"), write_study(tmp_path / "a", specs(ks=(1, 2)), catch_up))
    assert [name for name, _ in differences(evidence(shared))] == ["1x", "2x"]
    apart = [trial("random", 4), trial("pretrained", 1)]
    study = load_study(str(tmp_path / "b"), write_study(tmp_path / "b", apart, catch_up))
    ((name, gap),) = differences(evidence(study))
    assert name == "4x and 1x"
    assert gap.value == evidence(study)[0].end_gap.value
