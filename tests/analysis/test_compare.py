from pathlib import Path

from analysis.compare import write_comparison
from raystudy.spec.trial import TrialSpec
from tests.analysis.synthetic import catch_up, trial, write_study


def small_gap(spec: TrialSpec, iteration: int) -> dict[str, float]:
    return catch_up(spec, iteration, gap=4.0)


def test_two_studies_stand_side_by_side_by_units(tmp_path: Path) -> None:
    inits = ("random", "pretrained")
    first = write_study(tmp_path / "a", [trial(i, k) for i in inits for k in (1, 2)], catch_up, name="one")
    long = [trial(i, k, unit=180) for i in inits for k in (2, 4)]
    second = write_study(tmp_path / "b", long, small_gap, name="two", unit=180)
    report = write_comparison(str(tmp_path / "a"), first, str(tmp_path / "b"), second, tmp_path / "out")
    lines = {line[0]: line for line in report.table[1:]}
    assert list(lines) == ["1x", "2x", "4x"]
    assert lines["1x"][3] == "–"
    assert lines["4x"][1] == "–"
    assert lines["2x"][1] == "−10.0"
    assert lines["2x"][5] == "+10.0"
    assert report.sentence.startswith("one: ")
    assert "two: " in report.sentence
    assert 'data-setting="1"' in report.path.read_text()
